//! Resizing of pictures and tables, as every published code does it.
//!
//! Burn's interpolation knows neither areas nor antialiasing, and a network's features change in the third digit when
//! its input is resized in another way than its authors'. All ways are linear, and rows and columns are independent: `y = R x C^T`
//! with a small matrix per direction, whose gradient is two more products. The matrices are those of `PyTorch`'s
//! `interpolate` with `align_corners = False`.

pub use add_resample::Filter;
use burn::tensor::{Tensor, TensorData};

use crate::half::{as_type, widened};

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

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

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
        let y = resize(picture(&[1.0, 2.0, 3.0, 4.0, 5.0], [1, 5]), [1, 3], Filter::Area);
        assert_eq!(values(y), [1.5, 3.0, 4.5]);
    }

    #[test]
    fn the_gradient_spreads_over_the_area() {
        let x = picture(&[1.0, 2.0, 3.0, 4.0], [2, 2]).autodiff().require_grad();
        let gradients = resize(x.clone(), [1, 1], Filter::Area).sum().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), [0.25; 4]);
    }
}
