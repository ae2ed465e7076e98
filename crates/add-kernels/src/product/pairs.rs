//! The product of bf16 matrices on processors that multiply pairs of such numbers, summed in f32.
//!
//! Two numbers that follow each other in the sum lie side by side, and are moved about as the bits of one f32. So packing and
//! tiles are those of f32 matrices with half the steps.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::bf16;

use super::turned::{by_groups, in_stripes, multiply_turned, sum_panel};
use super::{Matrix, Reduction, Right, Start, multiply_panel, panel_width};
use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::simd::{LANES, Simd, Task, dispatch_pairs, has_pairs, has_tiles};

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

/// By what products of bf16 tensors are computed in this process.
pub fn bf16_products() -> &'static str {
    match (computes_bf16_products(), has_tiles()) {
        (true, true) => "AMX",
        (true, false) => "AVX512-BF16",
        (false, _) => "f32",
    }
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
            let stripe = Stripe { a, first, rows, n, k, b: b.transposed(), right: &right, c, bias };
            // SAFETY: the rows of the tasks are disjoint.
            unsafe { dispatch_pairs(stripe) };
        });
    } else {
        multiply_turned(m, n, k, a, b, bias, c);
    }
}

/// `c = a^T b` in f32 with `a: [k, m]` and `b: [k, n]`, row after row as `c: [m, n]` is, over all threads.
///
/// # Safety
/// The processor has pairs, and `c` is writable.
pub(crate) unsafe fn multiply_columns(m: usize, n: usize, k: usize, a: &[bf16], b: &[bf16], c: SharedMut) {
    if m == 0 || n == 0 {
        return;
    }
    let (pairs, width) = (k.div_ceil(2), panel_width());
    let mut left = Scratch::new(m.next_multiple_of(LANES) * pairs.next_multiple_of(LANES));
    let ld = pairs.next_multiple_of(LANES);
    let to = SharedMut::new(left.as_mut_ptr());
    parallel_ranges(m.div_ceil(LANES), k, |range| {
        for first in range.map(|block| block * LANES) {
            let columns = LANES.min(m - first);
            // SAFETY: every column belongs to one task.
            unsafe { dispatch_pairs(TurnColumns { a, m, k, first, columns, to: to.at(first * ld), ld }) };
        }
    });
    let mut right = Scratch::new(n.next_multiple_of(width) * pairs);
    let to = SharedMut::new(right.as_mut_ptr());
    parallel_ranges(n.div_ceil(width), k * width / LANES, |range| {
        for first in range.map(|panel| panel * width) {
            let (rows, columns) = ([n, k], width.min(n - first));
            // SAFETY: every panel belongs to one task.
            unsafe { dispatch_pairs(PackRows { b: &b[first..], rows, columns, to: to.at(first * pairs) }) };
        }
    });
    in_stripes(m, n, pairs, |first, rows| {
        let columns = Columns { left: &left, ld, first, rows, n, pairs, right: &right, c };
        // SAFETY: the rows of the tasks are disjoint.
        unsafe { dispatch_pairs(columns) };
    });
}

/// Columns of `a: [k, m]` as rows of pairs, `ld` apart.
struct TurnColumns<'a> {
    a: &'a [bf16],
    m: usize,
    k: usize,
    first: usize,
    columns: usize,
    to: *mut f32,
    ld: usize,
}

impl Task for TurnColumns<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { a, m, k, first, columns, to, ld } = self;
        turn_columns(s, a.as_ptr().add(first), [m, k], columns, to, ld);
    }
}

/// Writes up to sixteen columns of a bf16 matrix as rows of pairs, `ld` apart: rows `2 p` and `2 p + 1` give pair `p`. The matrix has
/// `count` rows, `step` apart; behind them are zeros, up to whole vectors.
///
/// # Safety
/// The columns are readable, and sixteen rows of `to` are writable.
#[inline(always)]
pub(crate) unsafe fn turn_columns<S: Simd>(
    s: S,
    from: *const bf16,
    [step, count]: [usize; 2],
    columns: usize,
    to: *mut f32,
    ld: usize,
) {
    let mut block = [[0.0; LANES]; LANES];
    for pair in (0..count.div_ceil(2)).step_by(LANES) {
        for (i, row) in block.iter_mut().enumerate() {
            pack_rows(s, from, [step, count], columns, pair + i..pair + i + 1, row.as_mut_ptr());
        }
        s.transpose(block.as_ptr().cast(), LANES, to.add(pair), ld);
    }
}

