//! The self-test of a device: small cases of the operations that networks consist of, with their gradients, against the
//! processor's numbers.
//!
//! A driver or compiler that is wrong gives numbers like any other, and pictures that only look wrong. So a device is used once
//! it has computed these.

use add_kernels::ConvGeometry;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Largest difference, of the largest value, where products are summed. TF32, in which some GPUs compute products of f32, is within a
/// fourth of it.
const SUMMED: f64 = 2e-3;
/// The same for everything else. Burn's own derivative of GELU, that of another function, was off by twenty times as much.
const SINGLE: f64 = 1e-4;

/// An operation by the name that an error gives it.
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Largest difference, of the largest value.
    tolerance: f64,
    /// Computes it from leaves that it asks for.
    compute: fn(&mut Leaves) -> Tensor<1>,
}

/// The inputs of an operation: the same numbers between -1 and 1 on every device.
struct Leaves {
    device: Device,
    made: Vec<Tensor<1>>,
}

impl Leaves {
    fn tensor<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let count = shape.iter().product();
        let values = numbers(count, self.made.len() + 1);
        let leaf = Tensor::<1>::from_data(TensorData::new(values, [count]), (&self.device, DType::F32));
        let leaf = leaf.autodiff().require_grad();
        self.made.push(leaf.clone());
        leaf.reshape(shape)
    }
}

/// What every network here is made of.
pub(super) const OPERATIONS: [Operation; 11] = [
    Operation { name: "matrix product", tolerance: SUMMED, compute: product },
    Operation { name: "linear layer", tolerance: SUMMED, compute: linear },
    Operation { name: "convolution 3x3", tolerance: SUMMED, compute: convolution },
    Operation { name: "convolution 3x3 of stride 2", tolerance: SUMMED, compute: strided_convolution },
    Operation { name: "convolution 1x1", tolerance: SUMMED, compute: pointwise_convolution },
    Operation { name: "attention", tolerance: SUMMED, compute: attention },
    Operation { name: "reduction", tolerance: SINGLE, compute: reduction },
    Operation { name: "group normalisation", tolerance: SINGLE, compute: group_norm },
    Operation { name: "layer normalisation", tolerance: SINGLE, compute: layer_norm },
    Operation { name: "embedding", tolerance: SINGLE, compute: embedding },
    Operation { name: "activations", tolerance: SINGLE, compute: activations },
];

/// Compares every operation on `device` with the processor.
///
/// # Errors
/// Every operation that is wrong, and what is wrong with it.
pub(super) fn run(device: &Device) -> Result<(), String> {
    compare(device, &OPERATIONS)
}

fn compare(device: &Device, operations: &[Operation]) -> Result<(), String> {
    let wrong = |operation: &Operation| {
        compare_one(device, operation).err().map(|problem| format!("{}: {problem}", operation.name))
    };
    let wrong: Vec<String> = operations.iter().filter_map(wrong).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn compare_one(device: &Device, operation: &Operation) -> Result<(), String> {
    let got = values(device, operation.compute)?;
    let expected = values(&Device::flex(), operation.compute)?;
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let what = if i == 0 { "its result".to_owned() } else { format!("the gradient of its input {i}") };
        close(got, expected, operation.tolerance).map_err(|problem| format!("{what} {problem}"))?;
    }
    Ok(())
}

/// The result, and the gradient of every leaf of its sum weighted with fixed numbers.
fn values(device: &Device, compute: fn(&mut Leaves) -> Tensor<1>) -> Result<Vec<Vec<f32>>, String> {
    let mut leaves = Leaves { device: device.clone(), made: Vec::new() };
    let result = compute(&mut leaves);
    let count = result.dims()[0];
    let weights = Tensor::<1>::from_data(TensorData::new(numbers(count, 0), [count]), (device, DType::F32));
    let gradients = (result.clone() * weights).sum().backward();
    let mut all = vec![read(result.inner())?];
    for leaf in leaves.made {
        all.push(read(leaf.grad(&gradients).ok_or("an input has no gradient")?)?);
    }
    Ok(all)
}

fn read(tensor: Tensor<1>) -> Result<Vec<f32>, String> {
    let data = tensor.try_into_data().map_err(|error| format!("{error:?}"))?;
    Ok(data.iter::<f32>().collect())
}

fn close(got: &[f32], expected: &[f32], tolerance: f64) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("has {} values, expected {}", got.len(), expected.len()));
    }
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(f64::from(value.abs())));
    let off = |(got, expected): (&f32, &f32)| (f64::from(*got) - f64::from(*expected)).abs();
    let worst = got
        .iter()
        .zip(expected)
        .map(off)
        .fold(0.0, |worst: f64, off| if off <= worst || worst.is_nan() { worst } else { off });
    // Written so that a NaN fails.
    if worst <= tolerance * largest {
        return Ok(());
    }
    Err(format!(
        "is off by {worst:.3e}, where {:.3e} is accepted of values up to {largest:.3e}",
        tolerance * largest
    ))
}

/// Numbers between -1 and 1 that look random.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| {
        let wave = (i as f64 * 12.9898 + seed as f64 * 78.233).sin() * 43_758.545_3;
        (2.0 * (wave - wave.floor()) - 1.0) as f32
    };
    (0..count).map(number).collect()
}

fn product(leaves: &mut Leaves) -> Tensor<1> {
    let (a, b) = (leaves.tensor([2, 65, 96]), leaves.tensor([2, 96, 33]));
    a.matmul(b).flatten(0, 2)
}

fn linear(leaves: &mut Leaves) -> Tensor<1> {
    let (x, weight, bias) = (leaves.tensor([2, 17, 40]), leaves.tensor([24, 40]), leaves.tensor([24]));
    add_kernels::linear(x, weight, Some(bias)).flatten(0, 2)
}

