//! Block checkpointing: a part of a network keeps its inputs alone and is computed again in the backward pass.
//!
//! Chen et al. 2016, "Training deep nets with sublinear memory cost". The forward pass runs the block without a tape and
//! records one step. Its backward pass runs the block once more, on leaves and a tape of its own, and hands the gradients
//! to the outer tape: those of the inputs to their nodes, those of the parameters to the leaves that they are. The numbers
//! are those of the plain pass to the bit, but for the order in which the gradients of a shared input are summed.

use std::{fmt, marker::PhantomData};

#[cfg(feature = "cube")]
use burn::backend::Cube;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
    GradientCheckpointingStrategy,
};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Which states of a network are kept for its backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checkpointing {
    /// All: fastest.
    #[default]
    Off,
    /// The inputs of each block; what is inside is computed again, which costs about a third more time.
    Blocks,
}

impl Checkpointing {
    /// `pass(block, x)`, with what is inside kept or computed again in the backward pass.
    pub fn unary<M: Module + 'static, const A: usize, const Z: usize>(
        self,
        block: &M,
        x: Tensor<A>,
        pass: fn(&M, Tensor<A>) -> Tensor<Z>,
    ) -> Tensor<Z> {
        let pass =
            move |block: &M, [x]: [DispatchTensor; 1]| pass(block, Tensor::from_dispatch(x)).into_dispatch();
        Tensor::from_dispatch(self.run(block, [x.into_dispatch()], pass))
    }

    /// `pass(block, x, y)`, with what is inside kept or computed again in the backward pass.
    pub fn binary<M: Module + 'static, const A: usize, const B: usize, const Z: usize>(
        self,
        block: &M,
        x: Tensor<A>,
        y: Tensor<B>,
        pass: impl Fn(&M, Tensor<A>, Tensor<B>) -> Tensor<Z> + Clone + Send + 'static,
    ) -> Tensor<Z> {
        let pass = move |block: &M, [x, y]: [DispatchTensor; 2]| {
            pass(block, Tensor::from_dispatch(x), Tensor::from_dispatch(y)).into_dispatch()
        };
        Tensor::from_dispatch(self.run(block, [x.into_dispatch(), y.into_dispatch()], pass))
    }

    fn run<M: Module + 'static, P: Pass<M, N>, const N: usize>(
        self,
        block: &M,
        inputs: [DispatchTensor; N],
        pass: P,
    ) -> DispatchTensor {
        // The rank is not looked at.
        let tracked = inputs.iter().any(|input| Tensor::<1>::from_dispatch(input.clone()).is_tracked());
        match self {
            // A block whose inputs are all constants has no gradient to hand on; only its parameters could have one.
            Self::Blocks if tracked => checkpoint(block, inputs, pass),
            Self::Off | Self::Blocks => pass(block, inputs),
        }
    }
}

/// A block's pass, over tensors whose ranks it knows.
trait Pass<M, const N: usize>: Fn(&M, [DispatchTensor; N]) -> DispatchTensor + Clone + Send + 'static {}

impl<M, const N: usize, F: Fn(&M, [DispatchTensor; N]) -> DispatchTensor + Clone + Send + 'static> Pass<M, N>
    for F
{
}

fn checkpoint<M: Module + 'static, P: Pass<M, N>, const N: usize>(
    block: &M,
    inputs: [DispatchTensor; N],
    pass: P,
) -> DispatchTensor {
    let context = inputs.iter().fold(DispatchAutodiffContext::Disabled, |c, t| c.merge(t.autodiff));
    let DispatchAutodiffContext::Enabled(strategy) = context else { return pass(block, inputs) };
    let plain = inputs.each_ref().map(|input| without_tape(input.clone()));
    let state = Recorded { leaves: leaves(block), block: block.valid(), inputs: plain, pass };
    let output = (state.pass)(&state.block, state.inputs.clone());
    let kind = match &output.kind {
        DispatchTensorKind::Flex(_) => record::<Flex, M, P, N>(strategy, inputs, state, output),
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(_) => record::<Cube, M, P, N>(strategy, inputs, state, output),
        // A backend that is not told of here keeps everything.
        #[allow(unreachable_patterns, reason = "there are more variants with more backends compiled in")]
        _ => return (state.pass)(block, inputs),
    };
    DispatchTensor { kind, autodiff: context }
}

fn without_tape(tensor: DispatchTensor) -> DispatchTensor {
    Tensor::<1>::from_dispatch(tensor).without_autodiff().into_dispatch()
}

/// A backend whose tensors can be told from those of the others.
trait Host: Backend {
    fn wrap(tensor: BackendTensor<Self>) -> DispatchTensorKind;

    /// `None` when it is another backend's.
    fn unwrap(kind: DispatchTensorKind) -> Option<BackendTensor<Self>>;

