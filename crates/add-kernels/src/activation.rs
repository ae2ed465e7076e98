//! Elementwise nonlinearities, each with its derivative in one pass over memory.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::tensor::{Element, Shape, Tensor, activation, bf16};
use burn_flex::FlexTensor;

use crate::half::flat;
use crate::parallel::{SharedMut, output_of, parallel_ranges, values};
use crate::product::Number;
use crate::simd::{self, LANES, Simd, Task, dispatch, normal, sigmoid};
use crate::tape::{Kernel, apply};

/// `x sigmoid(x)` (Hendrycks and Gimpel 2016; also called swish).
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::Silu.of(x)
}

/// `x Phi(x)` with the normal distribution function (not its tanh approximation). Hendrycks and Gimpel 2016.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::Gelu.of(x)
}

/// `x sigmoid(1.702 x)`, of the original CLIP.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::QuickGelu.of(x)
}

/// `max(x, 0)`; its derivative at zero is zero.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::Relu.of(x)
}

/// `min(max(x, 0), 6)`, of the mobile networks; its derivative at zero and at six is one.
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Activation::Relu6.of(x)
}

/// [`gelu`] in Burn's operations. Burn's function of this name differentiates the approximation by tanh on GPUs, off by 1e-3.
pub(crate) fn pure_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Silu,
    Gelu,
    QuickGelu,
    Relu,
    Relu6,
}

/// Steepness of [`quick_gelu`].
const QUICK: f64 = 1.702;

impl Activation {
    fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match apply(self, [x.into_dispatch()]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x]) => self.reference(Tensor::from_dispatch(x)),
        }
    }

    fn reference<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Silu => activation::silu(x),
            Self::Gelu => pure_gelu(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * QUICK),
            Self::Relu => activation::relu(x),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }

    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        let zero = s.splat(0.0);
        match self {
            Self::Silu => s.mul(x, sigmoid(s, x)),
            Self::Gelu => simd::gelu(s, x),
            Self::QuickGelu => s.mul(x, sigmoid(s, s.mul(x, s.splat(QUICK as f32)))),
            Self::Relu => s.max(x, zero),
            Self::Relu6 => s.min(s.max(x, zero), s.splat(6.0)),
        }
    }

    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        // (x p(x))' = p + x p'
        match self {
            Self::Silu => {
                let p = sigmoid(s, x);
                s.mul_add(s.mul(x, p), s.sub(one, p), p)
            }
            Self::Gelu => {
                let (phi, density) = normal(s, x);
                s.mul_add(x, density, phi)
            }
            Self::QuickGelu => {
                let steep = s.mul(x, s.splat(QUICK as f32));
                let p = sigmoid(s, steep);
                s.mul_add(s.mul(steep, p), s.sub(one, p), p)
            }
            Self::Relu => s.select_less(zero, x, one, zero),
            Self::Relu6 => s.select_less(x, zero, zero, s.select_less(s.splat(6.0), x, zero, one)),
        }
    }

    /// Vector operations of one vector.
    fn cost(self) -> usize {
        match self {
            Self::Silu | Self::QuickGelu => 25,
            Self::Gelu => 40,
            Self::Relu | Self::Relu6 => 4,
        }
    }

    /// Runs over all numbers of a tensor; `dy` is given in the backward pass.
    fn run<T: Number + Element>(self, shape: &Shape, from: &[T], dy: Option<&[T]>) -> FlexTensor {
        /// Vectors of one unit of work.
        const CHUNK: usize = 64;
        output_of(shape.clone(), |out| {
            parallel_ranges(from.len().div_ceil(CHUNK * LANES), CHUNK * self.cost(), |range| {
                let (first, last) =
                    (range.start * CHUNK * LANES, (range.end * CHUNK * LANES).min(from.len()));
                // SAFETY: the ranges are disjoint and inside of the tensors.
                unsafe { dispatch(Piece { activation: self, x: from, dy, out, first, last }) };
            });
        })
    }
}

impl Kernel<1> for Activation {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, ()) {
        (self.run(x.layout().shape(), values(x), None), ())
    }

    fn forward_in_bf16(&self, [x]: &[FlexTensor; 1]) -> Option<FlexTensor> {
        let x = flat(x);
        Some(self.run::<bf16>(x.layout().shape(), x.as_slice()?, None))
    }

    fn backward(
        &self,
        [x]: [FlexTensor; 1],
        (): (),
        dy: FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [wanted[0].then(|| self.run(x.layout().shape(), values(&x), Some(values(&dy))))]
    }
}

struct Piece<'a, T> {
    activation: Activation,
    x: &'a [T],
    dy: Option<&'a [T]>,
    out: SharedMut<T>,
    first: usize,
    last: usize,
}

impl<T: Number> Task for Piece<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { activation, x, dy, out, first, last } = self;
        let mut i = first;
        while i < last {
            let n = LANES.min(last - i);
            let x = T::load_first(s, x.as_ptr().add(i), n);
            let y = match dy {
                None => activation.value(s, x),
                Some(dy) => s.mul(T::load_first(s, dy.as_ptr().add(i), n), activation.slope(s, x)),
            };
            T::store_first(s, out.at(i), y, n);
            i += LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{agree, numbers, random, same_without_tape};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn value_and_gradient_equal_those_of_the_pure_operations(
            (rows, columns) in (1_usize..200, 1_usize..70),
            scale in 0.1_f32..12.0,
            turned: bool,
            which in prop::sample::select(vec![
                Activation::Silu, Activation::Gelu, Activation::QuickGelu, Activation::Relu, Activation::Relu6,
            ]),
        ) {
            let x = random([rows, columns], 1) * scale;
            let x = if turned { x.transpose() } else { x };
            same_without_tape((x.clone(),), |(x,)| which.of(x))?;
            agree((x,), |(x,)| which.of(x), |(x,)| which.reference(x))?;
        }
    }

    #[test]
    fn the_pure_gelu_has_the_derivative_of_the_exact_function() {
        let device = burn::tensor::Device::flex().autodiff();
        let x = Tensor::<1>::from_floats([-2.5, -1.0, 0.3, 1.7], &device).require_grad();
        let gradients = pure_gelu(x.clone()).sum().backward();
        // Phi(x) + x p(x), by Python's erf.
        let exact: [f64; 4] = [-0.037_611_086, -0.083_315_471, 0.732_327_767, 1.115_317_969];
        for (got, exact) in numbers(x.grad(&gradients).expect("on the tape")).into_iter().zip(exact) {
            assert!((got - exact).abs() < 2e-6, "{got} for {exact}");
        }
    }

    #[test]
    fn bounded_activations_stop_at_their_bounds() {
        let x = || Tensor::<1>::from_floats([-2.0, 0.5, 9.0], &burn::tensor::Device::flex());
        assert_eq!(numbers(relu(x())), [0.0, 0.5, 9.0]);
        assert_eq!(numbers(relu6(x())), [0.0, 0.5, 6.0]);
    }
}