fn convolution(leaves: &mut Leaves) -> Tensor<1> {
    convolved(leaves, 3, ConvGeometry::square(1, 1))
}

fn strided_convolution(leaves: &mut Leaves) -> Tensor<1> {
    convolved(leaves, 3, ConvGeometry::square(2, 1))
}

fn pointwise_convolution(leaves: &mut Leaves) -> Tensor<1> {
    convolved(leaves, 1, ConvGeometry::square(1, 0))
}

fn convolved(leaves: &mut Leaves, side: usize, geometry: ConvGeometry) -> Tensor<1> {
    let (x, weight, bias) =
        (leaves.tensor([2, 8, 13, 13]), leaves.tensor([12, 8, side, side]), leaves.tensor([12]));
    add_kernels::conv2d(x, weight, Some(bias), geometry).flatten(0, 3)
}

fn attention(leaves: &mut Leaves) -> Tensor<1> {
    let q = leaves.tensor([1, 2, 70, 32]);
    let (k, v) = (leaves.tensor([1, 2, 45, 32]), leaves.tensor([1, 2, 45, 32]));
    add_kernels::attention(q, k, v, None).flatten(0, 3)
}

fn reduction(leaves: &mut Leaves) -> Tensor<1> {
    let x = leaves.tensor([5, 64, 96]);
    let parts = [
        x.clone().sum_dim(0).flatten(0, 2),
        x.clone().mean_dim(1).flatten(0, 2),
        x.clone().max_dim(2).flatten(0, 2),
        x.mean(),
    ];
    Tensor::cat(parts.to_vec(), 0)
}

fn group_norm(leaves: &mut Leaves) -> Tensor<1> {
    let (x, weight, bias) = (leaves.tensor([2, 12, 9, 9]), leaves.tensor([12]), leaves.tensor([12]));
    add_kernels::group_norm_silu(x, 3, weight, bias, 1e-5).flatten(0, 3)
}

fn layer_norm(leaves: &mut Leaves) -> Tensor<1> {
    let (x, weight, bias) = (leaves.tensor([2, 11, 48]), leaves.tensor([48]), leaves.tensor([48]));
    add_kernels::layer_norm(x, weight, bias, 1e-5).flatten(0, 2)
}

fn activations(leaves: &mut Leaves) -> Tensor<1> {
    let x = leaves.tensor::<1>([96]).mul_scalar(4.0);
    let all = [add_kernels::gelu(x.clone()), add_kernels::silu(x.clone()), add_kernels::quick_gelu(x)];
    Tensor::cat(all.to_vec(), 0)
}

fn embedding(leaves: &mut Leaves) -> Tensor<1> {
    let table = leaves.tensor::<2>([20, 12]);
    let ids = Tensor::<1, Int>::from_ints([3, 0, 19, 3, 7], &leaves.device);
    table.select(0, ids).flatten(0, 1)
}

#[cfg(all(test, not(without_ndarray)))]
mod tests {
    use super::*;

    #[expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")]
    fn other() -> Device {
        Device::ndarray()
    }

    /// Whether the operation runs on the device under test.
    fn is_tested(leaves: &Leaves) -> bool {
        leaves.device != Device::flex()
    }

    fn refused(name: &'static str, compute: fn(&mut Leaves) -> Tensor<1>) -> String {
        compare(&other(), &[Operation { name, tolerance: SUMMED, compute }]).expect_err("a wrong device")
    }

    #[test]
    fn devices_that_compute_pass() {
        assert_eq!(run(&Device::flex()), Ok(()));
        assert_eq!(run(&other()), Ok(()));
    }

    #[test]
    fn a_wrong_result_is_refused_by_the_operation_s_name() {
        let text = refused("matrix product", |leaves| {
            let y = product(leaves);
            if is_tested(leaves) { y.add_scalar(0.1) } else { y }
        });
        assert!(text.starts_with("matrix product: its result is off by 1.000e-1"), "{text}");
        let text = refused("attention", |leaves| {
            let y = attention(leaves);
            if is_tested(leaves) { y.mul_scalar(f32::NAN) } else { y }
        });
        assert!(text.starts_with("attention: its result is off by NaN"), "{text}");
    }

    #[test]
    fn every_wrong_operation_is_named() {
        let wrong = |leaves: &mut Leaves| {
            let y = product(leaves);
            if is_tested(leaves) { y.add_scalar(0.1) } else { y }
        };
        let right = Operation { name: "reduction", tolerance: SUMMED, compute: reduction };
        let wrong = |name| Operation { name, tolerance: SUMMED, compute: wrong };
        let all = [wrong("one"), right, wrong("other")];
        let text = compare(&other(), &all).expect_err("two are wrong");
        assert!(text.starts_with("one: its result") && text.contains("; other: its result"), "{text}");
        assert!(!text.contains("reduction"), "{text}");
    }

    #[test]
    fn a_wrong_gradient_is_refused_where_the_result_is_right() {
        let text = refused("linear layer", |leaves| {
            let (x, y) = (leaves.tensor::<1>([6]), leaves.tensor::<1>([6]));
            // The value of x * y, without the gradient by y.
            let y = if is_tested(leaves) { y.clone().detach() + (y.clone() - y) } else { y };
            x * y
        });
        assert!(text.starts_with("linear layer: the gradient of its input 2 is off"), "{text}");
    }

    #[test]
    fn another_number_of_values_is_refused() {
        let text = refused("reduction", |leaves| {
            let x = leaves.tensor::<1>([6]);
            if is_tested(leaves) { x.narrow(0, 0, 5) } else { x }
        });
        assert_eq!(text, "reduction: its result has 5 values, expected 6");
    }
}
