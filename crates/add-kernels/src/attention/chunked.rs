//! Attention on every other device and in every other number type, in memory linear in the number of tokens.
//!
//! Burn's own backward pass keeps the scores of all queries. This one keeps what goes in and what comes out, and makes the
//! scores of a few queries at a time again (Dao et al. 2022); the formulas are those of [`attention`](super::attention).
//! On CubeCL devices the forward pass is Burn's, which is a flash kernel where the device has one.

#![expect(clippy::result_large_err, reason = "the tensors are handed back to whoever goes on with them")]

use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchTensor, DispatchTensorKind, Flex, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
#[cfg(feature = "cube")]
use burn::backend::{
    Cube,
    ops::{AttentionModuleOptions, ModuleOps as _},
};
use burn::tensor::{DType, Slice};

use crate::half::wide_type;

/// Scores that exist at once.
const SCORES: usize = 1 << 26;

/// Attention without a mask: `[B, H, N, D]` with `[B, H, M, D]`, none of them empty; hands the tensors back where the
/// device is not known here.
pub(super) fn attention(tensors: [DispatchTensor; 3]) -> Result<DispatchTensor, [DispatchTensor; 3]> {
    let ([b, h, n, _], m) = (tensors[0].shape().dims::<4>(), tensors[1].shape()[2]);
    let rows = (SCORES / (b * h * m).max(1)).clamp(1, n.max(1));
    in_rows(tensors, rows)
}

/// With the scores of `rows` queries at a time.
fn in_rows(tensors: [DispatchTensor; 3], rows: usize) -> Result<DispatchTensor, [DispatchTensor; 3]> {
    if !tensors.iter().all(|tensor| is_known(&tensor.kind)) {
        return Err(tensors);
    }
    let [q, k, v] = tensors;
    Ok(<Dispatch as ChunkedAttention>::chunked_attention(q, k, v, rows))
}

fn is_known(kind: &DispatchTensorKind) -> bool {
    match kind {
        DispatchTensorKind::Flex(_) => true,
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(_) => true,
        DispatchTensorKind::Autodiff(inner) => is_known(inner),
        #[allow(unreachable_patterns, reason = "there are more variants with more backends compiled in")]
        _ => false,
    }
}

/// A backend that can attend in chunks.
#[backend_extension(Flex, Cube: cfg(feature = "cube"), Autodiff)]
pub(super) trait ChunkedAttention: Backend {
    /// `softmax(q k^T / sqrt(D)) v` with the scores of `rows` queries at a time.
    fn chunked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self>;
}

impl ChunkedAttention for Flex {
    fn chunked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self> {
        forward::<Self>(&q, k, v, rows)
    }
}

#[cfg(feature = "cube")]
impl ChunkedAttention for Cube {
    fn chunked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        _rows: usize,
    ) -> FloatTensor<Self> {
        // A stated scale would cost the flash kernel; the default is the same one.
        Self::attention(q, k, v, None, None, AttentionModuleOptions::default())
    }
}

impl<B: ChunkedAttention, C: CheckpointStrategy> ChunkedAttention for Autodiff<B, C> {
    fn chunked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let inputs = [q, k, v].map(FloatTensor::<Self>::into_primitive);
        let [q, k, v] = inputs.clone();
        let y = B::chunked_attention(q, k, v, rows);
        match (Recomputed { rows }).prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, y.clone()), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct Recomputed {
    rows: usize,
}

