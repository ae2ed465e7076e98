//! Group normalisation (Wu and He 2018), alone or followed by `SiLU`.
//!
//! `y = silu?(w_c (x - mean) / sqrt(variance + eps) + b_c)` with mean and biased variance of each group of channels
//! of each sample. A group is contiguous in memory, so one task normalises it while it is in the cache.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use burn_flex::FlexTensor;

use crate::half::{as_type, in_pieces, wide_type, widen};
use crate::parallel::{Scratch, SharedMut, dense, output, parallel_ranges, values};
use crate::simd::{LANES, Simd, Task, dispatch, sigmoid};
use crate::tape::{Kernel, apply};

/// `x: [B, C, H, W]` in `groups` groups of channels, with `weight`, `bias`: `[C]`; biased variance.
///
/// # Panics
/// If `groups` does not divide the channels, or `weight` or `bias` is not `[C]`.
pub fn group_norm(x: Tensor<4>, groups: usize, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<4> {
    normalise(x, groups, weight, bias, eps, After::Nothing)
}

/// `silu(group_norm(x))`.
///
/// # Panics
/// As [`group_norm`].
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    normalise(x, groups, weight, bias, eps, After::Silu)
}

/// What follows the normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Silu,
}

fn normalise(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
    after: After,
) -> Tensor<4> {
    let [samples, channels, height, width] = x.dims();
    assert!(groups > 0 && channels % groups == 0, "{channels} channels in {groups} groups");
    assert!(weight.dims() == [channels] && bias.dims() == [channels], "one weight and bias per channel");
    let kernel = GroupNorm { samples, channels, groups, pixels: height * width, eps, after };
    match apply(kernel, [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, bias]) => {
            let x = Tensor::from_dispatch(x);
            let y = group_norm_reference(
                x,
                groups,
                Tensor::from_dispatch(weight),
                Tensor::from_dispatch(bias),
                eps,
            );
            match after {
                After::Nothing => y,
                After::Silu => activation::silu(y),
            }
        }
    }
}

