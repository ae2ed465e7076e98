//! AVX-512: one register per vector. Variants are for products of bf16 numbers, see [`super::dispatch_pairs`].

#![allow(clippy::wildcard_imports, reason = "dozens of intrinsics")]

use core::arch::x86_64::*;

use burn::tensor::bf16;

use super::{LANES, Simd, Task};

#[derive(Clone, Copy)]
pub(super) struct Avx512<const PRODUCTS: u8>(());

/// What [`Simd::mul_add`] multiplies: numbers, or pairs of bf16 numbers; and whether panels of products of pairs go by AMX.
pub(super) const NUMBERS: u8 = 0;
const PAIRS: u8 = 1;
const TILES: u8 = 2;

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("fma")
}

/// Whether the processor multiplies pairs of bf16 numbers.
pub(super) fn pairs_available() -> bool {
    available() && is_x86_feature_detected!("avx512bf16")
}

/// # Safety
/// The processor has AVX-512 with bf16 and the task's pointers are valid.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_pairs(task: impl Task) {
    task.run(Avx512::<PAIRS>(()));
}

/// # Safety
/// The processor has AMX for bf16 too, as far as [`run_pairs`] asks for, and this process may use it.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_tiles(task: impl Task) {
    task.run(Avx512::<TILES>(()));
}

/// # Safety
/// The processor has AVX-512 and the task's pointers are valid.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
pub(super) unsafe fn run(task: impl Task) {
    task.run(Avx512::<NUMBERS>(()));
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    debug_assert!(n <= LANES);
    ((1_u32 << n) - 1) as __mmask16
}

/// The nearest bf16 numbers, ties to even, each in the lower half of a number. By whole numbers, which any AVX-512 has; what is no
/// number stays none.
#[inline(always)]
unsafe fn rounded(v: __m512) -> __m512i {
    let bits = _mm512_castps_si512(v);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
    let rounded = _mm512_mask_mov_epi32(up, nan, _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000)));
    _mm512_srli_epi32::<16>(rounded)
}

// SAFETY of all calls: a value of `Avx512` is only made by `run`, and one for other products by `run_pairs` or `run_tiles`.
impl<const PRODUCTS: u8> Simd for Avx512<PRODUCTS> {
    type V = __m512;
    type Numbers = Avx512<NUMBERS>;
    const TILES: bool = PRODUCTS == TILES;
    const ROWS: usize = 8;
    const VECS: usize = 2;

    #[inline(always)]
    fn numbers(self) -> Avx512<NUMBERS> {
        Avx512(())
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        _mm512_storeu_ps(p, v);
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        _mm512_maskz_loadu_ps(first(n), p)
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m512, n: usize) {
        _mm512_mask_storeu_ps(p, first(n), v);
    }
    #[inline(always)]
    unsafe fn load_first_bf16(self, p: *const bf16, n: usize) -> __m512 {
        let short = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(short))
    }
    #[inline(always)]
    unsafe fn store_first_bf16(self, p: *mut bf16, v: __m512, n: usize) {
        if PRODUCTS != NUMBERS {
            let short = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v));
            return _mm256_mask_storeu_epi16(p.cast(), first(n), short);
        }
        let short = _mm512_cvtepi32_epi16(rounded(v));
        _mm256_mask_storeu_epi16(p.cast(), first(n), short);
    }
    #[inline(always)]
    unsafe fn load_pairs(self, [a, b]: [*const bf16; 2], from: usize, to: usize) -> __m512 {
        let lanes = first(to) & !first(from);
        let a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, a.cast()));
        let b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, b.cast()));
        _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32::<16>(b)))
    }
    #[inline(always)]
    fn pair(self, [a, b]: [__m512; 2]) -> __m512 {
        unsafe {
            if PRODUCTS != NUMBERS {
                // Those of `a` are its lower half.
                let short = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
                let first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let second = _mm512_slli_epi32::<16>(_mm512_add_epi32(first, _mm512_set1_epi32(16)));
                let order = _mm512_or_si512(first, second);
                return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, short));
            }
            _mm512_castsi512_ps(_mm512_or_si512(rounded(a), _mm512_slli_epi32::<16>(rounded(b))))
        }
    }
    #[inline(always)]
    fn or(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_or_ps(a, b) }
    }
    #[inline(always)]
    fn interleave(self, [a, b]: [__m512; 2]) -> [__m512; 2] {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
        }
    }
    #[inline(always)]
    unsafe fn load_halves(self, p: [*const f32; 2]) -> __m512 {
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm256_loadu_ps(p[0])), _mm256_loadu_ps(p[1]))
    }
    #[inline(always)]
    unsafe fn load_quarters(self, p: [*const f32; 4]) -> __m512 {
        let low = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(p[0])), _mm_loadu_ps(p[1]));
        let high = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(p[2])), _mm_loadu_ps(p[3]));
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
    }
    #[inline(always)]
    unsafe fn gather(self, p: *const f32, offsets: &[i32; LANES]) -> __m512 {
        _mm512_i32gather_ps::<4>(_mm512_loadu_si512(offsets.as_ptr().cast()), p)
    }
    #[inline(always)]
    unsafe fn transpose(self, src: *const f32, ld_src: usize, dst: *mut f32, ld_dst: usize) {
        let zero = _mm512_setzero_ps();
        // Rows in pairs, then in fours, within each 128-bit quarter.
        let mut pair = [zero; 16];
        for i in 0..8 {
            let (a, b) =
                (_mm512_loadu_ps(src.add(2 * i * ld_src)), _mm512_loadu_ps(src.add((2 * i + 1) * ld_src)));
            pair[2 * i] = _mm512_unpacklo_ps(a, b);
            pair[2 * i + 1] = _mm512_unpackhi_ps(a, b);
        }
        let mut four = [zero; 16];
        for i in 0..4 {
            for j in 0..2 {
                let (a, b) = (_mm512_castps_pd(pair[4 * i + j]), _mm512_castps_pd(pair[4 * i + 2 + j]));
                four[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                four[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
        }
        // `four[4 i + c]` holds column `c + 4 q` of rows `4 i..4 i + 4` in quarter `q`; the quarters change places.
        for c in 0..4 {
            let even = _mm512_shuffle_f32x4::<0x88>(four[c], four[4 + c]);
            let odd = _mm512_shuffle_f32x4::<0xdd>(four[c], four[4 + c]);
            let even_high = _mm512_shuffle_f32x4::<0x88>(four[8 + c], four[12 + c]);
            let odd_high = _mm512_shuffle_f32x4::<0xdd>(four[8 + c], four[12 + c]);
            _mm512_storeu_ps(dst.add(c * ld_dst), _mm512_shuffle_f32x4::<0x88>(even, even_high));
            _mm512_storeu_ps(dst.add((c + 8) * ld_dst), _mm512_shuffle_f32x4::<0xdd>(even, even_high));
            _mm512_storeu_ps(dst.add((c + 4) * ld_dst), _mm512_shuffle_f32x4::<0x88>(odd, odd_high));
            _mm512_storeu_ps(dst.add((c + 12) * ld_dst), _mm512_shuffle_f32x4::<0xdd>(odd, odd_high));
        }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        if PRODUCTS != NUMBERS {
            // SAFETY: both are sixteen times 32 bits.
            let pairs = |v: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(v) };
            return unsafe { _mm512_dpbf16_ps(c, pairs(a), pairs(b)) };
        }
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<0>(a) }
    }
    #[inline(always)]
    fn scale_by_power(self, a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn select_less(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