impl<B: ChunkedAttention> Backward<B, 3> for Recomputed {
    /// Queries, keys and values, and what came out.
    type State = ([FloatTensor<B>; 3], FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (inputs, y) = ops.state;
        let gradients = backward::<B>(inputs, &y, &dy, self.rows);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// The queries from `first` on, at most `rows`.
fn part<B: Backend>(tensor: &FloatTensor<B>, first: usize, rows: usize) -> FloatTensor<B> {
    let last = (first + rows).min(tensor.shape()[2]);
    B::float_slice(tensor.clone(), &[Slice::full(), Slice::full(), Slice::from(first..last), Slice::full()])
}

/// `softmax(q k^T / sqrt(D))` of some queries, in their [`wide_type`].
fn probabilities<B: Backend>(q: FloatTensor<B>, k_transposed: FloatTensor<B>) -> FloatTensor<B> {
    let (scale, wide) = (scale::<B>(&q), wide_type(q.dtype()));
    let scores = as_type::<B>(B::float_matmul(q, k_transposed), wide);
    B::softmax(B::float_mul_scalar(scores, scale.into()), 3)
}

fn as_type<B: Backend>(tensor: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    if tensor.dtype() == dtype { tensor } else { B::float_cast(tensor, dtype.into()) }
}

fn scale<B: Backend>(q: &FloatTensor<B>) -> f64 {
    1.0 / (q.shape()[3] as f64).sqrt()
}

fn forward<B: Backend>(
    q: &FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    rows: usize,
) -> FloatTensor<B> {
    let (k_transposed, dtype) = (B::float_transpose(k), q.dtype());
    let parts = (0..q.shape()[2]).step_by(rows).map(|first| {
        let p = probabilities::<B>(part::<B>(q, first, rows), k_transposed.clone());
        B::float_matmul(as_type::<B>(p, dtype), v.clone())
    });
    B::float_cat(parts.collect(), 2)
}

fn backward<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    y: &FloatTensor<B>,
    dy: &FloatTensor<B>,
    rows: usize,
) -> [FloatTensor<B>; 3] {
    let (scale, dtype) = (scale::<B>(&q), q.dtype());
    // Products in the type of the queries, everything between them in the wide one.
    let [narrow, wide] = [dtype, wide_type(dtype)].map(|dtype| move |tensor| as_type::<B>(tensor, dtype));
    let (k_transposed, v_transposed) = (B::float_transpose(k.clone()), B::float_transpose(v));
    let mut dq = Vec::new();
    let mut sums: Option<[FloatTensor<B>; 2]> = None;
    for first in (0..q.shape()[2]).step_by(rows) {
        let [q, y, dy] = [&q, y, dy].map(|tensor| part::<B>(tensor, first, rows));
        let p = probabilities::<B>(q.clone(), k_transposed.clone());
        let dv = wide(B::float_matmul(B::float_transpose(narrow(p.clone())), dy.clone()));
        let row_sums = B::float_sum_dim(B::float_mul(wide(dy.clone()), wide(y)), 3);
        let dp = B::float_sub(wide(B::float_matmul(dy, v_transposed.clone())), row_sums);
        let ds = narrow(B::float_mul_scalar(B::float_mul(p, dp), scale.into()));
        dq.push(B::float_matmul(ds.clone(), k.clone()));
        let dk = wide(B::float_matmul(B::float_transpose(ds), q));
        sums = Some(match sums {
            None => [dk, dv],
            Some([dks, dvs]) => [B::float_add(dks, dk), B::float_add(dvs, dv)],
        });
    }
    let [dk, dv] = sums.expect("the caller sees to it that there is a query");
    [B::float_cat(dq, 2), narrow(dk), narrow(dv)]
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::*;
    use crate::attention::attention_reference;
    use crate::testing::{near, numbers, random};

    fn chunked(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, rows: usize) -> Tensor<4> {
        let tensors = [q, k, v].map(Tensor::into_dispatch);
        Tensor::from_dispatch(in_rows(tensors, rows).expect("a device of these tests"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_number_of_rows_gives_value_and_gradients_of_the_reference(
            b in 1_usize..3, h in 1_usize..3, n in 1_usize..20, m in 1_usize..20, d in 1_usize..9, rows in 1_usize..24
        ) {
            let inputs = (random([b, h, n, d], 1), random([b, h, m, d], 2), random([b, h, m, d], 3));
            near(inputs, |(q, k, v)| chunked(q, k, v, rows), |(q, k, v)| attention_reference(q, k, v, None))?;
        }
    }

    #[test]
    fn in_bf16_value_and_gradients_are_off_by_its_rounding() {
        let run = |dtype: DType| {
            let on =
                |seed| random([1, 2, 9, 8], seed).cast(DType::BF16).cast(dtype).autodiff().require_grad();
            let inputs = [on(1), on(2), on(3)];
            let [q, k, v] = inputs.clone();
            let y = chunked(q, k, v, 4);
            let tape = y.clone().sum().backward();
            let gradients = inputs.map(|input| numbers(input.grad(&tape).expect("a gradient")));
            (y.dtype(), [vec![numbers(y.inner())], gradients.to_vec()].concat().concat())
        };
        let ((dtype, got), (_, want)) = (run(DType::BF16), run(DType::F32));
        assert_eq!(dtype, DType::BF16);
        let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
        assert!(worst > 0.0 && worst < 0.02, "off by {worst}");
    }

    #[test]
    fn a_backend_that_is_not_known_here_gives_the_same_gradients() {
        let gradients = |device: &Device| {
            let on =
                |seed| Tensor::<4>::from_data(random([1, 2, 7, 4], seed).into_data(), device).require_grad();
            let (q, k, v) = (on(1), on(2), on(3));
            let y = crate::attention(q.clone(), k.clone(), v.clone(), None);
            let tape = (y.clone() * y).sum().backward();
            [q, k, v].map(|input| numbers(input.grad(&tape).expect("a gradient")))
        };
        #[expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")]
        let ours = gradients(&Device::ndarray().autodiff());
        let theirs = gradients(&Device::flex().autodiff());
        for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
            assert!((a - b).abs() < 1e-5, "{a} for {b}");
        }
    }

    #[test]
    fn frozen_keys_get_no_gradient() {
        let (q, k) = (random([1, 1, 3, 2], 1).autodiff().require_grad(), random([1, 1, 3, 2], 2).autodiff());
        let tape = chunked(q.clone(), k.clone(), random([1, 1, 3, 2], 3), 2).sum().backward();
        assert!(q.grad(&tape).is_some() && k.grad(&tape).is_none());
    }
}
