//! Scaled dot-product attention (Vaswani et al. 2017), in memory linear in the number of tokens.
//!
//! `y = softmax(q k^T / sqrt(D)) v`. The scores exist for a few rows at a time only. The forward pass leaves the
//! logarithm of each row's normaliser; the backward pass computes the scores again (Dao et al. 2022):
//! `dv = P^T dy`, `dS = P (dy v^T - row sums of dy y) / sqrt(D)`, `dq = dS k`, `dk = dS^T q`.

mod chunked;
mod gradient;
mod gradient_in_bf16;
mod pairs;
mod rows;

use std::sync::Arc;

use burn::backend::{BackendTensor, DispatchTensorKind};
use burn::tensor::{Bool, DType, Element, Shape, Tensor, activation};
use burn_flex::{FlexTensor, Layout};
use bytemuck::Pod;

use crate::half::{as_type, widen, widened};
use crate::parallel::{SharedMut, dense, output_of};
use crate::product::computes_bf16_products;
use crate::tape::{Kernel, apply, is_ours};

/// `q: [B, H, N, D]`, `k`, `v`: `[B, H, M, D]` to `[B, H, N, D]`, scaled by `1 / sqrt(D)`.
/// `mask: [1, 1, N, M]`, or any shape that expands to `[B, H, N, M]`, is true where a key must not be seen; every query
/// must see at least one.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    let ([b, h, n, d], [.., m, _]) = (q.dims(), k.dims());
    assert!(k.dims() == [b, h, m, d] && v.dims() == [b, h, m, d], "queries, keys and values do not fit");
    let tensors = [q, k, v].map(Tensor::into_dispatch);
    let hidden = match &mask {
        None => Some(None),
        // The conversion is only worth it where the kernel can run.
        Some(mask) if tensors.iter().all(is_ours) && mask.dims() == [1, 1, n, m] => {
            hidden(mask.clone()).map(Some)
        }
        Some(_) => None,
    };
    let result = match hidden {
        Some(hidden) if m > 0 && d > 0 => apply(Attention { b, h, n, m, d, hidden }, tensors),
        _ => Err(tensors),
    };
    // A mask comes with a text, whose scores are few.
    let result = match result {
        Err(tensors) if mask.is_none() && b * h * n * m * d > 0 => chunked::attention(tensors),
        other => other,
    };
    match result {
        Ok(y) => Tensor::from_dispatch(y),
        Err(tensors) => {
            let [q, k, v] = tensors.map(Tensor::from_dispatch);
            attention_reference(q, k, v, mask)
        }
    }
}

/// The same by pure operations.
#[doc(hidden)]
pub fn attention_reference(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [b, h, n, d] = q.dims();
    let m = k.dims()[2];
    let dtype = q.dtype();
    let [q, k, v] = [q, k, v].map(widened);
    // Not a division: Burn's gradient of one by a scalar is computed in f32.
    let scores = q.matmul(k.transpose()).mul_scalar(1.0 / (d as f64).sqrt());
    let scores = match mask {
        Some(mask) => scores.mask_fill(mask.expand([b, h, n, m]), f32::NEG_INFINITY),
        None => scores,
    };
    as_type(activation::softmax(scores, 3).matmul(v), dtype)
}

/// What is added to the scores under a mask.
const HIDDEN: f32 = -3e38;

/// The mask as numbers to add to the scores, `[N, M]`; `None` where it does not lie on the `flex` device.
fn hidden(mask: Tensor<4, Bool>) -> Option<Arc<Vec<f32>>> {
    let DispatchTensorKind::Flex(BackendTensor::Bool(mask)) = mask.into_dispatch().kind else { return None };
    let mask = mask.to_contiguous();
    let count = mask.layout().num_elements();
    let bytes = mask.bytes().get(..count)?;
    Some(Arc::new(bytes.iter().map(|&byte| if byte == 0 { 0.0 } else { HIDDEN }).collect()))
}

#[derive(Debug, Clone)]
struct Attention {
    b: usize,
    h: usize,
    n: usize,
    m: usize,
    d: usize,
    /// Numbers to add to the scores, `[N, M]`.
    hidden: Option<Arc<Vec<f32>>>,
}

impl Attention {
    fn heads(&self) -> usize {
        self.b * self.h
    }

    fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }

    /// The output of the forward pass in bf16, where the processor and the sizes allow it.
    fn in_pairs(&self, inputs: &[FlexTensor; 3], normalisers: Option<SharedMut>) -> Option<FlexTensor> {
        if !computes_bf16_products() || !self.d.is_multiple_of(2) {
            return None;
        }
        if inputs.iter().any(|input| input.dtype() != DType::BF16) {
            return None;
        }
        let inputs = inputs.each_ref().map(in_pairs);
        // SAFETY: the processor has pairs, and they lie as they must.
        Some(output_like(&inputs[0], |out| unsafe {
            pairs::forward(self, inputs.each_ref().map(Heads::new), out, normalisers);
        }))
    }
}

