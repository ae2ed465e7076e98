//! bfloat16: the range of f32 with 8 bits of precision, in half the memory (Kalamkar et al. 2019).
//!
//! It is a type to keep numbers in. Kernels compute in f32: they widen what they read, which is exact, and round what they
//! write to the nearest. Where the processor multiplies pairs of bf16 numbers (AVX512-BF16, AMX) products read them as they
//! are, and sum in f32.

use burn::tensor::{Bytes, DType, Element, Tensor, bf16};
use burn_flex::FlexTensor;
use bytemuck::Pod;
use rayon::prelude::*;

use crate::parallel::{Scratch, SharedMut, output_of, parallel_ranges};
use crate::simd::{LANES, Simd, Task, dispatch};

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
    // SAFETY: both have as many numbers.
    let each = |from: &[bf16], to: *mut f32| unsafe { dispatch(Widen { from, to }) };
    if tensor.dtype() == DType::BF16 { convert(tensor, each) } else { tensor }
}

/// The tensor itself where its numbers lie one after the other, else a copy in which they do.
pub(crate) fn flat(tensor: &FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() }
}

/// The numbers of a tensor in bf16, one after the other.
pub(crate) fn flat_in_bf16(tensor: &FlexTensor) -> FlexTensor {
    narrow(flat(tensor), DType::BF16)
}

/// The numbers of a contiguous bf16 tensor in pairs, each as the bits of one f32; nothing where there is no such view.
pub(crate) fn pairs(tensor: &FlexTensor) -> Option<&[f32]> {
    if tensor.dtype() != DType::BF16 {
        return None;
    }
    bytemuck::try_cast_slice(tensor.as_slice::<bf16>()?).ok()
}

/// The numbers of a tensor, each as the nearest of the type `dtype`, f32 or bf16, in the same places.
pub(crate) fn narrow(tensor: FlexTensor, dtype: DType) -> FlexTensor {
    // SAFETY: both have as many numbers.
    let each = |from: &[f32], to: *mut bf16| unsafe { dispatch(Narrow { from, to }) };
    if dtype == DType::BF16 && tensor.dtype() == DType::F32 { convert(tensor, each) } else { tensor }
}

fn convert<A: Element + Pod, B: Element + Pod>(
    tensor: FlexTensor,
    each: impl Fn(&[A], *mut B) + Sync,
) -> FlexTensor {
    // Of a larger tensor only the part that is seen.
    let whole = tensor.storage::<A>().len() == tensor.layout().num_elements();
    let tensor = if whole { tensor } else { tensor.to_contiguous() };
    let from = tensor.storage::<A>();
    let mut to = Vec::with_capacity(from.len());
    let out = SharedMut::new(to.as_mut_ptr());
    // SAFETY: every chunk belongs to one task, and all of them are written.
    from.par_chunks(CHUNK).enumerate().for_each(|(i, from)| each(from, unsafe { out.at(i * CHUNK) }));
    unsafe { to.set_len(from.len()) };
    FlexTensor::new(Bytes::from_elems(to), tensor.layout().clone(), B::dtype())
}

struct Widen<'a> {
    from: &'a [bf16],
    to: *mut f32,
}

impl Task for Widen<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { from, to } = self;
        for (i, from) in from.chunks(LANES).enumerate() {
            let numbers = s.load_first_bf16(from.as_ptr(), from.len());
            s.store_first(to.add(i * LANES), numbers, from.len());
        }
    }
}

struct Narrow<'a> {
    from: &'a [f32],
    to: *mut bf16,
}

impl Task for Narrow<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { from, to } = self;
        for (i, from) in from.chunks(LANES).enumerate() {
            let numbers = s.load_first(from.as_ptr(), from.len());
            s.store_first_bf16(to.add(i * LANES), numbers, from.len());
        }
    }
}

/// Numbers that one task converts.
const CHUNK: usize = 1 << 15;

/// Numbers of a piece that is widened, computed and rounded while it is in the cache.
const PIECE: usize = 1 << 13;

/// The bf16 tensor that a kernel gives which computes in f32 and item by item, `size` numbers of `x` to as many of the output, in
/// the shape of `x`; `body(x, out, first, count)` computes the `count` items from the item `first` on. `cost` is that of one item, as in
/// [`parallel_ranges`].
pub(crate) fn in_pieces(
    x: &FlexTensor,
    size: usize,
    cost: usize,
    body: impl Fn(&[f32], SharedMut, usize, usize) + Sync + Send,
) -> Option<FlexTensor> {
    let (shape, x) = (x.layout().shape().clone(), flat(x));
    let x = x.as_slice::<bf16>()?;
    Some(output_of(shape, |out: SharedMut<bf16>| {
        parallel_ranges(x.len().checked_div(size).unwrap_or(0), cost, |range| {
            let most = (PIECE / size).clamp(1, range.len());
            let (mut wide, mut results) = (Scratch::new(most * size), Scratch::new(most * size));
            for first in range.clone().step_by(most) {
                let count = most.min(range.end - first);
                let (from, to) = (&x[first * size..][..count * size], &mut wide[..count * size]);
                // SAFETY: both have as many numbers, and the items of the tasks are disjoint.
                unsafe { dispatch(Widen { from, to: to.as_mut_ptr() }) };
                body(&wide, SharedMut::new(results.as_mut_ptr()), first, count);
                let from = &results[..count * size];
                unsafe { dispatch(Narrow { from, to: out.at(first * size) }) };
            }
        });
    }))
}

#[cfg(test)]
mod tests {
    use burn::backend::{BackendTensor, DispatchTensorKind, Flex};
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Every bf16 number comes back, and f32 numbers are rounded as the crate `half` rounds them.
    #[test]
    fn every_number_is_converted_as_by_itself() {
        let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let data = TensorData::new(all.clone(), [all.len()]);
        let wide: Vec<f32> = widened(Tensor::<1>::from_data(data, (&Device::flex(), DType::BF16)))
            .into_data()
            .try_to_vec()
            .unwrap();
        for (wide, short) in wide.iter().zip(&all) {
            assert!(
                wide.to_bits() == short.to_f32().to_bits() || wide.is_nan() && short.is_nan(),
                "{short:?}"
            );
        }
        let odd = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
        let near: Vec<f32> = all
            .iter()
            .flat_map(|short| odd.map(|low| f32::from_bits(u32::from(short.to_bits()) << 16 | low)))
            .collect();
        let data = TensorData::new(near.clone(), [near.len()]);
        let tensor = Tensor::<1>::from_data(data, (&Device::flex(), DType::F32));
        let BackendTensor::Float(tensor) = flex(tensor) else { panic!("a tensor of floats") };
        let short = narrow(tensor, DType::BF16);
        for (short, near) in short.storage::<bf16>().iter().zip(&near) {
            let want = bf16::from_f32(*near);
            assert!(
                short.to_bits() == want.to_bits() || short.is_nan() && want.is_nan(),
                "{near:e}: {short:?}"
            );
        }
    }

    fn flex(tensor: Tensor<1>) -> BackendTensor<Flex> {
        match tensor.into_dispatch().kind {
            DispatchTensorKind::Flex(tensor) => tensor,
            other => panic!("{other:?}"),
        }
    }
}
