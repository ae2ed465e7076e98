//! The product of bf16 matrices on processors that multiply pairs of such numbers, summed in f32.
//!
//! Two numbers that follow each other in the sum lie side by side, and are moved about as the bits of one f32. So packing and
//! tiles are those of f32 matrices with half the steps.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::bf16;

use super::turned::{in_stripes, multiply_turned, sum_panel};
use super::{Matrix, Right, Start, panel_width};
use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::simd::{LANES, Simd, Task, dispatch_pairs, has_pairs};

static ALLOWED: AtomicBool = AtomicBool::new(true);

/// Whether products of bf16 tensors may be computed in bf16 where the processor can, in this process and from now on; they may
/// unless told otherwise. Without that they are computed in f32, as on every other processor.
pub fn allow_bf16_products(allowed: bool) {
    ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether products of bf16 tensors are computed in bf16: the processor has AVX512-BF16, and they may.
pub fn computes_bf16_products() -> bool {
    has_pairs() && ALLOWED.load(Ordering::Relaxed)
}

/// `c = a b^T + bias` rounded to bf16, with `a: [m, k]` and `b: [n, k]` of pairs, row after row as `c: [m, n]` is, over all
/// threads; `bias` has `n` numbers.
///
/// The factor with more rows is read as it lies; the other one is packed.
///
/// # Safety
/// The processor has pairs, and `c` is writable.
pub(crate) unsafe fn multiply_pairs(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    b: &[f32],
    bias: Option<&[f32]>,
    c: SharedMut<bf16>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let (a, b) = (Matrix::rows(&a[..m * k], k), Matrix::rows(&b[..n * k], k));
    if m >= n {
        let right = Right::new(b.transposed(), k, n);
        in_stripes(m, n, k, |first, rows| {
            let mut sums = Scratch::new(rows * panel_width());
            let sums = sums.as_mut_ptr();
            let stripe = Stripe { a, first, rows, n, k, b: b.transposed(), right: &right, sums, c, bias };
            // SAFETY: the rows of the tasks are disjoint.
            unsafe { dispatch_pairs(stripe) };
        });
    } else {
        multiply_turned(m, n, k, a, b, bias, c);
    }
}

/// `to[c][o][t] = weights[o][c][taps - 1 - t]` of weights `[outer, inner, taps]`, in pairs: those of the gradient of the input.
pub(crate) fn turned(weights: &[bf16], [outer, inner, taps]: [usize; 3]) -> Scratch {
    /// Rows of the result that share the cache lines they are read from.
    const AT_ONCE: usize = 16;
    let row = outer * taps;
    let mut all = Scratch::new((inner * row).div_ceil(2));
    let out = SharedMut::new(all.as_mut_ptr().cast::<bf16>());
    parallel_ranges(inner.div_ceil(AT_ONCE), AT_ONCE * row, |range| {
        for first in range.map(|block| block * AT_ONCE) {
            for o in 0..outer {
                for c in first..(first + AT_ONCE).min(inner) {
                    let from = &weights[(o * inner + c) * taps..][..taps];
                    for (t, number) in from.iter().rev().enumerate() {
                        // SAFETY: every row belongs to one task.
                        unsafe { out.at(c * row + o * taps + t).write(*number) };
                    }
                }
            }
        }
    });
    all
}

/// Some rows of [`multiply_pairs`].
struct Stripe<'a> {
    a: Matrix,
    first: usize,
    rows: usize,
    n: usize,
    k: usize,
    b: Matrix,
    right: &'a Right,
    /// A panel of the output before it is rounded, `[rows, panel_width()]`: it stays in the cache.
    sums: *mut f32,
    c: SharedMut<bf16>,
    bias: Option<&'a [f32]>,
}

impl Task for Stripe<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { a, first, rows, n, k, b, right, sums, c, bias } = self;
        let width = S::VECS * LANES;
        for panel in 0..n.div_ceil(width) {
            let column = panel * width;
            let columns = width.min(n - column);
            let start = bias.map_or(Start::Zero, |bias| Start::ColumnBias(bias[column..].as_ptr()));
            let (left, right) = (a.data.add(first * a.row), right.panel(b, k, width, panel));
            sum_panel(s, left, a.row, rows, right, k, sums, columns, start);
            for i in 0..rows {
                let (from, to): (_, *mut bf16) = (sums.add(i * width), c.at((first + i) * n + column));
                let mut j = 0;
                while j < columns {
                    let n = LANES.min(columns - j);
                    s.store_first_bf16(to.add(j), s.load_first(from.add(j), n), n);
                    j += LANES;
                }
            }
        }
    }
}
