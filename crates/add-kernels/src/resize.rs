//! Resizing of pictures and tables, as every published code does it.
//!
//! Burn's interpolation knows neither areas nor antialiasing, and a network's features change in the third digit when
//! its input is resized in another way than its authors'. All ways are linear, and rows and columns are independent: `y = R x C^T`
//! with a small matrix per direction, whose gradient is two more products. The matrices are those of `PyTorch`'s
//! `interpolate` with `align_corners = False`.

use burn::tensor::{Tensor, TensorData};

use crate::half::{as_type, widened};

/// How the values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The mean over each output pixel's area, of whole input pixels, where the direction shrinks (adaptive average
    /// pooling: output `i` is the mean of inputs `floor(i n / m) .. ceil((i + 1) n / m)`); linear where it grows.
    Area,
    /// Two taps.
    Linear,
    /// Two taps, widened when shrinking.
    LinearAntialiased,
    /// Four taps of the Keys (1981) kernel with `a = -0.75`.
    Cubic,
    /// The same at the scale `n / (m + 0.1)`: the position tables of facebook's DINO and `DINOv2`.
    CubicOffset,
    /// Four taps of the Keys kernel with `a = -0.5`, widened when shrinking; also what Pillow does.
    CubicAntialiased,
}

impl Filter {
    /// The matrix `[to, from]`, row-major, that resizes one direction. Each row adds up to 1.
    ///
    /// # Panics
    /// When either length is zero.
    pub fn matrix(self, from: usize, to: usize) -> Vec<f64> {
        assert!(from > 0 && to > 0, "{from} pixels to {to}");
        let mut matrix = vec![0.0; to * from];
        for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
            let scale = from as f64 / to as f64;
            match self {
                Self::Area if to <= from => area_row(row, i, to),
                Self::Area | Self::Linear => linear_row(row, i, scale),
                Self::LinearAntialiased => widened_row(row, i, scale, 1.0, |x| (1.0 - x.abs()).max(0.0)),
                Self::Cubic => cubic_row(row, i, scale as f32),
                Self::CubicOffset => cubic_row(row, i, (from as f64 / (to as f64 + 0.1)) as f32),
                Self::CubicAntialiased => widened_row(row, i, scale, 2.0, |x| cubic(x, -0.5)),
            }
        }
        matrix
    }
}

/// `[B, C, H, W]` to `[B, C, size]`. A direction that keeps its length keeps its values.
pub fn resize(x: Tensor<4>, size: [usize; 2], filter: Filter) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let axis = |from: usize, to: usize| (from != to).then(|| vec![filter.matrix(from, to)]);
    separable(x, axis(height, size[0]), axis(width, size[1]), size)
}

/// `R x C^T`; a matrix per sample or one for all, row-major; an absent one leaves its direction alone.
pub fn separable(
    x: Tensor<4>,
    rows: Option<Vec<Vec<f64>>>,
    columns: Option<Vec<Vec<f64>>>,
    [height, width]: [usize; 2],
) -> Tensor<4> {
    let [_, _, old_height, old_width] = x.dims();
    let dtype = x.dtype();
    let x = widened(x);
    let stacked = |matrices: Vec<Vec<f64>>, from: usize, to: usize| {
        let data = TensorData::new(matrices.concat(), [matrices.len(), 1, to, from]);
        Tensor::<4>::from_data(data, (&x.device(), x.dtype())).without_autodiff()
    };
    let rows = rows.map(|rows| stacked(rows, old_height, height));
    let columns = columns.map(|columns| stacked(columns, old_width, width).swap_dims(2, 3));
    let x = match columns {
        Some(columns) => x.matmul(columns),
        None => x,
    };
    let x = match rows {
        Some(rows) => rows.matmul(x),
        None => x,
    };
    as_type(x, dtype)
}

fn area_row(row: &mut [f64], i: usize, to: usize) {
    let n = row.len();
    let part = i * n / to..((i + 1) * n).div_ceil(to);
    let weight = 1.0 / part.len() as f64;
    row[part].fill(weight);
}

fn linear_row(row: &mut [f64], i: usize, scale: f64) {
    let last = row.len() - 1;
    let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
    let low = (at as usize).min(last);
    row[low] += 1.0 - at.fract();
    row[(low + 1).min(last)] += at.fract();
}

/// Four taps around the place of output `i`; those beyond the edge fall on it. In f32, as the reference libraries compute it
/// whatever the network's type: at place 37 the rounding is 4e-6, more than the parity tests allow.
fn cubic_row(row: &mut [f64], i: usize, scale: f32) {
    let at = scale * (i as f32 + 0.5) - 0.5;
    let base = at.floor();
    let last = row.len() as i64 - 1;
    for tap in -1..=2_i64 {
        let place = (base as i64 + tap).clamp(0, last) as usize;
        row[place] += cubic(f64::from(at - base) - tap as f64, -0.75);
    }
}