/// The rows of the heads in one tensor `[B, H, tokens, D]`; the numbers of a row lie side by side.
#[derive(Clone, Copy)]
struct Heads<T = f32> {
    data: SharedMut<T>,
    /// Distances of two samples, heads, tokens.
    strides: [usize; 3],
    /// Heads of one sample.
    per_sample: usize,
}

impl<T: Element + Pod> Heads<T> {
    fn new(tensor: &FlexTensor) -> Self {
        let layout = tensor.layout();
        let data = tensor.storage::<T>()[layout.start_offset()..].as_ptr().cast_mut();
        let strides = std::array::from_fn(|i| layout.strides()[i].unsigned_abs());
        Self { data: SharedMut::new(data), strides, per_sample: layout.shape()[1] }
    }

    /// First number of a row.
    ///
    /// # Safety
    /// The row exists.
    #[inline(always)]
    unsafe fn row(self, head: usize, token: usize) -> *mut T {
        let [sample, of_head, of_token] = self.strides;
        self.data.at(head / self.per_sample * sample + head % self.per_sample * of_head + token * of_token)
    }

    /// Distance of two rows of a head.
    fn step(self) -> usize {
        self.strides[2]
    }
}

/// A bf16 tensor whose rows begin with a whole pair: the tensor itself, or a copy.
fn in_pairs(tensor: &FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let even = |stride: &isize| *stride > 0 && stride % 2 == 0;
    let aligned = tensor.bytes().as_ptr().addr().is_multiple_of(align_of::<f32>());
    let begins = aligned && layout.start_offset().is_multiple_of(2);
    match layout.strides() {
        [outer @ .., 1] if begins && outer.iter().all(even) => tensor.clone(),
        _ => tensor.to_contiguous(),
    }
}

/// A new tensor `[B, H, tokens, D]` that lies in memory as `like` does: by head, or, when the heads were split off a
/// `[B, tokens, H D]`, by token, so that they can be joined again without a copy.
fn output_like<T: Element + Pod>(like: &FlexTensor, fill: impl FnOnce(Heads<T>)) -> FlexTensor {
    let shape = like.layout().shape().clone();
    let [b, h, n, d] = shape.dims::<4>();
    let strides = if like.is_contiguous() { [h * n * d, n * d, d] } else { [n * h * d, d, h * d] };
    let flat = output_of(Shape::from([b * h * n * d]), |data| fill(Heads { data, strides, per_sample: h }));
    let strides = strides.into_iter().chain([1]).map(|s| s as isize).collect();
    FlexTensor::from_arc(flat.data_arc(), Layout::new(shape, strides, 0), T::dtype())
}

impl Kernel<3> for Attention {
    /// The output, and the logarithm of the normaliser of every row.
    type Saved = (FlexTensor, Arc<Vec<f32>>);

    fn arrange(input: FlexTensor) -> FlexTensor {
        let strides = input.layout().strides();
        if strides[3] == 1 && strides.iter().all(|&s| s > 0) { input } else { dense(input) }
    }