    /// Onto the tape; a plain tensor becomes a constant.
    fn tracked(tensor: DispatchTensor) -> FloatTensor<Autodiff<Self>> {
        match tensor.kind {
            DispatchTensorKind::Autodiff(inner) => Self::unwrap(*inner).expect(ONE_BACKEND).autodiff(),
            plain => FloatTensor::<Autodiff<Self>>::new(Self::unwrap(plain).expect(ONE_BACKEND).float()),
        }
    }

    fn plain(tensor: DispatchTensor) -> FloatTensor<Self> {
        Self::unwrap(tensor.kind).expect(ONE_BACKEND).float()
    }
}

const ONE_BACKEND: &str = "the tensors of a block live on one device";

macro_rules! host {
    ($backend:ident) => {
        impl Host for $backend {
            fn wrap(tensor: BackendTensor<Self>) -> DispatchTensorKind {
                DispatchTensorKind::$backend(tensor)
            }

            fn unwrap(kind: DispatchTensorKind) -> Option<BackendTensor<Self>> {
                if let DispatchTensorKind::$backend(tensor) = kind { Some(tensor) } else { None }
            }
        }
    };
}

host!(Flex);
#[cfg(feature = "cube")]
host!(Cube);

/// What a block leaves for its backward pass; its parameters share their memory with the network's.
#[derive(Clone)]
struct Recorded<M, P, const N: usize> {
    block: M,
    /// The node of each float parameter, in the order of visiting; `None` for a frozen one.
    leaves: Vec<Option<NodeId>>,
    inputs: [DispatchTensor; N],
    pass: P,
}

impl<M, P, const N: usize> fmt::Debug for Recorded<M, P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("parameters", &self.leaves.len()).finish_non_exhaustive()
    }
}

struct Again<M, P>(PhantomData<fn() -> (M, P)>);

impl<M, P> fmt::Debug for Again<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}

impl<B: Host, M: Module + 'static, P: Pass<M, N>, const N: usize> Backward<B, N> for Again<M, P> {
    type State = Recorded<M, P, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::wrap(BackendTensor::Float(grads.consume::<B>(&ops.node)));
        let gradient = DispatchTensor { kind: gradient, autodiff: DispatchAutodiffContext::Disabled };
        let Recorded { block, leaves, inputs, pass } = ops.state;
        let block = block.map(&mut Revive { leaves: &leaves, at: 0 });
        let mut wanted = ops.parents.iter().map(Option::is_some);
        let inputs = inputs.map(|input| {
            let input = Tensor::<1>::from_dispatch(input);
            if wanted.next() == Some(true) { input.autodiff().require_grad() } else { input }
        });
        let output = pass(&block, inputs.clone().map(Tensor::into_dispatch));
        let inner = Tensor::<1>::from_dispatch(output) * Tensor::from_dispatch(gradient);
        let inner = inner.sum().backward();
        for (parent, input) in ops.parents.into_iter().zip(inputs) {
            if let (Some(parent), Some(gradient)) = (parent, input.grad(&inner)) {
                grads.register::<B>(parent.id, B::plain(gradient.into_dispatch()));
            }
        }
        let mut collect = Collect { leaves: &leaves, at: 0, found: Vec::new(), inner: &inner };
        block.visit(&mut collect);
        for (leaf, gradient) in collect.found {
            grads.register::<B>(leaf, B::plain(gradient));
        }
    }
}

fn record<B: Host, M: Module + 'static, P: Pass<M, N>, const N: usize>(
    strategy: GradientCheckpointingStrategy,
    inputs: [DispatchTensor; N],
    state: Recorded<M, P, N>,
    output: DispatchTensor,
) -> DispatchTensorKind {
    let output = match strategy {
        GradientCheckpointingStrategy::Disabled => {
            record_with::<B, NoCheckpointing, M, P, N>(inputs, state, output)
        }
        GradientCheckpointingStrategy::Balanced => {
            record_with::<B, BalancedCheckpointing, M, P, N>(inputs, state, output)
        }
    };
    DispatchTensorKind::Autodiff(Box::new(B::wrap(BackendTensor::Autodiff(output))))
}

fn record_with<B: Host, C: CheckpointStrategy, M: Module + 'static, P: Pass<M, N>, const N: usize>(
    inputs: [DispatchTensor; N],
    state: Recorded<M, P, N>,
    output: DispatchTensor,
) -> FloatTensor<Autodiff<B>> {
    let nodes = inputs.map(|input| B::tracked(input).node());
    let step = Again::<M, P>(PhantomData);
    match Backward::<B, N>::prepare::<C>(step, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, B::plain(output)),
        OpsKind::UnTracked(prep) => prep.finish(B::plain(output)),
    }
}

/// The nodes of a block's float parameters that want a gradient.
fn leaves<M: Module>(block: &M) -> Vec<Option<NodeId>> {
    struct Leaves(Vec<Option<NodeId>>);
    impl ModuleVisitor for Leaves {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            self.0.push(value.is_require_grad().then(|| node_of(value.into_dispatch())).flatten());
        }
    }
    let mut leaves = Leaves(Vec::new());
    block.visit(&mut leaves);
    leaves.0
}