/// The same by pure operations.
#[doc(hidden)]
pub fn group_norm_reference(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let (dtype, wide) = (x.dtype(), wide_type(x.dtype()));
    let (x, weight, bias) = (as_type(x, wide), as_type(weight, wide), as_type(bias, wide));
    let x = x.reshape([b, groups, c / groups * h * w]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let normal = (centred / (variance + eps).sqrt()).reshape([b, c, h, w]);
    as_type(normal * weight.reshape([1, c, 1, 1]) + bias.reshape([1, c, 1, 1]), dtype)
}

/// `silu` of [`group_norm_reference`].
#[doc(hidden)]
pub fn group_norm_silu_reference(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    activation::silu(group_norm_reference(x, groups, weight, bias, eps))
}

#[derive(Debug, Clone, Copy)]
struct GroupNorm {
    samples: usize,
    channels: usize,
    groups: usize,
    pixels: usize,
    eps: f64,
    after: After,
}

impl GroupNorm {
    /// Numbers of one group.
    fn size(&self) -> usize {
        self.channels / self.groups * self.pixels
    }
}

impl Kernel<3> for GroupNorm {
    /// Mean and inverse standard deviation of every group of every sample.
    type Saved = Arc<Vec<[f32; 2]>>;

    fn forward(&self, [x, weight, bias]: &[FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let mut statistics = vec![[0.0; 2]; self.samples * self.groups];
        let shared = SharedMut::new(statistics.as_mut_ptr().cast());
        let (x_values, weight, bias) = (values(x), values(weight), values(bias));
        let y = output(x.layout().shape().clone(), |out| {
            parallel_ranges(self.samples * self.groups, self.size(), |range| {
                let task = Forward { norm: *self, x: x_values, weight, bias, out, statistics: shared, range };
                // SAFETY: the groups are disjoint.
                unsafe { dispatch(task) };
            });
        });
        (y, Arc::new(statistics))
    }

    fn forward_in_bf16(&self, [x, weight, bias]: &[FlexTensor; 3]) -> Option<FlexTensor> {
        let [weight, bias] = [weight, bias].map(|vector| dense(widen(vector.clone())));
        let (size, per_group) = (self.size(), self.channels / self.groups);
        in_pieces(x, size, size, |x, out, first, count| {
            for i in 0..count {
                let channel = (first + i) % self.groups * per_group;
                let mut statistics = [0.0; 2];
                let task = Forward {
                    norm: *self,
                    x: &x[i * size..],
                    weight: &values(&weight)[channel..],
                    bias: &values(&bias)[channel..],
                    // SAFETY: there are so many groups.
                    out: SharedMut::new(unsafe { out.at(i * size) }),
                    statistics: SharedMut::new(statistics.as_mut_ptr()),
                    range: 0..1,
                };
                unsafe { dispatch(task) };
            }
        })
    }

    fn backward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        statistics: Self::Saved,
        dy: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let mut sums = Scratch::new(2 * self.samples * self.channels);
        let shared = SharedMut::new(sums.as_mut_ptr());
        let dx = output(x.layout().shape().clone(), |out| {
            let (x, weight, bias, dy) = (values(&x), values(&weight), values(&bias), values(&dy));
            parallel_ranges(self.samples * self.groups, 2 * self.size(), |range| {
                let statistics = &statistics;
                let task =
                    Backward { norm: *self, x, weight, bias, dy, statistics, out, sums: shared, range };
                // SAFETY: the groups are disjoint.
                unsafe { dispatch(task) };
            });
        });
        // Always in the order of the samples.
        let total = |which: usize| {
            output([self.channels], |out| {
                for c in 0..self.channels {
                    let sum: f32 = (0..self.samples).map(|s| sums[2 * (s * self.channels + c) + which]).sum();
                    // SAFETY: one number per channel.
                    unsafe { *out.at(c) = sum };
                }
            })
        };
        [wanted[0].then_some(dx), wanted[1].then(|| total(1)), wanted[2].then(|| total(0))]
    }
}

/// Applies `body(i, n)` to the vectors of `0..length`: `n` is [`LANES`] but at the end.
macro_rules! each_vector {
    ($length:expr, |$i:ident, $n:ident| $body:block) => {
        let mut $i = 0;
        while $i + LANES <= $length {
            let $n = LANES;
            $body
            $i += LANES;
        }
        if $i < $length {
            let $n = $length - $i;
            $body
        }
    };
}

/// Numbers that are summed in f32; the sums of the parts of a group are added in f64.
const PART: usize = 64 * LANES;

/// Applies `body(first, length)` to the parts of `0..length`, each of at most [`PART`] numbers.
macro_rules! each_part {
    ($length:expr, |$first:ident, $part:ident| $body:block) => {
        for $first in (0..$length).step_by(PART) {
            let $part = PART.min($length - $first);
            $body
        }
    };
}

// Behind the macros, which it uses.
mod gradient;
use gradient::Backward;

struct Forward<'a> {
    norm: GroupNorm,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    out: SharedMut,
    statistics: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for Forward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { norm, x, weight, bias, out, statistics, range } = self;
        let (size, pixels) = (norm.size(), norm.pixels);
        let per_group = norm.channels / norm.groups;
        for group in range {
            let x = x[group * size..][..size].as_ptr();
            let mut total = 0.0;
            each_part!(size, |first, length| {
                let mut sum = s.splat(0.0);
                each_vector!(length, |i, n| {
                    sum = s.add(sum, s.load_first(x.add(first + i), n));
                });
                total += f64::from(s.sum(sum));
            });
            let mean = (total / size as f64) as f32;
            let centre = s.splat(mean);
            let mut total = 0.0;
            each_part!(size, |first, length| {
                let mut squares = s.splat(0.0);
                let whole = length / LANES * LANES;
                each_vector!(whole, |i, _n| {
                    let d = s.sub(s.load(x.add(first + i)), centre);
                    squares = s.mul_add(d, d, squares);
                });
                total += f64::from(s.sum(squares));
                for i in first + whole..first + length {
                    total += f64::from(*x.add(i) - mean).powi(2);
                }
            });
            let inverse = (1.0 / (total / size as f64 + norm.eps).sqrt()) as f32;
            statistics.at(2 * group).write(mean);
            statistics.at(2 * group + 1).write(inverse);
            for c in 0..per_group {
                let channel = group % norm.groups * per_group + c;
                let (scale, shift) = (s.splat(weight[channel] * inverse), s.splat(bias[channel]));
                let from = x.add(c * pixels);
                let to = out.at(group * size + c * pixels);
                match norm.after {
                    After::Nothing => {
                        each_vector!(pixels, |i, n| {
                            let d = s.sub(s.load_first(from.add(i), n), centre);
                            s.store_first(to.add(i), s.mul_add(d, scale, shift), n);
                        });
                    }
                    After::Silu => {
                        each_vector!(pixels, |i, n| {
                            let d = s.sub(s.load_first(from.add(i), n), centre);
                            let z = s.mul_add(d, scale, shift);
                            s.store_first(to.add(i), s.mul(z, sigmoid(s, z)), n);
                        });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{agree, random, same_without_tape};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn value_and_gradients_equal_those_of_the_pure_operations(
            batch in 1_usize..5,
            (per_group, groups) in (1_usize..6, 1_usize..6),
            (height, width) in (1_usize..9, 1_usize..11),
            silu: bool,
            view in 0..3,
        ) {
            let c = per_group * groups;
            // Of one or two numbers the normalised values are constants, and so is everything that is compared.
            prop_assume!(per_group * height * width > 2);
            let x = match view {
                0 => random([batch, c, height, width], 1),
                1 => random([batch, c, width, height], 1).swap_dims(2, 3),
                _ => random([batch, c + 1, height, width], 1).slice([0..batch, 1..c + 1]),
            };
            let inputs = (x * 2.0 + 0.5, random([c], 2), random([c], 3));
            if silu {
                let ours = |(x, w, b)| group_norm_silu(x, groups, w, b, 1e-5);
                same_without_tape(inputs.clone(), ours)?;
                agree(inputs, ours, |(x, w, b)| activation::silu(group_norm_reference(x, groups, w, b, 1e-5)))?;
            } else {
                let ours = |(x, w, b)| group_norm(x, groups, w, b, 1e-5);
                same_without_tape(inputs.clone(), ours)?;
                agree(inputs, ours, |(x, w, b)| group_norm_reference(x, groups, w, b, 1e-5))?;
            }
        }
    }

    #[test]
    fn large_mean_does_not_spoil_the_variance() {
        let x = random([2, 8, 8, 8], 1) + 100.0;
        let (w, b) = (random([8], 2), random([8], 3));
        let y = group_norm(x.clone(), 4, w.clone(), b.clone(), 1e-5);
        let off = (y - group_norm_reference(x, 4, w, b, 1e-5)).abs().max().into_scalar::<f32>();
        assert!(off < 1e-3, "off by {off}");
    }
}
