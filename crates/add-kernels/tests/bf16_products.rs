//! Products in bf16 turned off and on: in a process of its own, since it holds for the whole process.

use add_kernels::{allow_bf16_products, computes_bf16_products, linear};
use burn::tensor::{DType, Device, Tensor, TensorData};

#[test]
fn products_in_bf16_are_those_in_f32_up_to_rounding() {
    let numbers = |n: usize, seed: usize| {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
        TensorData::new((0..n).map(number).collect::<Vec<f32>>(), [n])
    };
    let tensor = |n, seed| Tensor::<1>::from_data(numbers(n, seed), &Device::flex()).cast(DType::BF16);
    let (x, w, b) =
        (tensor(77 * 256, 1).reshape([1, 77, 256]), tensor(96 * 256, 2).reshape([96, 256]), tensor(96, 3));
    let result = |dtype: DType| -> Vec<f64> {
        let y = linear(x.clone().cast(dtype), w.clone().cast(dtype), Some(b.clone().cast(dtype)));
        y.into_data().convert_dtype(DType::F64).try_to_vec().expect("numbers")
    };
    let (exact, with) = (result(DType::F64), result(DType::BF16));
    allow_bf16_products(false);
    assert!(!computes_bf16_products());
    let without = result(DType::BF16);
    allow_bf16_products(true);
    assert_eq!(result(DType::BF16), with);
    for got in [with, without] {
        // Both sum exact products in f32 and round once: half a unit in the last of 8 bits.
        for (got, want) in got.iter().zip(&exact) {
            assert!((got - want).abs() <= want.abs() / 256.0 + 1e-5, "{got} for {want}");
        }
    }
}
