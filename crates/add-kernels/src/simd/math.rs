//! Exponential, logistic function and normal distribution on vectors.

use super::Simd;

/// `e^x`, within about one unit of the last place; zero below the smallest normal number.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// `1 / k!` from `k = 7` down: the series is good to 5e-9 for `|r| <= ln(2) / 2`.
    const INVERSE_FACTORIALS: [f32; 8] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let (lowest, highest) = (s.splat(-87.3), s.splat(88.3));
    let bounded = s.min(s.max(x, lowest), highest);
    // e^x = 2^n e^r
    let n = s.round(s.mul(bounded, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN_2_HIGH), bounded);
    let r = s.mul_add(n, s.splat(-LN_2_LOW), r);
    let mut sum = s.splat(INVERSE_FACTORIALS[0]);
    for factor in &INVERSE_FACTORIALS[1..] {
        sum = s.mul_add(sum, r, s.splat(*factor));
    }
    s.select_less(x, lowest, s.splat(0.0), s.scale_by_power(sum, n))
}

/// `2^x` for `x <= 0`, within 7.5e-5 of it, where rounding to bf16 changes up to 2e-3; below -126 as at -126.
///
/// The polynomial was fitted to `2^r` over `|r| <= 1/2` by iteratively reweighted least squares of the relative error.
#[inline(always)]
pub(crate) fn power_of_two_for_bf16<S: Simd>(s: S, x: S::V) -> S::V {
    const POLYNOMIAL: [f32; 4] = [0.055_171_67, 0.242_611_13, 0.693_261, 0.999_928_06];
    let x = s.max(x, s.splat(-126.0));
    let n = s.round(x);
    let r = s.sub(x, n);
    let mut sum = s.splat(POLYNOMIAL[0]);
    for factor in &POLYNOMIAL[1..] {
        sum = s.mul_add(sum, r, s.splat(*factor));
    }
    s.scale_by_power(sum, n)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// For `x >= 0`: `Phi(-x)` of the standard normal distribution, and `e^(-x^2 / 2)`.
///
/// `2 Phi(-x) e^(x^2 / 2)` is `t` times a polynomial in `t = 1 / (1 + 0.26 x)`, fitted over `0..=14` by iteratively
/// reweighted least squares; it is within 4e-8 of the true ratio.
#[inline(always)]
pub(super) fn normal_tail<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    const POLYNOMIAL: [f32; 9] = [
        0.061_009_82,
        -0.305_657_9,
        0.502_983_1,
        -0.301_898_57,
        0.321_896_17,
        0.102_055_18,
        0.206_060_56,
        0.206_033_5,
        0.207_518_12,
    ];
    let one = s.splat(1.0);
    let t = s.div(one, s.mul_add(x, s.splat(0.26), one));
    let mut sum = s.splat(POLYNOMIAL[0]);
    for factor in &POLYNOMIAL[1..] {
        sum = s.mul_add(sum, t, s.splat(*factor));
    }
    let bell = exp(s, s.mul(s.mul(x, x), s.splat(-0.5)));
    (s.mul(s.mul(s.mul(sum, t), bell), s.splat(0.5)), bell)
}

/// `x Phi(x)` with the normal distribution function (not its tanh approximation).
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    s.mul(x, normal(s, x).0)
}

/// The standard normal distribution function and its density.
#[inline(always)]
pub(crate) fn normal<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    /// `1 / sqrt(2 pi)`
    const PEAK: f32 = 0.398_942_3;
    let zero = s.splat(0.0);
    let (tail, bell) = normal_tail(s, s.max(x, s.sub(zero, x)));
    (s.select_less(x, zero, tail, s.sub(s.splat(1.0), tail)), s.mul(bell, s.splat(PEAK)))
}
