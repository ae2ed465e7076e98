//! The product of two strided matrices over all threads, and the parts that other products are made of.

mod number;
mod pack;
mod pairs;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod turned;

pub(crate) use number::Number;
pub(crate) use pack::{Matrix, Transpose, pack, packed_len, panel_width, tile_rows};
pub use pairs::{allow_bf16_products, bf16_products, computes_bf16_products};
pub(crate) use pairs::{multiply_columns, multiply_pairs, pack_rows, turn_columns, turned};
pub(crate) use tile::{Reduction, Start, multiply_panel};

use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges, range_length};
use crate::simd::{LANES, Simd, Task, dispatch};
use pack::PackPanel;
pub(crate) use turned::multiply_gated;
use turned::multiply_turned;

/// The right factor of a product over all threads: packed, or as it lies where its rows are short.
enum Right {
    Packed(Scratch),
    There,
}

impl Right {
    /// Longest row that is read in place: longer ones would touch a new page of memory in every step.
    const LONGEST_ROW: usize = 512;

    unsafe fn new(b: Matrix, k: usize, n: usize) -> Self {
        if b.column == 1 && n.is_multiple_of(LANES) && b.row <= Self::LONGEST_ROW {
            return Self::There;
        }
        let width = panel_width();
        let mut panels = Scratch::new(packed_len(k, n));
        let base = SharedMut::new(panels.as_mut_ptr());
        parallel_ranges(n.div_ceil(width), k * width / LANES, |range| {
            for panel in range {
                let first = panel * width;
                let (columns, dst) = (width.min(n - first), unsafe { base.at(first * k) });
                // SAFETY: every panel belongs to one task.
                unsafe { dispatch(PackPanel { b, k, first, columns, width, dst }) };
            }
        });
        Self::Packed(panels)
    }

    /// A panel and the distance of its rows.
    #[inline(always)]
    unsafe fn panel(&self, b: Matrix, k: usize, width: usize, panel: usize) -> (*const f32, usize) {
        match self {
            Self::Packed(panels) => (panels.as_ptr().add(panel * width * k), width),
            Self::There => (b.data.add(panel * width), b.row),
        }
    }
}

/// `c = start + a b` with `a: [m, k]`, `b: [k, n]`, `c: [m, n]` row after row, over all threads.
///
/// # Safety
/// The matrices are readable, `c` is writable, and a bias in `start` has `m` or `n` numbers.
pub(crate) unsafe fn multiply(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    c: SharedMut,
    start: Start,
) {
    if m == 0 || n == 0 {
        return;
    }
    // With as many rows as columns, what is turned costs what it saves.
    if 2 * m <= n && a.column == 1 && b.row == 1 {
        let bias = match start {
            Start::Zero => Some(None),
            Start::ColumnBias(bias) => Some(Some(std::slice::from_raw_parts(bias, n))),
            Start::There | Start::RowBias(_) => None,
        };
        if let Some(bias) = bias {
            return multiply_turned(m, n, k, a, b.transposed(), bias, c);
        }
    }
    let turned = (a.column > Right::LONGEST_ROW && a.row == 1 && m >= tile_rows()).then(|| turn(a, m, k));
    let a = turned.as_ref().map_or(a, |t| Matrix::rows(t, k));
    let right = Right::new(b, k, n);
    let panels = n.div_ceil(panel_width());
    let height = tile_rows();
    let blocks = m.div_ceil(height);
    let length = range_length(blocks, panels * height * k * panel_width() / LANES);
    let start = StartPointer(start);
    parallel(blocks.div_ceil(length), |task| {
        let first = task * length * height;
        let rows = (length * height).min(m - first);
        let stripe = Stripe { a, first, rows, n, k, b, right: &right, c, start: start.get() };
        // SAFETY: the rows of the tasks are disjoint.
        unsafe { dispatch(stripe) };
    });
}

/// Copies a matrix that lies column by column, so that it lies row by row.
unsafe fn turn(a: Matrix, rows: usize, columns: usize) -> Scratch {
    let mut turned = Scratch::new(rows * columns);
    let dst = SharedMut::new(turned.as_mut_ptr());
    parallel_ranges(columns.div_ceil(LANES), rows / 2, |range| {
        let first = range.start * LANES;
        let count = (range.end * LANES).min(columns) - first;
        // SAFETY: every column belongs to one task.
        unsafe {
            dispatch(Transpose {
                src: a.at(0, first),
                ld_src: a.column,
                rows: count,
                columns: rows,
                dst: dst.at(first),
                ld_dst: columns,
            });
        }
    });
    turned
}

/// A bias that several threads read.
#[derive(Clone, Copy)]
struct StartPointer(Start);

unsafe impl Send for StartPointer {}
unsafe impl Sync for StartPointer {}

impl StartPointer {
    fn get(&self) -> Start {
        self.0
    }
}

/// Some rows of [`multiply`].
struct Stripe<'a> {
    a: Matrix,
    first: usize,
    rows: usize,
    n: usize,
    k: usize,
    b: Matrix,
    right: &'a Right,
    c: SharedMut,
    start: Start,
}

/// Steps of the sum between two visits to the output. The rows of a tile of the output lie far apart and share few places in
/// the caches, so a visit is dear: fewer of them are worth a panel that only the second cache holds.
pub(crate) const STEPS: usize = 1024;

impl Task for Stripe<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { a, first, rows, n, k, b, right, c, start } = self;
        let width = S::VECS * LANES;
        let mut from = 0;
        loop {
            let steps = STEPS.min(k - from);
            for panel in 0..n.div_ceil(width) {
                let column = panel * width;
                let (packed, ld_b) = right.panel(b, k, width, panel);
                let start = match start {
                    _ if from > 0 => Start::There,
                    Start::RowBias(bias) => Start::RowBias(bias.add(first)),
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
                    c.at(first * n + column),
                    n,
                    width.min(n - column),
                    start,
                );
            }
            from += steps;
            if from >= k {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn product_of_strided_matrices_is_the_sum_of_products(
            m in 1_usize..40, n in 1_usize..80, k in 0_usize..900, a_turned: bool, b_turned: bool, bias in 0..4,
        ) {
            let a: Vec<f32> = (0..m * k).map(number).collect();
            let b: Vec<f32> = (0..k * n).map(|i| number(i + 5)).collect();
            let extra: Vec<f32> = (0..m * n).map(|i| number(i + 9)).collect();
            let left = if a_turned { Matrix::rows(&a, m).transposed() } else { Matrix::rows(&a, k) };
            let right = if b_turned { Matrix::rows(&b, k).transposed() } else { Matrix::rows(&b, n) };
            let start = match bias {
                0 => Start::Zero,
                1 => Start::There,
                2 => Start::RowBias(extra.as_ptr()),
                _ => Start::ColumnBias(extra.as_ptr()),
            };
            let mut c = extra.clone();
            unsafe { multiply(m, n, k, left, right, SharedMut::new(c.as_mut_ptr()), start) };
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|x| {
                        let a = a[if a_turned { x * m + i } else { i * k + x }];
                        f64::from(a) * f64::from(b[if b_turned { j * k + x } else { x * n + j }])
                    }).sum();
                    let want = sum + f64::from([0.0, extra[i * n + j], extra[i], extra[j]][bias as usize]);
                    prop_assert!((f64::from(c[i * n + j]) - want).abs() < 1e-5 * (1.0 + want.abs()), "{} for {want}", c[i * n + j]);
                }
            }
        }
    }
}