    fn forward(&self, [q, k, v]: &[FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let mut normalisers = vec![0.0; self.heads() * self.n];
        let shared = SharedMut::new(normalisers.as_mut_ptr());
        let y = output_like(q, |out| {
            rows::forward(self, [q, k, v].map(Heads::new), out, shared);
        });
        (y.clone(), (y, Arc::new(normalisers)))
    }

    fn forward_in_bf16(&self, inputs: &[FlexTensor; 3]) -> Option<FlexTensor> {
        self.in_pairs(inputs, None)
    }

    fn recorded_in_bf16(&self, inputs: &[FlexTensor; 3]) -> Option<(FlexTensor, Self::Saved)> {
        let mut normalisers = vec![0.0; self.heads() * self.n];
        let y = self.in_pairs(inputs, Some(SharedMut::new(normalisers.as_mut_ptr())))?;
        Some((y.clone(), (y, Arc::new(normalisers))))
    }

    fn gradients_in_bf16(
        &self,
        inputs: &[FlexTensor; 3],
        (y, normalisers): &Self::Saved,
        dy: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        // Otherwise the forward pass was in f32.
        if y.dtype() != DType::BF16 {
            return [None, None, None];
        }
        let [q, k, v] = inputs.each_ref().map(in_pairs);
        let dy = in_pairs(dy);
        let inputs = gradient::Inputs {
            q: Heads::new(&q),
            k: Heads::new(&k),
            v: Heads::new(&v),
            y: Heads::new(y),
            dy: Heads::new(&dy),
            normalisers,
        };
        // SAFETY: the processor has pairs, and they lie as they must.
        gradients([&q, &k, &v], wanted, |to| unsafe { gradient_in_bf16::backward(self, inputs, to) })
    }

    fn backward(
        &self,
        [q, k, v]: [FlexTensor; 3],
        (y, normalisers): Self::Saved,
        dy: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let y = <Self as Kernel<3>>::arrange(widen(y));
        let inputs = gradient::Inputs {
            q: Heads::new(&q),
            k: Heads::new(&k),
            v: Heads::new(&v),
            y: Heads::new(&y),
            dy: Heads::new(&dy),
            normalisers: &normalisers,
        };
        gradients([&q, &k, &v], wanted, |to| gradient::backward(self, inputs, to))
    }
}

/// The gradients of queries, keys and values that `fill` writes, as far as they are wanted.
fn gradients<T: Element + Pod>(
    [q, k, v]: [&FlexTensor; 3],
    wanted: [bool; 3],
    fill: impl FnOnce([Heads<T>; 3]),
) -> [Option<FlexTensor>; 3] {
    let (mut dk, mut dv) = (None, None);
    let dq = output_like(q, |dq| {
        dk = Some(output_like(k, |dk| {
            dv = Some(output_like(v, |dv| fill([dq, dk, dv])));
        }));
    });
    [wanted[0].then_some(dq), dk.filter(|_| wanted[1]), dv.filter(|_| wanted[2])]
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{near, near_in_bf16, random, trained_near_in_bf16};

    /// What the weights of values up to one are off by when they are rounded to bf16: half a unit in the last of 8 bits.
    const WEIGHTS: f64 = 1.0 / 256.0;

    /// Heads by head, split off the channels, or a part of a larger tensor.
    fn heads([b, h, n, d]: [usize; 4], view: usize, seed: u64) -> Tensor<4> {
        match view {
            0 => random([b, h, n, d], seed),
            1 => random([b, n, h * d], seed).reshape([b, n, h, d]).swap_dims(1, 2),
            2 => random([b, h, d, n], seed).swap_dims(2, 3),
            _ => random([b, h, n + 1, d + 2], seed).slice([0..b, 0..h, 1..n + 1, 1..d + 1]),
        }
    }

    fn check(q: [usize; 4], m: usize, view: usize, scale: f32, causal: bool) -> Result<(), TestCaseError> {
        let [b, h, n, d] = q;
        let inputs =
            (heads(q, view, 1) * scale, heads([b, h, m, d], view, 2) * scale, heads([b, h, m, d], view, 3));
        let mask = causal.then(|| {
            let all = Tensor::<2, Bool>::tril_mask([n, m], 0, &Device::flex());
            all.reshape([1, 1, n, m])
        });
        let ours = |(q, k, v)| attention(q, k, v, mask.clone());
        let reference = |(q, k, v)| attention_reference(q, k, v, mask.clone());
        near(inputs.clone(), ours, reference)?;
        near_in_bf16(inputs.clone(), ours, reference, WEIGHTS)?;
        // A key is seen by so many queries, in the sum of their weights.
        let seen = (2.0 * n as f64 / m as f64).max(1.0);
        let slopes = 4.0 * WEIGHTS * f64::from(scale);
        trained_near_in_bf16(inputs, ours, reference, &[slopes, slopes * seen, WEIGHTS * seen])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn value_and_gradients_equal_those_of_the_pure_operations(
            (b, h) in (1_usize..3, 1_usize..4),
            // With a single key, or a single query that sees the first alone, the weights are ones, whatever the queries: a
            // gradient of nothing but rounding.
            (n, m) in (1_usize..90, 2_usize..90),
            d in 1_usize..50,
            view in 0_usize..4,
            scale in 0.1_f32..4.0,
            causal: bool,
        ) {
            check([b, h, n, d], m, view, scale, causal && n > 1)?;
        }
    }

    #[test]
    fn single_key_passes_its_value_on() {
        let (q, k, v) = (random([1, 2, 5, 8], 1), random([1, 2, 1, 8], 2), random([1, 2, 1, 8], 3));
        let [q, k] = [q, k].map(|t| t.autodiff().require_grad());
        let y = attention(q.clone(), k.clone(), v.clone(), None);
        let off = (y.clone().inner() - v).abs().max().into_scalar::<f32>();
        assert!(off < 1e-6, "off by {off}");
        let gradients = y.sum().backward();
        for gradient in [q.grad(&gradients), k.grad(&gradients)].into_iter().flatten() {
            let largest = gradient.abs().max().into_scalar::<f32>();
            assert!(largest < 1e-5, "a gradient of {largest}");
        }
    }

    #[test]
    fn many_tokens_equal_those_of_the_pure_operations() {
        check([1, 2, 700, 40], 1100, 1, 1.0, false).unwrap();
        check([1, 1, 600, 8], 600, 0, 1.0, true).unwrap();
    }

    #[test]
    fn output_keeps_the_order_of_memory_of_the_queries() {
        let q = heads([2, 3, 5, 4], 1, 1);
        let y = attention(q.clone(), q.clone(), q, None).swap_dims(1, 2);
        let DispatchTensorKind::Flex(BackendTensor::Float(y)) = y.into_dispatch().kind else {
            panic!("not on flex")
        };
        assert!(y.is_contiguous());
    }
}