/// One panel of the rows of a bf16 matrix, in pairs.
struct PackRows<'a> {
    b: &'a [bf16],
    rows: [usize; 2],
    columns: usize,
    to: *mut f32,
}

impl Task for PackRows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { b, rows, columns, to } = self;
        pack_rows(s, b.as_ptr(), rows, columns, 0..rows[1].div_ceil(2), to);
    }
}

/// Writes the first `columns` of rows `2 p` and `2 p + 1`, side by side, for each `p` of `pairs`, in rows of a panel's width. There
/// are `count` rows, `step` apart; those behind them are zeros.
///
/// # Safety
/// The rows are readable, and `to` is writable for `columns` rounded up to vectors, in every row.
#[inline(always)]
pub(crate) unsafe fn pack_rows<S: Simd>(
    s: S,
    from: *const bf16,
    [step, count]: [usize; 2],
    columns: usize,
    pairs: std::ops::Range<usize>,
    to: *mut f32,
) {
    const NONE: [bf16; LANES] = [bf16::ZERO; LANES];
    for (i, pair) in pairs.enumerate() {
        for column in (0..columns).step_by(LANES) {
            let row = |row: usize| if row < count { from.add(row * step + column) } else { NONE.as_ptr() };
            let both = s.load_pairs([row(2 * pair), row(2 * pair + 1)], 0, LANES.min(columns - column));
            s.store(to.add(i * S::VECS * LANES + column), both);
        }
    }
}

/// Some rows of [`multiply_columns`].
struct Columns<'a> {
    left: &'a [f32],
    ld: usize,
    first: usize,
    rows: usize,
    n: usize,
    pairs: usize,
    right: &'a [f32],
    c: SharedMut,
}

impl Task for Columns<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { left, ld, first, rows, n, pairs, right, c } = self;
        let width = S::VECS * LANES;
        for column in (0..n).step_by(width) {
            multiply_panel(
                s,
                Reduction { runs: &[0], length: pairs, stride: 1 },
                left.as_ptr().add(first * ld),
                |i| i * ld,
                rows,
                right.as_ptr().add(column * pairs),
                width,
                c.at(first * n + column),
                n,
                width.min(n - column),
                Start::Zero,
            );
        }
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
    c: SharedMut<bf16>,
    bias: Option<&'a [f32]>,
}

/// Rows that stay in the nearest cache while all panels go by, with the sums of one panel until they are rounded.
const ROWS: usize = 32;

impl Task for Stripe<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { a, first, rows, n, k, b, right, c, bias } = self;
        let width = S::VECS * LANES;
        let mut sums = Scratch::new(ROWS * width);
        let sums = sums.as_mut_ptr();
        // Panels are taken in groups, and each group by all rows.
        for (row, panel) in by_groups(first..first + rows, ROWS, n.div_ceil(width), k * width) {
            let count = ROWS.min(first + rows - row);
            let column = panel * width;
            let columns = width.min(n - column);
            let (left, right) = (a.data.add(row * a.row), right.panel(b, k, width, panel));
            sum_panel(s, left, a.row, count, right, k, sums, columns, Start::Zero);
            for j in (0..columns).step_by(LANES) {
                let lanes = LANES.min(columns - j);
                let bias = match bias {
                    Some(bias) => s.load_first(bias[column + j..].as_ptr(), lanes),
                    None => s.splat(0.0),
                };
                for i in 0..count {
                    let sum = s.add(s.load_first(sums.add(i * width + j), lanes), bias);
                    s.store_first_bf16(c.at((row + i) * n + column + j), sum, lanes);
                }
            }
        }
    }
}
