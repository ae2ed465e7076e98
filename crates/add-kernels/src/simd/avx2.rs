//! AVX2 and FMA: two registers per vector.

#![allow(clippy::wildcard_imports, reason = "dozens of intrinsics")]

use core::arch::x86_64::*;

use super::{LANES, Simd, Task};

#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Lanes 0 to 7 and 8 to 15.
#[derive(Clone, Copy)]
pub(super) struct Pair(__m256, __m256);

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// # Safety
/// The processor has AVX2 and FMA, and the task's pointers are valid.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(task: impl Task) {
    task.run(Avx2(()));
}

// SAFETY of all calls: a value of `Avx2` is only made by `run`.
impl Simd for Avx2 {
    type V = Pair;
    type Numbers = Self;
    const ROWS: usize = 6;
    const VECS: usize = 1;

    #[inline(always)]
    fn numbers(self) -> Self {
        self
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        unsafe { Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Pair {
        Pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8)))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Pair) {
        _mm256_storeu_ps(p, v.0);
        _mm256_storeu_ps(p.add(8), v.1);
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Pair {
        let mut lanes = [0.0; LANES];
        lanes.as_mut_ptr().copy_from_nonoverlapping(p, n);
        self.load(lanes.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: Pair, n: usize) {
        let mut lanes = [0.0; LANES];
        self.store(lanes.as_mut_ptr(), v);
        p.copy_from_nonoverlapping(lanes.as_ptr(), n);
    }
    #[inline(always)]
    fn interleave(self, [a, b]: [Pair; 2]) -> [Pair; 2] {
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(a.0, b.0), _mm256_unpackhi_ps(a.0, b.0));
            let first =
                Pair(_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high));
            let (low, high) = (_mm256_unpacklo_ps(a.1, b.1), _mm256_unpackhi_ps(a.1, b.1));
            [
                first,
                Pair(_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_halves(self, p: [*const f32; 2]) -> Pair {
        Pair(_mm256_loadu_ps(p[0]), _mm256_loadu_ps(p[1]))
    }
    #[inline(always)]
    unsafe fn load_quarters(self, p: [*const f32; 4]) -> Pair {
        Pair(
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(p[0])), _mm_loadu_ps(p[1])),
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(p[2])), _mm_loadu_ps(p[3])),
        )
    }
    #[inline(always)]
    unsafe fn gather(self, p: *const f32, offsets: &[i32; LANES]) -> Pair {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = *p.offset(offsets[i] as isize);
        }
        self.load(lanes.as_ptr())
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn min(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn sqrt(self, a: Pair) -> Pair {
        unsafe { Pair(_mm256_sqrt_ps(a.0), _mm256_sqrt_ps(a.1)) }
    }
    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        unsafe { Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    fn round(self, a: Pair) -> Pair {
        unsafe { Pair(_mm256_round_ps::<8>(a.0), _mm256_round_ps::<8>(a.1)) }
    }
    #[inline(always)]
    fn scale_by_power(self, a: Pair, n: Pair) -> Pair {
        // The exponent field of a float, built by hand.
        unsafe {
            let power = |n| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            };
            Pair(_mm256_mul_ps(a.0, power(n.0)), _mm256_mul_ps(a.1, power(n.1)))
        }
    }
    #[inline(always)]
    fn select_less(self, a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
        unsafe {
            Pair(
                _mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)),
                _mm256_blendv_ps(y.1, x.1, _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1)),
            )
        }
    }
    #[inline(always)]
    fn sum(self, a: Pair) -> f32 {
        let mut lanes = [0.0; LANES];
        unsafe { self.store(lanes.as_mut_ptr(), a) };
        lanes.iter().sum()
    }
    #[inline(always)]
    fn largest(self, a: Pair) -> f32 {
        let mut lanes = [0.0; LANES];
        unsafe { self.store(lanes.as_mut_ptr(), a) };
        lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}
