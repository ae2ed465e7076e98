//! Sums of two tensors. In bf16 Burn adds number by number on one thread; everywhere else its sum is the one that is wanted.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Tensor, bf16};
use burn_flex::FlexTensor;

use crate::half::flat;
use crate::parallel::{SharedMut, output_of, parallel_ranges};
use crate::simd::{LANES, Simd, Task, dispatch};
use crate::tape::{is_recorded, of_flex, plain};

/// `a + b`. The last dimensions of `b` may be of size one where those of `a` are larger.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let (whole, part) = (a.dims(), b.dims());
    let same = whole.iter().zip(part).take_while(|(a, b)| **a == *b).count();
    let fits = part[same..].iter().all(|&size| size == 1);
    let (x, y) = (a.into_dispatch(), b.into_dispatch());
    let ours = [&x, &y].iter().all(|t| t.dtype() == DType::BF16 && !is_recorded(t));
    if !(fits && ours) {
        return Tensor::from_dispatch(x) + Tensor::from_dispatch(y);
    }
    let inner = whole[same..].iter().product();
    let (x, y) = (flat(&plain(x)), flat(&plain(y)));
    Tensor::from_dispatch(of_flex(sum(&x, &y, inner)))
}

/// Numbers that one step of a task adds.
const CHUNK: usize = 1 << 13;

/// The sum of flat tensors; each number of `b` belongs to `inner` of `a`.
fn sum(a: &FlexTensor, b: &FlexTensor, inner: usize) -> FlexTensor {
    let shape = a.layout().shape().clone();
    let (a, b): (&[bf16], &[bf16]) = (a.as_slice().expect("a flat tensor"), b.as_slice().expect("another"));
    output_of(shape, |out| {
        let length = if inner == 1 { CHUNK } else { inner };
        parallel_ranges(a.len().div_ceil(length.max(1)), length / 4, |range| {
            for chunk in range {
                let first = chunk * length;
                let a = &a[first..(first + length).min(a.len())];
                let b = if inner == 1 { &b[first..first + a.len()] } else { &b[chunk..=chunk] };
                // SAFETY: the chunks are disjoint.
                unsafe { dispatch(Sum { a, b, out: SharedMut::new(out.at(first)) }) };
            }
        });
    })
}

/// Adds numbers to as many others, or to one.
struct Sum<'a> {
    a: &'a [bf16],
    b: &'a [bf16],
    out: SharedMut<bf16>,
}

impl Task for Sum<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { a, b, out } = self;
        let (one, step) = (s.splat(b[0].to_f32()), usize::from(b.len() == a.len()));
        let mut i = 0;
        while i < a.len() {
            let n = LANES.min(a.len() - i);
            let other = if step == 1 { s.load_first_bf16(b.as_ptr().add(i), n) } else { one };
            let sum = s.add(s.load_first_bf16(a.as_ptr().add(i), n), other);
            s.store_first_bf16(out.at(i), sum, n);
            i += LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{numbers, random};

    proptest! {
        #[test]
        fn a_sum_in_bf16_is_that_of_burn(
            (b, c) in (1_usize..4, 1_usize..9), (h, w) in (1_usize..9, 1_usize..40), ones in 0_usize..3, turned: bool,
        ) {
            let narrow = |x: Tensor<4>| x.cast(DType::BF16);
            let x = narrow(random([b, c, h, w], 1));
            let x = if turned { narrow(random([b, c, w, h], 1)).swap_dims(2, 3) } else { x };
            let y = narrow(random([[b, c, h, w], [b, c, 1, 1], [b, c, h, 1]][ones], 2));
            let got = add(x.clone(), y.clone());
            prop_assert_eq!(got.dtype(), DType::BF16);
            prop_assert_eq!(numbers(got), numbers(x + y));
        }
    }

    #[test]
    fn sums_of_long_rows_are_those_of_burn() {
        let x = random([3, 9000], 1).cast(DType::BF16);
        assert_eq!(numbers(add(x.clone(), x.clone())), numbers(x.clone() + x.clone()));
        let (tracked, wide) = (x.clone().autodiff().require_grad(), x.clone().cast(DType::F32));
        assert_eq!(numbers(add(tracked.clone(), x.clone()).inner()), numbers(x.clone() + x));
        assert_eq!(add(wide.clone(), wide).dtype(), DType::F32);
    }
}
