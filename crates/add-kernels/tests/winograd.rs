//! Winograd's tiles turned off: other bits, the same numbers. In a process of its own, since it holds for the whole process.

use add_kernels::{ConvGeometry, allow_winograd, conv2d};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Repeatable numbers between -1 and 1.
fn numbers<const D: usize>(shape: [usize; D], seed: usize) -> Tensor<D> {
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    let values: Vec<f32> = (0..shape.iter().product()).map(number).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The output of a convolution and the gradients of image and weights.
fn results(dtype: DType) -> [Vec<f64>; 3] {
    let values = |t: Tensor<4>| t.into_data().convert_dtype(DType::F64).try_to_vec::<f64>().expect("numbers");
    let leaf = |t: Tensor<4>| t.cast(dtype).autodiff().require_grad();
    let (x, w) = (leaf(numbers([2, 32, 14, 22], 1)), leaf(numbers([48, 32, 3, 3], 2)));
    let y = conv2d(x.clone(), w.clone(), None, ConvGeometry::square(1, 1));
    let gradients = (y.clone() * numbers([2, 48, 14, 22], 3).cast(dtype)).sum().backward();
    let gradient = |t: Tensor<4>| values(t.grad(&gradients).expect("a gradient"));
    [values(y.inner()), gradient(x), gradient(w)]
}

#[test]
fn without_winograd_the_numbers_are_the_same_up_to_rounding() {
    let with = results(DType::F32);
    allow_winograd(false);
    let (without, want) = (results(DType::F32), results(DType::F64));
    allow_winograd(true);
    assert_eq!(results(DType::F32), with);
    for ((with, without), want) in with.iter().zip(&without).zip(&want) {
        assert_ne!(with, without, "another order of the sums leaves its mark");
        let largest = want.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        for got in [with, without] {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 2e-6 * largest));
        }
    }
}
