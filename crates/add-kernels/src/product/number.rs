//! What a product reads, multiplies and writes: f32, or bf16 on processors that multiply pairs of such numbers. Sums are in f32
//! either way.

use burn::tensor::bf16;
use bytemuck::Pod;

use crate::simd::{LANES, Simd, Task, dispatch, dispatch_pairs};

/// A number of activations, weights and outputs.
pub(crate) trait Number: Pod + Send + Sync {
    /// Numbers side by side in one step of a product, which takes the room of an f32.
    const SIDE_BY_SIDE: usize;

    /// Runs a task whose products are of these numbers.
    ///
    /// # Safety
    /// The processor has such products, and the pointers of the task are valid for what it does.
    unsafe fn dispatch(task: impl Task);

    fn to_f32(self) -> f32;

    /// The `count` numbers from `from` on in f32: where they lie, or copied to `room`.
    ///
    /// # Safety
    /// `from` is readable, and `room` writable, for so many numbers.
    unsafe fn widened<S: Simd>(s: S, from: *const Self, count: usize, room: *mut f32) -> *const f32;

    /// The first `n <= 16` of a vector, zeros behind them.
    ///
    /// # Safety
    /// `from` is readable for `n` numbers.
    unsafe fn load_first<S: Simd>(s: S, from: *const Self, n: usize) -> S::V;

    /// Writes the first `n <= 16` of a vector, rounded to the nearest.
    ///
    /// # Safety
    /// `to` is writable for `n` numbers.
    unsafe fn store_first<S: Simd>(s: S, to: *mut Self, v: S::V, n: usize);
}

impl Number for f32 {
    const SIDE_BY_SIDE: usize = 1;

    unsafe fn dispatch(task: impl Task) {
        dispatch(task);
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn widened<S: Simd>(_: S, from: *const f32, _: usize, _: *mut f32) -> *const f32 {
        from
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(s: S, from: *const f32, n: usize) -> S::V {
        s.load_first(from, n)
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(s: S, to: *mut f32, v: S::V, n: usize) {
        if n == LANES {
            s.store(to, v);
        } else {
            s.store_first(to, v, n);
        }
    }
}

impl Number for bf16 {
    const SIDE_BY_SIDE: usize = 2;

    unsafe fn dispatch(task: impl Task) {
        dispatch_pairs(task);
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    unsafe fn widened<S: Simd>(s: S, from: *const bf16, count: usize, room: *mut f32) -> *const f32 {
        for i in (0..count).step_by(LANES) {
            let n = LANES.min(count - i);
            s.store_first(room.add(i), s.load_first_bf16(from.add(i), n), n);
        }
        room
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(s: S, from: *const bf16, n: usize) -> S::V {
        s.load_first_bf16(from, n)
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(s: S, to: *mut bf16, v: S::V, n: usize) {
        s.store_first_bf16(to, v, n);
    }
}
