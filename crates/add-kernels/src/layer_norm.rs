//! Layer normalisation over the last dimension (Ba et al. 2016).
//!
//! `y = w (x - mean) / sqrt(variance + eps) + b` with mean and biased variance of each row.

use std::sync::Arc;

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::half::{as_type, in_pieces, wide_type, widen};
use crate::parallel::{Scratch, SharedMut, dense, output, parallel, parallel_ranges, values};
use crate::simd::{LANES, Simd, Task, dispatch};
use crate::tape::{Kernel, apply};

/// `x: [B, N, C]` with `weight`, `bias`: `[C]`; biased variance, as in `PyTorch`.
///
/// # Panics
/// If `weight` or `bias` is not `[C]`.
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let [b, n, c] = x.dims();
    assert!(weight.dims() == [c] && bias.dims() == [c], "one weight and bias per channel");
    let kernel = LayerNorm { rows: b * n, c, eps: eps as f32 };
    match apply(kernel, [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, bias]) => layer_norm_reference(
            Tensor::from_dispatch(x),
            Tensor::from_dispatch(weight),
            Tensor::from_dispatch(bias),
            eps,
        ),
    }
}

/// The same by pure operations.
#[doc(hidden)]
pub fn layer_norm_reference(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let (dtype, wide) = (x.dtype(), wide_type(x.dtype()));
    let (x, weight, bias) = (as_type(x, wide), as_type(weight, wide), as_type(bias, wide));
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    as_type(centred / (variance + eps).sqrt() * weight.unsqueeze() + bias.unsqueeze(), dtype)
}

#[derive(Debug, Clone, Copy)]
struct LayerNorm {
    rows: usize,
    c: usize,
    eps: f32,
}

/// Rows whose gradients of weight and bias are summed before they are added to those of other rows: a fixed
/// number, so that the sums do not depend on the number of threads.
const ROWS: usize = 64;

impl Kernel<3> for LayerNorm {
    /// Mean and inverse standard deviation of every row.
    type Saved = Arc<Vec<[f32; 2]>>;

    fn forward(&self, [x, weight, bias]: &[FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let mut statistics = vec![[0.0; 2]; self.rows];
        let shared = SharedMut::new(statistics.as_mut_ptr().cast());
        let (from, weight, bias) = (values(x), values(weight), values(bias));
        let y = output(x.layout().shape().clone(), |out| {
            parallel_ranges(self.rows, self.c / 2, |range| {
                let task = Forward { norm: *self, x: from, weight, bias, out, statistics: shared, range };
                // SAFETY: the rows are disjoint.
                unsafe { dispatch(task) };
            });
        });
        (y, Arc::new(statistics))
    }

    fn forward_in_bf16(&self, [x, weight, bias]: &[FlexTensor; 3]) -> Option<FlexTensor> {
        let [weight, bias] = [weight, bias].map(|vector| dense(widen(vector.clone())));
        let (weight, bias) = (values(&weight), values(&bias));
        in_pieces(x, self.c, self.c / 2, |x, out, _, count| {
            let mut statistics = Scratch::new(2 * count);
            let statistics = SharedMut::new(statistics.as_mut_ptr());
            let task = Forward { norm: *self, x, weight, bias, out, statistics, range: 0..count };
            // SAFETY: there are so many rows.
            unsafe { dispatch(task) };
        })
    }

    fn backward(
        &self,
        [x, weight, _]: [FlexTensor; 3],
        statistics: Self::Saved,
        dy: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let chunks = self.rows.div_ceil(ROWS);
        let mut sums = Scratch::new(2 * self.c * chunks);
        let shared = SharedMut::new(sums.as_mut_ptr());
        let dx = output(x.layout().shape().clone(), |out| {
            let (x, weight, dy) = (values(&x), values(&weight), values(&dy));
            parallel(chunks, |chunk| {
                let range = chunk * ROWS..((chunk + 1) * ROWS).min(self.rows);
                // SAFETY: the rows, and the sums of the chunks, are disjoint.
                unsafe {
                    let sums = shared.at(2 * self.c * chunk);
                    dispatch(Backward {
                        norm: *self,
                        x,
                        weight,
                        dy,
                        statistics: &statistics,
                        out,
                        sums,
                        range,
                    });
                }
            });
        });
        let total = |which: usize| {
            output([self.c], |out| {
                for i in 0..self.c {
                    let sum: f32 = (0..chunks).map(|chunk| sums[(2 * chunk + which) * self.c + i]).sum();
                    // SAFETY: one number per channel.
                    unsafe { *out.at(i) = sum };
                }
            })
        };
        [wanted[0].then_some(dx), wanted[1].then(|| total(0)), wanted[2].then(|| total(1))]
    }
}

struct Forward<'a> {
    norm: LayerNorm,
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
        let Self { norm: LayerNorm { c, eps, .. }, x, weight, bias, out, statistics, range } = self;
        let (weight, bias) = (weight.as_ptr(), bias.as_ptr());
        let whole = c / LANES * LANES;
        for row in range {
            let x = x[row * c..][..c].as_ptr();
            let mut sum = s.splat(0.0);
            let mut i = 0;
            while i < c {
                sum = s.add(sum, s.load_first(x.add(i), LANES.min(c - i)));
                i += LANES;
            }
            let mean = s.sum(sum) / c as f32;
            let centre = s.splat(mean);
            let mut squares = s.splat(0.0);
            let mut i = 0;
            while i < whole {
                let d = s.sub(s.load(x.add(i)), centre);
                squares = s.mul_add(d, d, squares);
                i += LANES;
            }
            let mut total = s.sum(squares);
            for i in whole..c {
                total += (*x.add(i) - mean).powi(2);
            }
            let inverse = 1.0 / (total / c as f32 + eps).sqrt();
            statistics.at(2 * row).write(mean);
            statistics.at(2 * row + 1).write(inverse);
            let scale = s.splat(inverse);
            let to = out.at(row * c);
            let mut i = 0;
            while i < c {
                let n = LANES.min(c - i);
                let normal = s.mul(s.sub(s.load_first(x.add(i), n), centre), scale);
                let y = s.mul_add(normal, s.load_first(weight.add(i), n), s.load_first(bias.add(i), n));
                s.store_first(to.add(i), y, n);
                i += LANES;
            }
        }
    }
}

