//! How a kernel joins Burn: it runs on tensors of the `flex` device and records itself on their tape.
//!
//! A bf16 input is widened for as long as the kernel runs, unless the kernel reads and writes bf16 itself; the tape keeps it as
//! it came.

#![allow(
    clippy::match_wildcard_for_single_variants,
    reason = "with more backends compiled in there are more variants"
)]

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
    GradientCheckpointingStrategy, TensorMetadata,
};
use burn::tensor::DType;
use burn_flex::FlexTensor;

use crate::half::{flat, narrow, widen};
use crate::parallel::dense;
use crate::product::computes_bf16_products;

/// A differentiable operation with `N` inputs and one output.
pub(crate) trait Kernel<const N: usize>: Clone + Debug + Send + 'static {
    /// What the forward pass leaves for the backward pass, besides the inputs.
    type Saved: Clone + Debug + Send + 'static;

    /// Brings an input, or the gradient of the output, in f32, into a form that the kernel can read.
    fn arrange(input: FlexTensor) -> FlexTensor {
        dense(input)
    }

    fn forward(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// The output in bf16 of a first input in bf16, where the kernel has a way of its own from the one to the other.
    fn forward_in_bf16(&self, _inputs: &[FlexTensor; N]) -> Option<FlexTensor> {
        None
    }

    /// The same on a tape, with what the backward pass needs.
    fn recorded_in_bf16(&self, _inputs: &[FlexTensor; N]) -> Option<(FlexTensor, Self::Saved)> {
        None
    }

    /// The gradient of the input number `which` where the kernel computes it in bf16, the first input and the gradient of the
    /// output being in bf16 and the latter's numbers one after the other; in the type of that input or in f32.
    /// [`backward`](Self::backward) is asked for the others.
    fn gradient_in_bf16(
        &self,
        _inputs: &[FlexTensor; N],
        _gradient: &FlexTensor,
        _which: usize,
    ) -> Option<FlexTensor> {
        None
    }

    /// The gradients of the inputs that are `wanted`, as far as the kernel computes them in bf16; for one that computes several at
    /// once.
    fn gradients_in_bf16(
        &self,
        inputs: &[FlexTensor; N],
        _saved: &Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        std::array::from_fn(|i| if wanted[i] { self.gradient_in_bf16(inputs, gradient, i) } else { None })
    }

    /// The gradients of the inputs that are `wanted`, `None` for the others.
    fn backward(
        &self,
        inputs: [FlexTensor; N],
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// A tensor of `Autodiff<Flex, _>`, whatever its checkpointing.
type Tracked = FloatTensor<Autodiff<Flex>>;

#[derive(Debug)]
struct Step<K>(K);

impl<K: Kernel<N>, const N: usize> Backward<Flex, N> for Step<K> {
    type State = ([FlexTensor; N], K::Saved);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (inputs, saved) = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let types = inputs.each_ref().map(FlexTensor::dtype);
        let in_bf16 = types[0] == DType::BF16 && gradient.dtype() == DType::BF16 && computes_bf16_products();
        let gradient = if in_bf16 { flat(&gradient) } else { gradient };
        let done = if in_bf16 {
            self.0.gradients_in_bf16(&inputs, &saved, &gradient, wanted)
        } else {
            std::array::from_fn(|_| None)
        };
        let left = std::array::from_fn(|i| wanted[i] && done[i].is_none());
        let others = if left.contains(&true) {
            self.0.backward(inputs.map(read::<K, N>), saved, read::<K, N>(gradient), left)
        } else {
            std::array::from_fn(|_| None)
        };
        let results = done.into_iter().zip(others).map(|(done, other)| done.or(other));
        for ((parent, result), dtype) in ops.parents.into_iter().zip(results).zip(types) {
            if let (Some(parent), Some(result)) = (parent, result) {
                grads.register::<Flex>(parent.id, narrow(result, dtype));
            }
        }
    }
}

/// Runs the kernel, or hands the tensors back where it cannot run: other devices, other number types.
pub(crate) fn apply<K: Kernel<N>, const N: usize>(
    kernel: K,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]> {
    if !inputs.iter().all(is_ours) {
        return Err(inputs);
    }
    let context = inputs.iter().fold(DispatchAutodiffContext::Disabled, |c, t| c.merge(t.autodiff));
    let kind = match context {
        DispatchAutodiffContext::Disabled => {
            let inputs = inputs.map(plain);
            let dtype = inputs[0].dtype();
            let in_bf16 = (dtype == DType::BF16).then(|| kernel.forward_in_bf16(&inputs)).flatten();
            let widened = || narrow(kernel.forward(&inputs.map(read::<K, N>)).0, dtype);
            DispatchTensorKind::Flex(BackendTensor::Float(in_bf16.unwrap_or_else(widened)))
        }
        DispatchAutodiffContext::Enabled(strategy) => {
            let inputs = inputs.map(tracked);
            let output = match strategy {
                GradientCheckpointingStrategy::Disabled => record::<K, NoCheckpointing, N>(kernel, inputs),
                GradientCheckpointingStrategy::Balanced => {
                    record::<K, BalancedCheckpointing, N>(kernel, inputs)
                }
            };
            DispatchTensorKind::Autodiff(Box::new(DispatchTensorKind::Flex(BackendTensor::Autodiff(output))))
        }
    };
    Ok(DispatchTensor { kind, autodiff: context })
}

/// Runs the kernel on a tape.
fn record<K: Kernel<N>, C: CheckpointStrategy, const N: usize>(kernel: K, inputs: [Tracked; N]) -> Tracked {
    let nodes = inputs.each_ref().map(Tracked::node);
    let inputs = inputs.map(|t| {
        let input = t.into_primitive();
        if input.dtype() == DType::F32 { K::arrange(input) } else { input }
    });
    let dtype = inputs[0].dtype();
    let in_bf16 = (dtype == DType::BF16).then(|| kernel.recorded_in_bf16(&inputs)).flatten();
    let (output, saved) = in_bf16.unwrap_or_else(|| {
        let (output, saved) = kernel.forward(&inputs.clone().map(read::<K, N>));
        (narrow(output, dtype), saved)
    });
    match Step(kernel).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((inputs, saved), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// In f32, and as the kernel wants it.
fn read<K: Kernel<N>, const N: usize>(tensor: FlexTensor) -> FlexTensor {
    K::arrange(widen(tensor))
}

/// Whether the tensor is on the `flex` device and in a type that kernels read.
pub(crate) fn is_ours(tensor: &DispatchTensor) -> bool {
    let on_flex = match &tensor.kind {
        DispatchTensorKind::Flex(BackendTensor::Float(_)) => true,
        DispatchTensorKind::Autodiff(inner) => {
            matches!(**inner, DispatchTensorKind::Flex(BackendTensor::Autodiff(_)))
        }
        _ => false,
    };
    on_flex && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// Whether the tensor is on a tape, or on another device than `flex`.
pub(crate) fn is_recorded(tensor: &DispatchTensor) -> bool {
    !matches!(&tensor.kind, DispatchTensorKind::Flex(BackendTensor::Float(_)))
}

/// A tensor without a tape.
pub(crate) fn of_flex(tensor: FlexTensor) -> DispatchTensor {
    let kind = DispatchTensorKind::Flex(BackendTensor::Float(tensor));
    DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled }
}

/// The numbers of a tensor that [`is_ours`], without its tape.
pub(crate) fn plain(tensor: DispatchTensor) -> FlexTensor {
    match tensor.kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff_inner(),
            _ => unreachable!("checked by `is_ours`"),
        },
        #[allow(unreachable_patterns, reason = "there are more variants with more backends compiled in")]
        _ => unreachable!("checked by `is_ours`"),
    }
}

/// On the tape; a plain tensor becomes a constant.
fn tracked(tensor: DispatchTensor) -> Tracked {
    match tensor.kind {
        DispatchTensorKind::Flex(tensor) => Tracked::new(tensor.float()),
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff(),
            _ => unreachable!("checked by `is_ours`"),
        },
        #[allow(unreachable_patterns, reason = "there are more variants with more backends compiled in")]
        _ => unreachable!("checked by `is_ours`"),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, FloatDType, Tensor};

    use crate::testing::{numbers, random};
    use crate::{linear, reference};

    #[test]
    fn frozen_inputs_get_no_gradient() {
        let (x, w) = (random([1, 3, 4], 1).autodiff().require_grad(), random([5, 4], 2).autodiff());
        let gradients = linear(x.clone(), w.clone(), None).sum().backward();
        assert!(x.grad(&gradients).is_some() && w.grad(&gradients).is_none());
    }

    #[test]
    fn checkpointing_does_not_change_a_gradient() {
        let gradient = |device: Device| {
            let x = Tensor::<3>::from_data(random([2, 3, 4], 1).into_data(), &device).require_grad();
            let y = linear(x.clone() * 2.0, random([5, 4], 2), None);
            numbers(x.grad(&(y.clone() * y).sum().backward()).expect("a gradient"))
        };
        let balanced = Device::flex().autodiff().gradient_checkpointing();
        assert_eq!(gradient(balanced), gradient(Device::flex().autodiff()));
    }

    #[test]
    fn other_number_types_go_through_the_pure_operations() {
        let wide = |t: Tensor<3>| t.cast(FloatDType::F64);
        let (x, w) = (wide(random([2, 3, 4], 1)), random([5, 4], 2).cast(FloatDType::F64));
        let want = reference::linear(x.clone(), w.clone(), None);
        assert_eq!(numbers(linear(x, w, None)), numbers(want));
    }
}
