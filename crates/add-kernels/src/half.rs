//! bfloat16: the range of f32 with 8 bits of precision, in half the memory (Kalamkar et al. 2019).
//!
//! It is a type to keep numbers in. Every kernel computes in f32: it widens what it reads, which is exact, and rounds what
//! it writes to the nearest.

use burn::tensor::{Bytes, DType, Element, Tensor, bf16};
use burn_flex::FlexTensor;
use bytemuck::Pod;
use rayon::prelude::*;

/// The type in which numbers of this one are summed: f32 for bf16 and f16, otherwise itself.
pub fn wide_type(dtype: DType) -> DType {
    match dtype {
        DType::BF16 | DType::F16 => DType::F32,
        other => other,
    }
}

/// In its [`wide_type`].
pub fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = wide_type(x.dtype());
    as_type(x, dtype)
}

/// In the type `dtype`; gradients come back in its own.
pub fn as_type<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// The numbers of a tensor in f32, in the same places.
pub(crate) fn widen(tensor: FlexTensor) -> FlexTensor {
    if tensor.dtype() == DType::BF16 { convert(tensor, bf16::to_f32) } else { tensor }
}

/// The numbers of an f32 tensor, each as the nearest of the type `dtype`, in the same places.
pub(crate) fn narrow(tensor: FlexTensor, dtype: DType) -> FlexTensor {
    if dtype == DType::BF16 { convert(tensor, bf16::from_f32) } else { tensor }
}

fn convert<A: Element + Pod, B: Element + Pod>(
    tensor: FlexTensor,
    each: impl Fn(A) -> B + Sync,
) -> FlexTensor {
    // Of a larger tensor only the part that is seen.
    let whole = tensor.storage::<A>().len() == tensor.layout().num_elements();
    let tensor = if whole { tensor } else { tensor.to_contiguous() };
    let from = tensor.storage::<A>();
    let mut to = vec![B::zeroed(); from.len()];
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
        for (to, from) in to.iter_mut().zip(from) {
            *to = each(*from);
        }
    });
    FlexTensor::new(Bytes::from_elems(to), tensor.layout().clone(), B::dtype())
}

/// Numbers that one task converts.
const CHUNK: usize = 1 << 15;