/// The node of a tensor on a tape.
fn node_of(tensor: DispatchTensor) -> Option<NodeId> {
    let DispatchTensorKind::Autodiff(inner) = tensor.kind else { return None };
    match *inner {
        DispatchTensorKind::Flex(tensor) => Some(tensor.as_autodiff().id()),
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(tensor) => Some(tensor.as_autodiff().id()),
        _ => None,
    }
}

/// Puts the parameters that want a gradient on a tape of their own.
struct Revive<'a> {
    leaves: &'a [Option<NodeId>],
    at: usize,
}

impl ModuleMapper for Revive<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let wanted = self.leaves[self.at].is_some();
        self.at += 1;
        if wanted { param.map(|value| value.autodiff().require_grad()) } else { param }
    }
}

/// Takes the gradients of the parameters, each with the node that it belongs to.
struct Collect<'a> {
    leaves: &'a [Option<NodeId>],
    at: usize,
    found: Vec<(NodeId, DispatchTensor)>,
    inner: &'a burn::tensor::Gradients,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let (Some(leaf), Some(gradient)) = (self.leaves[self.at], param.val().grad(self.inner)) {
            self.found.push((leaf, gradient.into_dispatch()));
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        linear,
        testing::{numbers, random},
    };

    /// `gelu(x w) u + bias`, the last frozen.
    #[derive(Module, Debug)]
    struct Block {
        w: Param<Tensor<2>>,
        u: Param<Tensor<2>>,
        bias: Tensor<1>,
    }

    fn block(c: usize, device: &Device) -> Block {
        let on = |t: Tensor<2>| Param::from_tensor(Tensor::from_data(t.into_data(), device));
        let plain = device.clone().without_autodiff();
        let bias = Tensor::from_data(random([c], 3).into_data(), &plain);
        Block { w: on(random([c, c], 1)), u: on(random([c, c], 2)), bias }
    }

    impl Block {
        fn forward(&self, x: Tensor<3>, shift: Tensor<3>) -> Tensor<3> {
            let inner = crate::gelu(linear(x + shift, self.w.val(), None));
            linear(inner, self.u.val(), Some(self.bias.clone()))
        }
    }

    /// Value, and the gradients of both inputs and both parameters, of two blocks that share an input.
    fn values(kept: Checkpointing, device: &Device, [b, n, c]: [usize; 3]) -> Vec<Vec<f64>> {
        let on = |t: Tensor<3>| Tensor::<3>::from_data(t.into_data(), device).require_grad();
        let (x, shift, blocks) =
            (on(random([b, n, c], 4)), on(random([b, n, c], 5)), [0, 1].map(|_| block(c, device)));
        let run = |block, x| kept.binary(block, x, shift.clone(), Block::forward);
        let y = run(&blocks[1], run(&blocks[0], x.clone()));
        let weights = Tensor::from_data(random([b, n, c], 6).into_data(), &device.clone().without_autodiff());
        let gradients = (y.clone() * weights).sum().backward();
        let of = |p: &Param<Tensor<2>>| numbers(p.val().grad(&gradients).expect("a gradient"));
        let inputs = [&x, &shift].map(|x| numbers(x.grad(&gradients).expect("a gradient")));
        let parameters = blocks.iter().flat_map(|block| [of(&block.w), of(&block.u)]);
        [numbers(y.inner())].into_iter().chain(inputs).chain(parameters).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn computing_again_changes_no_number(b in 1_usize..3, n in 1_usize..5, c in 1_usize..20) {
            let device = Device::flex().autodiff();
            let [kept, again] =
                [Checkpointing::Off, Checkpointing::Blocks].map(|kept| values(kept, &device, [b, n, c]));
            for (kept, again) in kept.iter().zip(&again) {
                for (kept, again) in kept.iter().zip(again) {
                    prop_assert!((kept - again).abs() <= 1e-6 * (1.0 + kept.abs()), "{again} for {kept}");
                }
            }
        }
    }

    #[test]
    fn a_backend_that_is_not_told_of_and_other_strategies_do_the_same() {
        #[expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")]
        for device in [Device::ndarray().autodiff(), Device::flex().autodiff().gradient_checkpointing()] {
            let [want, got] =
                [Checkpointing::Off, Checkpointing::Blocks].map(|kept| values(kept, &device, [2, 3, 5]));
            for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
                assert!((got - want).abs() < 1e-5 * (1.0 + want.abs()), "{got} for {want}");
            }
        }
    }

    #[test]
    fn constants_pass_without_a_tape() {
        let block = block(4, &Device::flex());
        let x = || random([1, 2, 4], 1);
        assert!(!Checkpointing::Blocks.binary(&block, x(), x(), Block::forward).is_autodiff());
    }
}
