//! Crops of pictures, resized, differentiable: the views that a feature network is given.
//!
//! A direction that shrinks is averaged over areas, one that grows is linear: [`add_kernels::Filter::Area`].

use std::ops::Range;

use add_kernels::{Filter, separable};
use burn::tensor::Tensor;

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

/// The matrix `[to, from]` that resizes `window` of a direction.
fn axis_matrix(from: usize, window: &Range<usize>, to: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; to * from];
    let inside = Filter::Area.matrix(window.len(), to);
    for (row, values) in matrix.chunks_exact_mut(from).zip(inside.chunks_exact(window.len())) {
        row[window.clone()].copy_from_slice(values);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
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

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(from in 1_usize..20, to in 1_usize..20, level in -1.0..1.0_f64) {
            let y = values(resize(picture(&vec![level; from * from], [from, from]), [to, to]));
            prop_assert!(y.iter().all(|v| (v - level).abs() < 1e-12));
        }

    }
}
