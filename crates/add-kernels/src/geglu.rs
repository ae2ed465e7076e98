//! The gated linear unit with GELU of the spatial transformers (Shazeer 2020), alone and with the linear layer before it.
//!
//! `y = value gelu(gate)`, `gelu(z) = z Phi(z)` with the normal distribution `Phi` (not its tanh approximation).

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Element, Tensor, bf16};
use burn_flex::FlexTensor;

use crate::activation::pure_gelu;
use crate::half::{flat, flat_in_bf16, pairs, widen};
use crate::linear::{linear, sizes};
use crate::parallel::{SharedMut, dense, output, output_of, parallel_ranges, values};
use crate::product::{Matrix, Number, computes_bf16_products, multiply_gated};
use crate::simd::{LANES, Simd, Task, dispatch, gelu, normal};
use crate::tape::{Kernel, apply, is_recorded, of_flex, plain};

/// `x: [B, N, 2 C]`, split into value and gate, to `value * gelu(gate)`: `[B, N, C]`; the exact (erf) GELU.
///
/// # Panics
/// If the last dimension is odd.
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    let [b, n, two_c] = x.dims();
    assert!(two_c % 2 == 0, "{two_c} channels cannot be halved");
    match apply(Geglu { b, n, c: two_c / 2 }, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => geglu_reference(Tensor::from_dispatch(x)),
    }
}

/// [`geglu`] of [`linear`]: `x: [B, N, C_in]`, `weight: [2 C, C_in]`, `bias: [2 C]` to `[B, N, C]`. Without a tape, value and gate
/// are neither rounded nor written.
///
/// # Panics
/// If the shapes do not fit each other, or the weight has an odd number of rows.
pub fn linear_geglu(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [b, n, c_in, two_c] = sizes(&x, &weight, bias.as_ref());
    assert!(two_c.is_multiple_of(2), "{two_c} channels cannot be halved");
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.map(Tensor::into_dispatch));
    let recorded = [Some(&x), Some(&weight), bias.as_ref()].into_iter().flatten().any(is_recorded);
    if !recorded && matches!(x.dtype(), DType::F32 | DType::BF16) {
        let halved = [b, n, c_in, two_c / 2];
        if let Some(y) = gated(halved, &plain(x.clone()), &plain(weight.clone()), bias.clone().map(plain)) {
            return Tensor::from_dispatch(of_flex(y));
        }
    }
    geglu(linear(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), bias.map(Tensor::from_dispatch)))
}

/// Nothing where products of such numbers are not computed.
fn gated(
    [b, n, c_in, c]: [usize; 4],
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<FlexTensor>,
) -> Option<FlexTensor> {
    let bias = bias.map(|bias| dense(widen(bias)));
    let bias = bias.as_ref().map(values);
    if x.dtype() == DType::F32 {
        let (x, weight) = (dense(x.clone()), dense(widen(weight.clone())));
        let (x, weight) = (Matrix::rows(values(&x), c_in), Matrix::rows(values(&weight), c_in));
        // SAFETY: the sizes are those of the tensors.
        return Some(output([b, n, c], |out| unsafe {
            multiply_gated(b * n, c, c_in, x, weight, bias, out);
        }));
    }
    if !computes_bf16_products() || !c_in.is_multiple_of(2) {
        return None;
    }
    let (x, weight) = (flat(x), flat_in_bf16(weight));
    let (x, weight) = (Matrix::rows(pairs(&x)?, c_in / 2), Matrix::rows(pairs(&weight)?, c_in / 2));
    // SAFETY: as above, and the processor has pairs.
    Some(output_of([b, n, c], |out: SharedMut<bf16>| unsafe {
        multiply_gated(b * n, c, c_in / 2, x, weight, bias, out);
    }))
}

/// The same by pure operations.
#[doc(hidden)]
pub fn geglu_reference(x: Tensor<3>) -> Tensor<3> {
    let [_, _, two_c] = x.dims();
    let value = x.clone().narrow(2, 0, two_c / 2);
    let gate = x.narrow(2, two_c / 2, two_c / 2);
    value * pure_gelu(gate)
}

#[derive(Debug, Clone, Copy)]
struct Geglu {
    b: usize,
    n: usize,
    c: usize,
}

/// Vector operations of one number.
const COST: usize = 30;

impl Geglu {
    fn value<T: Number + Element>(&self, x: &[T]) -> FlexTensor {
        let Self { b, n, c } = *self;
        output_of([b, n, c], |out| {
            parallel_ranges(b * n, COST * c.div_ceil(LANES), |range| {
                // SAFETY: the rows are disjoint.
                unsafe { dispatch(Forward { x, c, out, range }) };
            });
        })
    }
}

