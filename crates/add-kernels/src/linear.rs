//! The affine map `y = x W^T + b`, with the weight as `PyTorch` stores it.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::half::{as_type, flat, flat_in_bf16, pairs, widen};
use crate::parallel::{SharedMut, dense, output, output_of, parallel_ranges, values};
use crate::product::{
    Matrix, Start, computes_bf16_products, multiply, multiply_columns, multiply_pairs, turned,
};
use crate::simd::{LANES, Simd, Task, dispatch};
use crate::tape::{Kernel, apply};

/// `x: [B, N, C_in]`, `weight: [C_out, C_in]`, `bias: [C_out]` to `[B, N, C_out]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [b, n, c_in, c_out] = sizes(&x, &weight, bias.as_ref());
    let kernel = Linear { b, n, c_in, c_out };
    match bias {
        Some(bias) => {
            match apply(kernel, [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()]) {
                Ok(y) => Tensor::from_dispatch(y),
                Err([x, weight, bias]) => linear_reference(
                    Tensor::from_dispatch(x),
                    Tensor::from_dispatch(weight),
                    Some(Tensor::from_dispatch(bias)),
                ),
            }
        }
        None => match apply(kernel, [x.into_dispatch(), weight.into_dispatch()]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x, weight]) => {
                linear_reference(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), None)
            }
        },
    }
}

/// `[B, N, C_in, C_out]` of a layer whose shapes fit each other.
pub(crate) fn sizes(x: &Tensor<3>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> [usize; 4] {
    let ([b, n, c_in], [c_out, inputs]) = (x.dims(), weight.dims());
    assert!(c_in == inputs, "{c_in} channels into a weight of {inputs}");
    assert!(bias.is_none_or(|b| b.dims() == [c_out]), "one bias per output channel");
    [b, n, c_in, c_out]
}

/// The same by pure operations.
#[doc(hidden)]
pub fn linear_reference(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [b, n, c_in] = x.dims();
    let [c_out, _] = weight.dims();
    let dtype = x.dtype();
    let y = x.reshape([b * n, c_in]).matmul(as_type(weight, dtype).transpose());
    let y = match bias {
        Some(bias) => y + as_type(bias, dtype).unsqueeze(),
        None => y,
    };
    y.reshape([b, n, c_out])
}

#[derive(Debug, Clone, Copy)]
struct Linear {
    b: usize,
    n: usize,
    c_in: usize,
    c_out: usize,
}

impl<const N: usize> Kernel<N> for Linear {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, ()) {
        let Self { b, n, c_in, c_out } = *self;
        let (x, weight) = (Matrix::rows(values(&inputs[0]), c_in), Matrix::rows(values(&inputs[1]), c_in));
        let start = inputs.get(2).map_or(Start::Zero, |bias| Start::ColumnBias(values(bias).as_ptr()));
        // SAFETY: the sizes are those of the tensors.
        let y = output([b, n, c_out], |out| unsafe {
            multiply(b * n, c_out, c_in, x, weight.transposed(), out, start);
        });
        (y, ())
    }

    fn forward_in_bf16(&self, inputs: &[FlexTensor; N]) -> Option<FlexTensor> {
        let Self { b, n, c_in, c_out } = *self;
        if !computes_bf16_products() || !c_in.is_multiple_of(2) {
            return None;
        }
        let (x, weight) = (flat(&inputs[0]), flat_in_bf16(&inputs[1]));
        let (x, weight) = (pairs(&x)?, pairs(&weight)?);
        let bias = inputs.get(2).map(|bias| dense(widen(bias.clone())));
        // SAFETY: the processor has pairs, and the output is as large as it says.
        Some(output_of([b, n, c_out], |out| unsafe {
            multiply_pairs(b * n, c_out, c_in / 2, x, weight, bias.as_ref().map(values), out);
        }))
    }

    fn recorded_in_bf16(&self, inputs: &[FlexTensor; N]) -> Option<(FlexTensor, ())> {
        Some((<Self as Kernel<N>>::forward_in_bf16(self, inputs)?, ()))
    }

    fn gradient_in_bf16(
        &self,
        inputs: &[FlexTensor; N],
        dy: &FlexTensor,
        which: usize,
    ) -> Option<FlexTensor> {
        let Self { b, n, c_in, c_out } = *self;
        match which {
            0 if c_out.is_multiple_of(2) => {
                let weight = flat_in_bf16(&inputs[1]);
                let (weight, dy) = (turned(weight.as_slice()?, [c_out, c_in, 1]), pairs(dy)?);
                // SAFETY: the processor has pairs, and the output is as large as it says.
                Some(output_of([b, n, c_in], |out| unsafe {
                    multiply_pairs(b * n, c_in, c_out / 2, dy, &weight, None, out);
                }))
            }
            1 => {
                let x = flat(&inputs[0]);
                let (x, dy) = (x.as_slice()?, dy.as_slice()?);
                // SAFETY: the processor has pairs, and the sizes are those of the tensors.
                Some(output([c_out, c_in], |out| unsafe {
                    multiply_columns(c_out, c_in, b * n, dy, x, out);
                }))
            }
            _ => None,
        }
    }

    fn backward(
        &self,
        inputs: [FlexTensor; N],
        (): (),
        dy: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let Self { b, n, c_in, c_out } = *self;
        let rows = b * n;
        let (x, weight) = (Matrix::rows(values(&inputs[0]), c_in), Matrix::rows(values(&inputs[1]), c_in));
        let dy = values(&dy);
        let gradient = Matrix::rows(dy, c_out);
        // SAFETY: the sizes are those of the tensors.
        std::array::from_fn(|i| {
            wanted[i].then(|| match i {
                0 => output([b, n, c_in], |out| unsafe {
                    multiply(rows, c_in, c_out, gradient, weight, out, Start::Zero);
                }),
                1 => output([c_out, c_in], |out| unsafe {
                    multiply(c_out, c_in, rows, gradient.transposed(), x, out, Start::Zero);
                }),
                _ => output([c_out], |out| column_sums(dy, rows, c_out, out)),
            })
        })
    }
}