struct Backward<'a> {
    norm: LayerNorm,
    x: &'a [f32],
    weight: &'a [f32],
    dy: &'a [f32],
    statistics: &'a [[f32; 2]],
    out: SharedMut,
    /// For each channel, over the rows of this task: sum of `dy` times the normalised x; then sum of `dy`.
    sums: *mut f32,
    range: std::ops::Range<usize>,
}

impl Task for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { norm: LayerNorm { c, .. }, x, weight, dy, statistics, out, sums, range } = self;
        std::slice::from_raw_parts_mut(sums, 2 * c).fill(0.0);
        let weight = weight.as_ptr();
        for row in range {
            let (x, dy) = (x[row * c..][..c].as_ptr(), dy[row * c..][..c].as_ptr());
            let dx = out.at(row * c);
            let [mean, inverse] = statistics[row];
            let (centre, scale) = (s.splat(mean), s.splat(inverse));
            let (mut sum_1, mut sum_2) = (s.splat(0.0), s.splat(0.0));
            let mut i = 0;
            while i < c {
                let n = LANES.min(c - i);
                let dy = s.load_first(dy.add(i), n);
                let normal = s.mul(s.sub(s.load_first(x.add(i), n), centre), scale);
                let (to_weight, to_bias) = (sums.add(i), sums.add(c + i));
                s.store_first(to_weight, s.mul_add(dy, normal, s.load_first(to_weight, n)), n);
                s.store_first(to_bias, s.add(dy, s.load_first(to_bias, n)), n);
                let g = s.mul(dy, s.load_first(weight.add(i), n));
                sum_1 = s.add(sum_1, g);
                sum_2 = s.mul_add(g, normal, sum_2);
                i += LANES;
            }
            // dx = inverse (w dy - mean of that - normal x times mean of w dy times normal x)
            let mean_1 = s.splat(s.sum(sum_1) / c as f32);
            let mean_2 = s.splat(-s.sum(sum_2) / c as f32);
            let mut i = 0;
            while i < c {
                let n = LANES.min(c - i);
                let normal = s.mul(s.sub(s.load_first(x.add(i), n), centre), scale);
                let g = s.mul(s.load_first(dy.add(i), n), s.load_first(weight.add(i), n));
                s.store_first(dx.add(i), s.mul(scale, s.mul_add(normal, mean_2, s.sub(g, mean_1))), n);
                i += LANES;
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
            // Of one or two numbers the normalised values are constants, and so is everything that is compared.
            (b, n, c) in (1_usize..4, 1_usize..90, 3_usize..70),
            view in 0..3,
        ) {
            let x = match view {
                0 => random([b, n, c], 1),
                1 => random([b, c, n], 1).swap_dims(1, 2),
                _ => random([b + 1, n, c + 3], 1).slice([1..b + 1, 0..n, 2..c + 2]),
            };
            let inputs = (x * 3.0 - 0.7, random([c], 2), random([c], 3));
            let ours = |(x, w, b)| layer_norm(x, w, b, 1e-5);
            same_without_tape(inputs.clone(), ours)?;
            agree(inputs, ours, |(x, w, b)| layer_norm_reference(x, w, b, 1e-5))?;
        }
    }
}