impl Kernel<1> for Geglu {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, ()) {
        (self.value(values(x)), ())
    }

    fn forward_in_bf16(&self, [x]: &[FlexTensor; 1]) -> Option<FlexTensor> {
        Some(self.value::<bf16>(flat(x).as_slice()?))
    }

    fn backward(
        &self,
        [x]: [FlexTensor; 1],
        (): (),
        dy: FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let Self { b, n, c } = *self;
        let (x, dy) = (values(&x), values(&dy));
        [wanted[0].then(|| {
            output([b, n, 2 * c], |out| {
                parallel_ranges(b * n, COST * c.div_ceil(LANES), |range| {
                    // SAFETY: the rows are disjoint.
                    unsafe { dispatch(Backward { x, dy, c, out, range }) };
                });
            })
        })]
    }
}

struct Forward<'a, T> {
    x: &'a [T],
    c: usize,
    out: SharedMut<T>,
    range: std::ops::Range<usize>,
}

impl<T: Number> Task for Forward<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { x, c, out, range } = self;
        for row in range {
            let value = x[row * 2 * c..][..2 * c].as_ptr();
            let gate = value.add(c);
            let to = out.at(row * c);
            let mut i = 0;
            while i < c {
                let n = LANES.min(c - i);
                let z = T::load_first(s, gate.add(i), n);
                let y = s.mul(T::load_first(s, value.add(i), n), gelu(s, z));
                T::store_first(s, to.add(i), y, n);
                i += LANES;
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    c: usize,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { x, dy, c, out, range } = self;
        for row in range {
            let value = x[row * 2 * c..][..2 * c].as_ptr();
            let gate = value.add(c);
            let dy = dy[row * c..][..c].as_ptr();
            let (d_value, d_gate) = (out.at(row * 2 * c), out.at(row * 2 * c + c));
            let mut i = 0;
            while i < c {
                let n = LANES.min(c - i);
                let z = s.load_first(gate.add(i), n);
                let (phi, density) = normal(s, z);
                let dy = s.load_first(dy.add(i), n);
                s.store_first(d_value.add(i), s.mul(dy, s.mul(z, phi)), n);
                // gelu'(z) = Phi(z) + z density(z)
                let slope = s.mul_add(z, density, phi);
                s.store_first(d_gate.add(i), s.mul(s.mul(dy, s.load_first(value.add(i), n)), slope), n);
                i += LANES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::linear_reference;
    use crate::testing::{agree, near, near_in_bf16, random, same_without_tape};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn value_and_gradients_equal_those_of_the_pure_operations(
            (b, n, c) in (1_usize..4, 1_usize..30, 1_usize..70),
            scale in 0.1..8.0,
            view in 0..3,
        ) {
            let x = match view {
                0 => random([b, n, 2 * c], 1),
                1 => random([b, 2 * c, n], 1).swap_dims(1, 2),
                _ => random([b, n + 1, 2 * c + 3], 1).slice([0..b, 1..n + 1, 2..2 * c + 2]),
            };
            same_without_tape((x.clone() * scale,), |(x,)| geglu(x))?;
            agree((x * scale,), |(x,)| geglu(x), |(x,)| geglu_reference(x))?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_layer_with_it_equals_the_pure_operations(
            (b, n) in (1_usize..4, 1_usize..60),
            (c_in, c) in (1_usize..70, 1_usize..90),
            with_bias: bool,
            turned: bool,
        ) {
            let x = if turned { random([b, c_in, n], 1).swap_dims(1, 2) } else { random([b, n, c_in], 1) };
            let (w, bias) = (random([2 * c, c_in], 2), random([2 * c], 3));
            let bias_of = |bias: Tensor<1>| with_bias.then_some(bias);
            let ours = |(x, w, b)| linear_geglu(x, w, bias_of(b));
            let reference = |(x, w, b)| geglu_reference(linear_reference(x, w, bias_of(b)));
            near((x.clone(), w.clone(), bias.clone()), ours, reference)?;
            if computes_bf16_products() && c_in.is_multiple_of(2) {
                near_in_bf16((x, w, bias), ours, reference, 1e-5 * c_in as f64)?;
            }
        }
    }

    #[test]
    fn gate_far_from_zero_passes_or_closes() {
        let x = Tensor::<1>::from_floats([3.0, 3.0, 30.0, -30.0], &burn::tensor::Device::flex())
            .reshape([1, 1, 4]);
        assert_eq!(crate::testing::numbers(geglu(x)), [90.0, 0.0]);
    }
}