/// Rows whose sum is made before it is added to that of those before.
const ROWS: usize = 32;

/// Sums of the columns of `[rows, columns]`, each by one task in the order of the rows.
fn column_sums(x: &[f32], rows: usize, columns: usize, out: SharedMut) {
    parallel_ranges(columns.div_ceil(LANES), rows, |range| {
        let (first, last) = (range.start * LANES, (range.end * LANES).min(columns));
        // SAFETY: the columns of the tasks are disjoint.
        unsafe { dispatch(ColumnSums { x, rows, columns, first, last, out }) };
    });
}

struct ColumnSums<'a> {
    x: &'a [f32],
    rows: usize,
    columns: usize,
    first: usize,
    last: usize,
    out: SharedMut,
}

impl Task for ColumnSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { x, rows, columns, first, last, out } = self;
        let mut j = first;
        while j < last {
            let n = LANES.min(last - j);
            let mut total = s.splat(0.0);
            // One long sum would round more.
            for first in (0..rows).step_by(ROWS) {
                let mut sum = s.splat(0.0);
                for i in first..(first + ROWS).min(rows) {
                    sum = s.add(sum, s.load_first(x.as_ptr().add(i * columns + j), n));
                }
                total = s.add(total, sum);
            }
            s.store_first(out.at(j), total, n);
            j += LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use burn::tensor::{DType, Device, Distribution};

    use super::*;
    use crate::testing::{
        input_gradient_near_in_bf16, near, near_in_bf16, numbers, random, trained_near_in_bf16,
    };

    /// What sums of another order in f32 leave of each product.
    const ORDER: f64 = 1e-6;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn value_and_gradients_equal_those_of_the_pure_operations(
            (b, n) in (1_usize..4, 1_usize..40),
            (c_in, c_out) in (1_usize..100, 1_usize..100),
            bias: bool,
            view in 0..3,
        ) {
            let x = match view {
                0 => random([b, n, c_in], 1),
                1 => random([b, c_in, n], 1).swap_dims(1, 2),
                _ => random([b, n + 2, c_in + 1], 1).slice([0..b, 1..n + 1, 0..c_in]),
            };
            let w = if view == 1 { random([c_in, c_out], 2).transpose() } else { random([c_out, c_in], 2) };
            // Products of the gradients of input, weight and bias.
            let more = [c_out, b * n, b * n].map(|products| ORDER * products as f64);
            let frozen = w.clone().cast(DType::BF16);
            let layer = |x, dtype| linear(x, frozen.clone().cast(dtype), None);
            input_gradient_near_in_bf16(x.clone(), layer, ORDER * c_out as f64)?;
            if bias {
                let inputs = (x, w, random([c_out], 3));
                let ours = |(x, w, b)| linear(x, w, Some(b));
                let reference = |(x, w, b)| linear_reference(x, w, Some(b));
                near(inputs.clone(), ours, reference)?;
                near_in_bf16(inputs.clone(), ours, reference, ORDER * c_in as f64)?;
                trained_near_in_bf16(inputs, ours, reference, &more)?;
            } else {
                let ours = |(x, w)| linear(x, w, None);
                let reference = |(x, w)| linear_reference(x, w, None);
                near((x.clone(), w.clone()), ours, reference)?;
                near_in_bf16((x.clone(), w.clone()), ours, reference, ORDER * c_in as f64)?;
                trained_near_in_bf16((x, w), ours, reference, &more)?;
            }
        }
    }

    /// bf16 numbers have products of 16 bits, which f32 holds exactly: only the order of the sum differs, and the result is
    /// rounded to bf16 once.
    #[test]
    fn numbers_in_bf16_give_what_they_give_in_f32_rounded() {
        let device = Device::flex();
        for (tokens, c_in, c_out, bias) in [
            (70, 320, 1024, true),
            (9, 1030, 530, true),
            (1, 2, 3, false),
            (33, 96, 17, false),
            (5, 7, 6, true),
        ] {
            let narrow = |x: Tensor<2>| x.cast(DType::BF16);
            let x = narrow(Tensor::random([tokens, c_in], Distribution::Normal(0.0, 1.0), &device));
            let w = narrow(Tensor::random([c_out, c_in], Distribution::Normal(0.0, 0.2), &device));
            let b = bias.then(|| Tensor::<1>::random([c_out], Distribution::Default, &device));
            let exact = linear_reference(
                x.clone().cast(DType::F32).unsqueeze(),
                w.clone().cast(DType::F32),
                b.clone(),
            );
            let got = linear(x.unsqueeze(), w, b);
            assert_eq!(got.dtype(), DType::BF16);
            let error = (got.cast(DType::F32) - exact.clone()).abs() / (exact.abs() + 1e-3);
            let largest = error.max().into_scalar::<f32>();
            // Half a unit in the last of 8 bits, and what the sum's order does to numbers near zero.
            assert!(largest < 0.0045, "{tokens} {c_in} {c_out}: {largest}");
        }
    }

    #[test]
    fn the_gradient_of_weights_in_f32_is_not_rounded() {
        let x = random([2, 45, 70], 1).cast(DType::BF16);
        let dy = random([2, 45, 50], 2).cast(DType::BF16);
        let gradient = |dtype: DType, layer: fn(Tensor<3>, Tensor<2>, Option<Tensor<1>>) -> Tensor<3>| {
            let w = random([50, 70], 3).cast(DType::BF16).cast(dtype).autodiff().require_grad();
            let y =
                layer(x.clone().cast(if dtype == DType::F64 { dtype } else { DType::BF16 }), w.clone(), None);
            let loss = (y.cast(DType::F32) * dy.clone().cast(DType::F32)).sum();
            numbers(w.grad(&loss.backward()).expect("a gradient"))
        };
        let (got, want) = (gradient(DType::F32, linear), gradient(DType::F64, linear_reference));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-4, "{got} for {want}");
        }
    }

    #[test]
    fn wide_layers_equal_those_of_the_pure_operations() {
        for (tokens, c_in, c_out) in [(70, 320, 1024), (9, 1030, 530), (600, 96, 96)] {
            near(
                (random([1, tokens, c_in], 1), random([c_out, c_in], 2), random([c_out], 3)),
                |(x, w, b)| linear(x, w, Some(b)),
                |(x, w, b)| linear_reference(x, w, Some(b)),
            )
            .unwrap();
        }
    }
}
