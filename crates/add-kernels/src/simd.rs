//! Sixteen lanes of `f32`, as AVX-512 has them, with AVX2 and portable stand-ins.
//!
//! A kernel is a [`Task`]: a struct of pointers and sizes whose `run` is generic over [`Simd`] and marked
//! `#[inline(always)]`. [`dispatch`] compiles it once per instruction set and picks one at run time. Threads are
//! started outside of `dispatch`, because a closure would lose the instruction set of the function around it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod choice;
mod math;
mod portable;

use burn::tensor::bf16;

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use choice::dispatch_pairs_in_vectors;
pub(crate) use choice::{dispatch, dispatch_pairs, has_pairs, has_tiles, tile_size};
#[cfg(test)]
use math::normal_tail;
pub(crate) use math::{exp, gelu, normal, power_of_two_for_bf16, sigmoid};

/// Lanes of one vector.
pub(crate) const LANES: usize = 16;

/// The operations on vectors of [`LANES`] numbers. A value of the type proves that the processor has them.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen numbers.
    type V: Copy;
    /// The same instruction set, whose [`mul_add`](Self::mul_add) is that of numbers.
    type Numbers: Simd<V = Self::V>;
    /// Rows of the register tile of a matrix product.
    const ROWS: usize;
    /// Vectors per row of the register tile.
    const VECS: usize;
    /// Whether a panel of a product of pairs is computed in registers of whole tiles, see [`amx`].
    const TILES: bool = false;

    /// For what surrounds a product of pairs, see [`dispatch_pairs`].
    fn numbers(self) -> Self::Numbers;
    fn splat(self, x: f32) -> Self::V;
    /// Asks for the cache line at `p`, which need not be there.
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: nothing is read through the pointer.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
    /// # Safety
    /// `p` is readable for sixteen numbers.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `p` is writable for sixteen numbers.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// The first `n <= 16` numbers, then zeros.
    /// # Safety
    /// `p` is readable for `n` numbers.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;
    /// # Safety
    /// `p` is writable for `n <= 16` numbers.
    unsafe fn store_first(self, p: *mut f32, v: Self::V, n: usize);
    /// The first `n <= 16` bf16 numbers, then zeros.
    /// # Safety
    /// `p` is readable for `n` numbers.
    #[inline(always)]
    unsafe fn load_first_bf16(self, p: *const bf16, n: usize) -> Self::V {
        let mut numbers = [0.0; LANES];
        for (i, number) in numbers.iter_mut().enumerate().take(n) {
            *number = f32::from_bits(u32::from(p.add(i).read().to_bits()) << 16);
        }
        self.load(numbers.as_ptr())
    }
    /// Rounded to the nearest bf16 numbers.
    /// # Safety
    /// `p` is writable for `n <= 16` numbers.
    #[inline(always)]
    unsafe fn store_first_bf16(self, p: *mut bf16, v: Self::V, n: usize) {
        let mut numbers = [0.0; LANES];
        self.store(numbers.as_mut_ptr(), v);
        for (i, number) in numbers.into_iter().enumerate().take(n) {
            p.add(i).write(bf16::from_f32(number));
        }
    }
    /// Pairs of bf16 numbers, `a[i]` beside `b[i]`, for `i` in `from..to`; zeros elsewhere.
    /// # Safety
    /// Both are readable in `from..to`, which lies within `0..16`.
    #[inline(always)]
    unsafe fn load_pairs(self, [a, b]: [*const bf16; 2], from: usize, to: usize) -> Self::V {
        let mut pairs = [0_u32; LANES];
        for (i, pair) in pairs.iter_mut().enumerate().take(to).skip(from) {
            let [a, b] = [a, b].map(|p| u32::from(p.wrapping_add(i).read().to_bits()));
            *pair = b << 16 | a;
        }
        self.load(pairs.as_ptr().cast())
    }
    /// Pairs of the nearest bf16 numbers, `a[i]` beside `b[i]`.
    #[inline(always)]
    fn pair(self, [a, b]: [Self::V; 2]) -> Self::V {
        let mut short = [[bf16::ZERO; LANES]; 2];
        // SAFETY: both have sixteen numbers.
        unsafe {
            self.store_first_bf16(short[0].as_mut_ptr(), a, LANES);
            self.store_first_bf16(short[1].as_mut_ptr(), b, LANES);
            self.load_pairs(short.each_ref().map(|numbers| numbers.as_ptr()), 0, LANES)
        }
    }
    /// All bits of both.
    #[inline(always)]
    fn or(self, a: Self::V, b: Self::V) -> Self::V {
        let (mut bits, mut more) = ([0_u32; LANES], [0_u32; LANES]);
        // SAFETY: both are sixteen numbers long.
        unsafe {
            self.store(bits.as_mut_ptr().cast(), a);
            self.store(more.as_mut_ptr().cast(), b);
            for (bits, more) in bits.iter_mut().zip(more) {
                *bits |= more;
            }
            self.load(bits.as_ptr().cast())
        }
    }
    /// `a_0 b_0 a_1 b_1 ..`: first half, second half.
    fn interleave(self, pair: [Self::V; 2]) -> [Self::V; 2];
    /// Eight numbers from each pointer.
    /// # Safety
    /// Both are readable for eight numbers.
    unsafe fn load_halves(self, p: [*const f32; 2]) -> Self::V;
    /// Four numbers from each pointer.
    /// # Safety
    /// All are readable for four numbers.
    unsafe fn load_quarters(self, p: [*const f32; 4]) -> Self::V;
    /// `p[offsets[i]]`.
    /// # Safety
    /// All those are readable.
    unsafe fn gather(self, p: *const f32, offsets: &[i32; LANES]) -> Self::V;
    /// Transposes sixteen rows of sixteen numbers.
    /// # Safety
    /// The rows of `src` (`ld_src` apart) are readable, those of `dst` writable.
    #[inline(always)]
    unsafe fn transpose(self, src: *const f32, ld_src: usize, dst: *mut f32, ld_dst: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                *dst.add(i * ld_dst + j) = *src.add(j * ld_src + i);
            }
        }
    }

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c`.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest whole number.
    fn round(self, a: Self::V) -> Self::V;
    /// `a * 2^n` for whole `n` in `-126..=127`.
    fn scale_by_power(self, a: Self::V, n: Self::V) -> Self::V;
    /// `x` where `a < b`, `y` elsewhere.
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Sum of the lanes.
    fn sum(self, a: Self::V) -> f32;
    /// Largest lane.
    fn largest(self, a: Self::V) -> f32;
}

/// One piece of work for one thread.
pub(crate) trait Task {
    /// Runs with the given instruction set. Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The pointers of the task are valid for what it does.
    unsafe fn run<S: Simd>(self, s: S);
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "numbers that are only moved keep every bit")]
mod tests {
    use super::*;

    /// Runs a check once per instruction set of this processor.
    fn on_every_isa(check: impl Task + Copy) {
        unsafe {
            check.run(portable::Portable);
            #[cfg(target_arch = "x86_64")]
            {
                if avx2::available() {
                    avx2::run(check);
                }
                if avx512::available() {
                    avx512::run(check);
                }
            }
        }
    }

    #[derive(Clone, Copy)]
    struct Agrees;

    impl Task for Agrees {
        #[inline(always)]
        unsafe fn run<S: Simd>(self, s: S) {
            let x: [f32; LANES] = std::array::from_fn(|i| i as f32 * 0.7 - 5.0);
            let y: [f32; LANES] = std::array::from_fn(|i| 3.1 - i as f32 * 0.3);
            let (a, b) = (s.load(x.as_ptr()), s.load(y.as_ptr()));
            let mut got = [0.0; LANES];
            let mut check = |v: S::V, want: fn(f32, f32) -> f32| {
                s.store(got.as_mut_ptr(), v);
                for i in 0..LANES {
                    let want = want(x[i], y[i]);
                    assert!((got[i] - want).abs() <= 4e-6 + 1e-6 * want.abs(), "{} for {want}", got[i]);
                }
            };
            check(s.add(a, b), |x, y| x + y);
            check(s.sub(a, b), |x, y| x - y);
            check(s.mul(a, b), |x, y| x * y);
            check(s.div(a, b), |x, y| x / y);
            check(s.min(a, b), f32::min);
            check(s.max(a, b), f32::max);
            check(s.sqrt(s.mul(a, a)), |x, _| x.abs());
            check(s.mul_add(a, a, b), |x, y| x * x + y);
            check(s.round(a), |x, _| x.round_ties_even());
            check(s.scale_by_power(a, s.round(b)), |x, y| x * y.round_ties_even().exp2());
            check(s.select_less(a, b, b, a), f32::max);
            assert!((s.sum(a) - x.iter().sum::<f32>()).abs() < 1e-5);
            assert_eq!(s.largest(b), 3.1);
        }
    }

    #[test]
    fn every_instruction_set_computes_the_same() {
        on_every_isa(Agrees);
    }

    #[derive(Clone, Copy)]
    struct Moves;

    impl Task for Moves {
        #[inline(always)]
        unsafe fn run<S: Simd>(self, s: S) {
            let x: [f32; 256] = std::array::from_fn(|i| i as f32);
            let mut got = [-1.0; LANES];
            s.store(got.as_mut_ptr(), s.load_first(x.as_ptr(), 5));
            assert_eq!(got[..6], [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
            let mut short = [bf16::ZERO; LANES];
            s.store_first_bf16(short.as_mut_ptr(), s.load(x.as_ptr().add(250)), 6);
            assert_eq!(short.map(bf16::to_f32)[..7], [250.0, 251.0, 252.0, 253.0, 254.0, 255.0, 0.0]);
            let whole = x.map(bf16::from_f32);
            let at = |i: usize| whole.as_ptr().wrapping_add(i);
            let mut pairs = [[bf16::ZERO; 2]; LANES];
            let first = s.load_pairs([at(40), at(10)], 0, 3);
            s.store(pairs.as_mut_ptr().cast(), s.or(first, s.load_pairs([at(60), at(90)], 3, 15)));
            let mut both = [[bf16::ZERO; 2]; LANES];
            s.store(both.as_mut_ptr().cast(), s.pair([s.load(x.as_ptr()), s.load(x.as_ptr().add(100))]));
            let pair = |a: f32, b: f32| [bf16::from_f32(a), bf16::from_f32(b)];
            assert_eq!(pairs[..4], [pair(40.0, 10.0), pair(41.0, 11.0), pair(42.0, 12.0), pair(63.0, 93.0)]);
            assert_eq!(both, std::array::from_fn(|i| pair(i as f32, (100 + i) as f32)));
            assert_eq!(pairs[14..], [pair(74.0, 104.0), pair(0.0, 0.0)]);
            s.store_first(got.as_mut_ptr(), s.splat(9.0), 3);
            assert_eq!(got[..5], [9.0, 9.0, 9.0, 3.0, 4.0]);
            let p = |i: usize| x.as_ptr().wrapping_add(i);
            s.store(got.as_mut_ptr(), s.load_halves([p(20), p(3)]));
            assert_eq!((got[0], got[7], got[8], got[15]), (20.0, 27.0, 3.0, 10.0));
            s.store(got.as_mut_ptr(), s.load_quarters([p(20), p(3), p(50), p(9)]));
            assert_eq!((got[3], got[4], got[8], got[15]), (23.0, 3.0, 50.0, 12.0));
            let offsets: [i32; LANES] = std::array::from_fn(|i| (i * i) as i32);
            s.store(got.as_mut_ptr(), s.gather(x.as_ptr(), &offsets));
            assert_eq!(got, offsets.map(|i| i as f32));
            for (half, v) in s.interleave([s.load(p(0)), s.load(p(100))]).into_iter().enumerate() {
                s.store(got.as_mut_ptr(), v);
                assert_eq!(got, std::array::from_fn(|i| (half * 8 + i / 2 + i % 2 * 100) as f32));
            }
            let mut turned = [0.0; 256];
            s.transpose(x.as_ptr(), 16, turned.as_mut_ptr(), 16);
            for i in 0..256 {
                assert_eq!(turned[i], x[i % 16 * 16 + i / 16]);
            }
        }
    }

    #[test]
    fn every_instruction_set_moves_the_same() {
        on_every_isa(Moves);
        if has_pairs() {
            unsafe { dispatch_pairs(Moves) };
        }
    }

    #[derive(Clone, Copy)]
    struct Transcendental;

    impl Task for Transcendental {
        #[inline(always)]
        unsafe fn run<S: Simd>(self, s: S) {
            for step in 0..20_000 {
                let x = step as f32 * 0.01 - 100.0;
                let mut got = [0.0; LANES];
                let mut lane = |v| {
                    s.store(got.as_mut_ptr(), v);
                    f64::from(got[7])
                };
                let wide = f64::from(x);
                if x > -87.0 && x < 88.0 {
                    let relative = lane(exp(s, s.splat(x))) / wide.exp() - 1.0;
                    assert!(relative.abs() < 2.5e-7, "exp({x}) off by {relative:e}");
                }
                if x > -126.0 && x <= 0.0 {
                    let relative = lane(power_of_two_for_bf16(s, s.splat(x))) / wide.exp2() - 1.0;
                    assert!(relative.abs() < 7.6e-5, "2^{x} off by {relative:e}");
                }
                let off = lane(sigmoid(s, s.splat(x))) - 1.0 / (1.0 + (-wide).exp());
                assert!(off.abs() < 1.5e-7, "sigmoid({x}) off by {off:e}");
            }
            // Phi(-x), from tables of the normal distribution.
            for (x, want) in [(0.0, 0.5), (1.0, 0.158_655_254), (2.0, 0.022_750_132), (4.0, 3.167_124e-5)] {
                let mut got = [0.0; LANES];
                let (tail, _) = normal_tail(s, s.splat(x));
                s.store(got.as_mut_ptr(), tail);
                let relative = f64::from(got[0]) / want - 1.0;
                assert!(relative.abs() < 1e-6, "tail({x}) off by {relative:e}");
            }
        }
    }

    #[test]
    fn exponential_sigmoid_and_normal_tail_are_accurate() {
        on_every_isa(Transcendental);
    }
}