/// A kernel of this support, widened by `scale` when shrinking; taps beyond the edge are left out and the rest rescaled
/// to sum 1.
fn widened_row(row: &mut [f64], i: usize, scale: f64, support: f64, kernel: impl Fn(f64) -> f64) {
    let widened = scale.max(1.0);
    let (centre, support) = (scale * (i as f64 + 0.5), support * widened);
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(row.len());
    for (j, weight) in row.iter_mut().enumerate().take(end).skip(first) {
        *weight = kernel((j as f64 - centre + 0.5) / widened);
    }
    let sum: f64 = row.iter().sum();
    for weight in row {
        *weight /= sum;
    }
}

/// The Keys kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    const ALL: [Filter; 6] = [
        Filter::Area,
        Filter::Linear,
        Filter::LinearAntialiased,
        Filter::Cubic,
        Filter::CubicOffset,
        Filter::CubicAntialiased,
    ];

    fn picture(values: &[f64], size: [usize; 2]) -> Tensor<4> {
        let data = TensorData::new(values.to_vec(), [1, 1, size[0], size[1]]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn values(x: Tensor<4>) -> Vec<f64> {
        x.into_data().try_to_vec().unwrap()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 2e-6 * (1.0 + w.abs()), "{got:?} and {want:?}");
        }
    }

    /// `torch.nn.functional.interpolate` of `[0, 1, 4, 9, 16, 25, 36]`, PyTorch 2.15, f64.
    #[test]
    fn a_row_is_resized_as_pytorch_does() {
        let squares: Vec<f64> = (0..7).map(|i| f64::from(i * i)).collect();
        let to = |n: usize, filter: Filter| values(resize(picture(&squares, [1, 7]), [1, n], filter));
        close(&to(3, Filter::Linear), &[0.666_667, 9.0, 28.666_667]);
        close(&to(10, Filter::Linear), &[0.0, 0.55, 1.75, 3.85, 7.25, 11.45, 16.45, 22.75, 29.95, 36.0]);
        close(&to(3, Filter::LinearAntialiased), &[1.285_714, 9.941_176, 27.0]);
        close(
            &to(10, Filter::LinearAntialiased),
            &[0.0, 0.55, 1.75, 3.85, 7.25, 11.45, 16.45, 22.75, 29.95, 36.0],
        );
        close(&to(3, Filter::Cubic), &[0.351_852, 9.0, 29.462_963]);
        close(
            &to(10, Filter::Cubic),
            &[
                -0.081_281, 0.249_906, 1.609_375, 3.714_625, 6.738_125, 11.347_625, 16.571_125, 22.046_875,
                30.800_781, 36.894_094,
            ],
        );
        close(&to(3, Filter::CubicAntialiased), &[0.677_419, 9.363_858, 28.064_516]);
        close(
            &to(10, Filter::CubicAntialiased),
            &[
                -0.060_57, 0.339_293, 1.562_5, 3.802_5, 7.022_5, 11.222_5, 16.402_5, 22.562_5, 30.720_443,
                36.666_271,
            ],
        );
        close(&to(3, Filter::Area), &[1.666_667, 9.666_667, 25.666_667]);
    }

    #[test]
    fn shrinking_averages_the_areas_of_adaptive_pooling() {
        // Five to three: inputs 0..2, 1..4, 3..5.
        let y = resize(picture(&[1.0, 2.0, 3.0, 4.0, 5.0], [1, 5]), [1, 3], Filter::Area);
        assert_eq!(values(y), [1.5, 3.0, 4.5]);
    }

    #[test]
    fn the_gradient_spreads_over_the_area() {
        let x = picture(&[1.0, 2.0, 3.0, 4.0], [2, 2]).autodiff().require_grad();
        let gradients = resize(x.clone(), [1, 1], Filter::Area).sum().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), [0.25; 4]);
    }

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(from in 1_usize..40, to in 1_usize..40, level in -1.0..1.0_f64) {
            for filter in ALL {
                let y = values(resize(picture(&vec![level; from * from], [from, from]), [to, to], filter));
                prop_assert!(y.iter().all(|v| (v - level).abs() < 1e-6), "{filter:?}");
            }
        }

        #[test]
        fn a_ramp_stays_a_ramp_inside(half in 4_usize..20) {
            let ramp: Vec<f64> = (0..2 * half).map(|i| i as f64).collect();
            for filter in [Filter::Area, Filter::Linear, Filter::LinearAntialiased, Filter::Cubic, Filter::CubicAntialiased] {
                let y = values(resize(picture(&ramp, [1, 2 * half]), [1, half], filter));
                for (i, y) in y.iter().enumerate().take(half - 2).skip(2) {
                    prop_assert!((y - (2.0 * i as f64 + 0.5)).abs() < 1e-5, "{filter:?} {i}: {y}");
                }
            }
        }

        #[test]
        fn shrinking_by_a_whole_factor_keeps_the_mean(to in 1_usize..8, factor in 1_usize..5) {
            let n = to * factor;
            let x: Vec<f64> = (0..n).map(|i| ((i * i) as f64).sin()).collect();
            let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
            let y = values(resize(picture(&x, [1, n]), [1, to], Filter::Area));
            prop_assert!((mean(&y) - mean(&x)).abs() < 1e-12);
        }
    }
}
