//! Resizing and cropping of pictures, differentiable.
//!
//! Both directions of a picture are independent, so resizing is `y = R x C^T` with a small matrix per direction, and
//! its gradient two more products. Shrinking is area averaging, exactly PyTorch's adaptive average pooling: output `i`
//! is the mean of inputs `floor(i n / m) .. ceil((i + 1) n / m)`. Enlarging is bilinear with pixel centres at half
//! integers (`align_corners = False`), without antialiasing.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

/// Rows and columns of a picture that a crop keeps.
pub type Window = [Range<usize>; 2];

/// `[B, C, H, W]` to `[B, C, size]`: area averaging in a direction that shrinks, bilinear in one that grows.
pub fn resize(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    crop_and_resize(x, &[[0..height, 0..width]], size)
}

/// Each sample's window, resized to `size`. One window serves all samples, or there is one for each.
///
/// # Panics
/// Panics when a window is empty or leaves the picture.
pub fn crop_and_resize(x: Tensor<4>, windows: &[Window], size: [usize; 2]) -> Tensor<4> {
    let [batch, _, height, width] = x.dims();
    assert!(windows.len() == batch || windows.len() == 1, "{} windows for {batch} samples", windows.len());
    let inside = |[rows, columns]: &Window| {
        !rows.is_empty() && !columns.is_empty() && rows.end <= height && columns.end <= width
    };
    assert!(windows.iter().all(inside), "windows {windows:?} in a picture of {height} x {width}");
    let axis = |direction: usize, length: usize| -> Option<Vec<Vec<f64>>> {
        let whole = |window: &Window| window[direction] == (0..length);
        let unchanged = size[direction] == length && windows.iter().all(whole);
        let matrix = |window: &Window| axis_matrix(length, &window[direction], size[direction]);
        (!unchanged).then(|| windows.iter().map(matrix).collect())
    };
    separable(x, axis(0, height), axis(1, width), size)
}

/// `R x C^T`; a matrix per sample or one for all, row-major; an absent one leaves its direction alone.
pub(crate) fn separable(
    x: Tensor<4>,
    rows: Option<Vec<Vec<f64>>>,
    columns: Option<Vec<Vec<f64>>>,
    [height, width]: [usize; 2],
) -> Tensor<4> {
    let [_, _, old_height, old_width] = x.dims();
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
    match rows {
        Some(rows) => rows.matmul(x),
        None => x,
    }
}

/// The matrix `[to, from]` that resizes `window` of a direction.
fn axis_matrix(from: usize, window: &Range<usize>, to: usize) -> Vec<f64> {
    let n = window.len();
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let row = &mut row[window.clone()];
        if to <= n {
            let part = i * n / to..((i + 1) * n).div_ceil(to);
            let weight = 1.0 / part.len() as f64;
            row[part].fill(weight);
        } else {
            let place = ((i as f64 + 0.5) * n as f64 / to as f64 - 0.5).max(0.0);
            let below = place as usize;
            let above = (below + 1).min(n - 1);
            row[below] += 1.0 - place.fract();
            row[above] += place.fract();
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    fn picture(values: &[f64], size: [usize; 2]) -> Tensor<4> {
        let data = TensorData::new(values.to_vec(), [1, 1, size[0], size[1]]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn values(x: Tensor<4>) -> Vec<f64> {
        x.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn shrinking_averages_the_areas_of_adaptive_pooling() {
        // Five to three: inputs 0..2, 1..4, 3..5.
        let y = values(resize(picture(&[1.0, 2.0, 3.0, 4.0, 5.0], [1, 5]), [1, 3]));
        assert_eq!(y, [1.5, 3.0, 4.5]);
    }

    #[test]
    fn enlarging_is_bilinear() {
        let y = values(resize(picture(&[0.0, 4.0], [2, 1]), [4, 1]));
        assert_eq!(y, [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn a_crop_keeps_its_window() {
        let x = picture(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
        assert_eq!(values(crop_and_resize(x, &[[1..2, 1..3]], [1, 2])), [5.0, 6.0]);
    }

    #[test]
    fn every_sample_has_its_own_window() {
        let x = Tensor::cat(vec![picture(&[1.0, 2.0], [1, 2]), picture(&[3.0, 4.0], [1, 2])], 0);
        assert_eq!(values(crop_and_resize(x, &[[0..1, 0..1], [0..1, 1..2]], [1, 1])), [1.0, 4.0]);
    }

    #[test]
    fn the_gradient_spreads_over_the_area() {
        let x = picture(&[1.0, 2.0, 3.0, 4.0], [2, 2]).autodiff().require_grad();
        let gradients = resize(x.clone(), [1, 1]).sum().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), [0.25; 4]);
    }

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(from in 1_usize..20, to in 1_usize..20, level in -1.0..1.0_f64) {
            let y = values(resize(picture(&vec![level; from * from], [from, from]), [to, to]));
            prop_assert!(y.iter().all(|v| (v - level).abs() < 1e-12));
        }

        #[test]
        fn shrinking_by_a_whole_factor_keeps_the_mean(to in 1_usize..8, factor in 1_usize..5) {
            let n = to * factor;
            let x: Vec<f64> = (0..n).map(|i| ((i * i) as f64).sin()).collect();
            let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
            let y = values(resize(picture(&x, [1, n]), [1, to]));
            prop_assert!((mean(&y) - mean(&x)).abs() < 1e-12);
        }
    }
}
