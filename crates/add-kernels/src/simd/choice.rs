//! Which instruction set a task runs with, found out once.

use std::sync::OnceLock;

use super::{Simd, Task, portable};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::available() {
                return Isa::Avx512;
            }
            if avx2::available() {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    })
}

/// Rows of the register tile and vectors in each, for the instruction set in use.
pub(crate) fn tile_size() -> [usize; 2] {
    const fn of<S: Simd>() -> [usize; 2] {
        [S::ROWS, S::VECS]
    }
    match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => of::<avx512::Avx512<{ avx512::NUMBERS }>>(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => of::<avx2::Avx2>(),
        Isa::Portable => of::<portable::Portable>(),
    }
}

/// Whether the processor multiplies pairs of bf16 numbers and sums them in f32 (AVX512-BF16).
pub(crate) fn has_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(avx512::pairs_available)
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether the processor multiplies whole tiles of such pairs too (AMX), and this process may.
pub(crate) fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(amx::available)
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs a product whose factors are pairs of bf16 numbers, two to each number of `f32`'s size: there [`Simd::mul_add`] is
/// `a_0 b_0 + a_1 b_1 + c` of two pairs and an f32 number, and [`Simd::numbers`] has that of numbers. Its tile is that of
/// [`dispatch`].
///
/// # Safety
/// [`has_pairs`], and the pointers of the task are valid for what it does.
pub(crate) unsafe fn dispatch_pairs(task: impl Task) {
    #[cfg(target_arch = "x86_64")]
    if has_tiles() {
        amx::run(task);
    } else {
        avx512::run_pairs(task);
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("{} has no pairs", std::any::type_name_of_val(&task));
}

/// As [`dispatch_pairs`], without whole tiles.
///
/// # Safety
/// The same.
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) unsafe fn dispatch_pairs_in_vectors(task: impl Task) {
    avx512::run_pairs(task);
}

/// Runs `task` with the best instruction set of this processor.
///
/// # Safety
/// The pointers of the task are valid for what it does.
pub(crate) unsafe fn dispatch(task: impl Task) {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::run(task),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::run(task),
        Isa::Portable => task.run(portable::Portable),
    }
}
