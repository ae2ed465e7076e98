//! The product of bf16 matrices on processors that multiply pairs of such numbers, summed in f32.
//!
//! Two numbers that follow each other in the sum lie side by side, and are moved about as the bits of one f32. So packing and
//! tiles are those of f32 matrices with half the steps.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::bf16;

use super::{Matrix, Reduction, Right, STEPS, Start, StartPointer, multiply_panel, panel_width, tile_rows};
use crate::parallel::{Scratch, SharedBf16, parallel, range_length};
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

/// `c = start + a b` rounded to bf16, with `a: [m, k]`, `b: [k, n]` of pairs and `c: [m, n]` row after row, over all threads.
///
/// # Safety
/// The processor has pairs, the matrices are readable, `c` is writable, and a bias in `start` has `n` numbers.
pub(crate) unsafe fn multiply_pairs(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    c: SharedBf16,
    start: Start,
) {
    if m == 0 || n == 0 {
        return;
    }
    let right = Right::new(b, k, n);
    let height = tile_rows();
    let blocks = m.div_ceil(height);
    let length = range_length(blocks, n.div_ceil(panel_width()) * height * k * panel_width() / LANES);
    let start = StartPointer(start);
    parallel(blocks.div_ceil(length), |task| {
        let first = task * length * height;
        let rows = (length * height).min(m - first);
        let mut sums = Scratch::new(rows * panel_width());
        let sums = sums.as_mut_ptr();
        let stripe = Stripe { a, first, rows, n, k, b, right: &right, sums, c, start: start.get() };
        // SAFETY: the rows of the tasks are disjoint.
        unsafe { dispatch_pairs(stripe) };
    });
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
    c: SharedBf16,
    start: Start,
}

impl Task for Stripe<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { a, first, rows, n, k, b, right, sums, c, start } = self;
        let width = S::VECS * LANES;
        for panel in 0..n.div_ceil(width) {
            let column = panel * width;
            let columns = width.min(n - column);
            let (packed, ld_b) = right.panel(b, k, width, panel);
            let mut from = 0;
            loop {
                let steps = STEPS.min(k - from);
                let start = match start {
                    _ if from > 0 => Start::There,
                    Start::ColumnBias(bias) => Start::ColumnBias(bias.add(column)),
                    other => other,
                };
                multiply_panel(
                    s,
                    Reduction { runs: &[0], length: steps, stride: a.column },
                    a.data.add(first * a.row + from * a.column),
                    |i| i * a.row,
                    rows,
                    packed.add(from * ld_b),
                    ld_b,
                    sums,
                    width,
                    columns,
                    start,
                );
                from += steps;
                if from >= k {
                    break;
                }
            }
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
