//! The gated linear unit with GELU of the spatial transformers (Shazeer 2020).
//!
//! `y = value gelu(gate)`, `gelu(z) = z Phi(z)` with the normal distribution `Phi` (not its tanh approximation).

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::activation::pure_gelu;
use crate::half::in_pieces;
use crate::parallel::{SharedMut, output, parallel_ranges, values};
use crate::simd::{LANES, Simd, Task, dispatch, normal};
use crate::tape::{Kernel, apply};

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

impl Kernel<1> for Geglu {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, ()) {
        let Self { b, n, c } = *self;
        let x = values(x);
        let y = output([b, n, c], |out| {
            parallel_ranges(b * n, COST * c.div_ceil(LANES), |range| {
                // SAFETY: the rows are disjoint.
                unsafe { dispatch(Forward { x, c, out, range }) };
            });
        });
        (y, ())
    }

    fn forward_in_bf16(&self, [x]: &[FlexTensor; 1]) -> Option<FlexTensor> {
        let Self { b, n, c } = *self;
        in_pieces(x, [b, n, c], [2 * c, c], COST * c.div_ceil(LANES), |x, out, _, count| {
            // SAFETY: there are so many rows.
            unsafe { dispatch(Forward { x, c, out, range: 0..count }) };
        })
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

struct Forward<'a> {
    x: &'a [f32],
    c: usize,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for Forward<'_> {
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
                let z = s.load_first(gate.add(i), n);
                let (phi, _) = normal(s, z);
                s.store_first(to.add(i), s.mul(s.load_first(value.add(i), n), s.mul(z, phi)), n);
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
    use crate::testing::{agree, random, same_without_tape};

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

    #[test]
    fn gate_far_from_zero_passes_or_closes() {
        let x = Tensor::<1>::from_floats([3.0, 3.0, 30.0, -30.0], &burn::tensor::Device::flex())
            .reshape([1, 1, 4]);
        assert_eq!(crate::testing::numbers(geglu(x)), [90.0, 0.0]);
    }
}
