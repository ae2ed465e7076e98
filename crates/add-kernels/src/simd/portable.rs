//! Any processor: arrays that the compiler may vectorise.

use super::{LANES, Simd};

#[derive(Clone, Copy)]
pub(super) struct Portable;

type V = [f32; LANES];

#[inline(always)]
fn map(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = V;
    type Numbers = Self;
    const ROWS: usize = 2;
    const VECS: usize = 1;

    #[inline(always)]
    fn numbers(self) -> Self {
        self
    }
    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> V {
        p.cast::<V>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: V) {
        p.cast::<V>().write_unaligned(v);
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> V {
        let mut lanes = [0.0; LANES];
        lanes.as_mut_ptr().copy_from_nonoverlapping(p, n);
        lanes
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: V, n: usize) {
        p.copy_from_nonoverlapping(v.as_ptr(), n);
    }
    #[inline(always)]
    fn interleave(self, pair: [V; 2]) -> [V; 2] {
        [0, 1].map(|half| std::array::from_fn(|i| pair[i % 2][half * LANES / 2 + i / 2]))
    }
    #[inline(always)]
    unsafe fn load_halves(self, p: [*const f32; 2]) -> V {
        std::array::from_fn(|i| *p[i / 8].add(i % 8))
    }
    #[inline(always)]
    unsafe fn load_quarters(self, p: [*const f32; 4]) -> V {
        std::array::from_fn(|i| *p[i / 4].add(i % 4))
    }
    #[inline(always)]
    unsafe fn gather(self, p: *const f32, offsets: &[i32; LANES]) -> V {
        offsets.map(|i| *p.offset(i as isize))
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        map(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        map(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        map(a, b, f32::min)
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        map(a, b, f32::max)
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        // A fused operation without hardware for it would be a library call per lane.
        std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] }
        })
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn scale_by_power(self, a: V, n: V) -> V {
        map(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn select_less(self, a: V, b: V, x: V, y: V) -> V {
        std::array::from_fn(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn sum(self, a: V) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    fn largest(self, a: V) -> f32 {
        a.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}
