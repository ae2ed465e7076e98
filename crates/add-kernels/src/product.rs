//! The register tile of all matrix products, and the product of two strided matrices.
//!
//! The left factor is read where it lies, number by number, through an offset per row and per reduction step; the
//! right factor must lie (or be packed) with 16 or more columns side by side. So the same tile serves weights,
//! their transposes and shifted images alike.

use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges, range_length};
use crate::simd::{LANES, Simd, Task, dispatch, panel_vectors};

/// Most rows of a register tile, over all instruction sets.
const MAX_ROWS: usize = 8;

/// The steps of the sum in a product: `runs.len()` runs of `length` steps, `stride` apart in the left factor.
#[derive(Clone, Copy)]
pub(crate) struct Reduction<'a> {
    /// Offset of each run in the left factor.
    pub(crate) runs: &'a [usize],
    pub(crate) length: usize,
    pub(crate) stride: usize,
}

/// What a tile starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    Zero,
    /// Adds to what is there.
    There,
    /// One number per row.
    RowBias(*const f32),
    /// One number per column.
    ColumnBias(*const f32),
}

/// Computes rows `rows` of one panel: `c[i][j] = start + sum_k a[rows[i] + offset(k)] b[k][j]` for `j < columns`.
///
/// # Safety
/// `a` is readable at all those offsets; `b` is readable for `columns` rounded up to [`LANES`], in every step;
/// `c` is writable for `columns`, in every row.
#[inline(always)]
pub(crate) unsafe fn multiply_panel<S: Simd>(
    s: S,
    reduction: Reduction,
    a: *const f32,
    rows: impl Fn(usize) -> usize,
    row_count: usize,
    b: *const f32,
    ld_b: usize,
    c: *mut f32,
    ld_c: usize,
    columns: usize,
    start: Start,
) {
    let mut first = 0;
    while first < row_count {
        let count = S::ROWS.min(row_count - first);
        let mut offsets = [0; MAX_ROWS];
        for (i, offset) in offsets.iter_mut().enumerate().take(count) {
            *offset = rows(first + i);
        }
        let start = match start {
            Start::RowBias(bias) => Start::RowBias(bias.add(first)),
            other => other,
        };
        let panel = Panel { b, ld_b, c: c.add(first * ld_c), ld_c, columns, start };
        macro_rules! tiles {
            ($(($rows:literal, $vectors:literal)),*) => {
                match (count, columns.div_ceil(LANES)) {
                    $(($rows, $vectors) => tile::<S, $rows, $vectors>(s, reduction, a, &offsets, panel),)*
                    (rows, vectors) => unreachable!("no tile of {rows} x {vectors}"),
                }
            };
        }
        tiles!(
            (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1),
            (1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (7, 2), (8, 2)
        );
        first += count;
    }
}

#[derive(Clone, Copy)]
struct Panel {
    b: *const f32,
    ld_b: usize,
    c: *mut f32,
    ld_c: usize,
    columns: usize,
    start: Start,
}

/// Keeps `R x V` vectors of sums in registers.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    s: S,
    reduction: Reduction,
    a: *const f32,
    offsets: &[usize; MAX_ROWS],
    panel: Panel,
) {
    if R > S::ROWS || V > S::VECS {
        unreachable!("no such tile for this instruction set");
    }
    let Panel { mut b, ld_b, c, ld_c, columns, start } = panel;
    let last = columns - (V - 1) * LANES;
    let mut sums = [[s.splat(0.0); V]; R];
    match start {
        Start::Zero => {}
        Start::There => {
            for i in 0..R {
                for v in 0..V - 1 {
                    sums[i][v] = s.load(c.add(i * ld_c + v * LANES));
                }
                sums[i][V - 1] = s.load_first(c.add(i * ld_c + (V - 1) * LANES), last);
            }
        }
        Start::RowBias(bias) => {
            for i in 0..R {
                sums[i] = [s.splat(*bias.add(i)); V];
            }
        }
        Start::ColumnBias(bias) => {
            for v in 0..V {
                let n = if v == V - 1 { last } else { LANES };
                let start = s.load_first(bias.add(v * LANES), n);
                for i in 0..R {
                    sums[i][v] = start;
                }
            }
        }
    }
    let mut rows = [a; R];
    for i in 0..R {
        rows[i] = a.add(offsets[i]);
    }
    for &run in reduction.runs {
        let mut k = run;
        for _ in 0..reduction.length {
            let mut right = [s.splat(0.0); V];
            for v in 0..V {
                right[v] = s.load(b.add(v * LANES));
            }
            for i in 0..R {
                let left = s.splat(*rows[i].add(k));
                for v in 0..V {
                    sums[i][v] = s.mul_add(left, right[v], sums[i][v]);
                }
            }
            b = b.add(ld_b);
            k += reduction.stride;
        }
    }
    for i in 0..R {
        for v in 0..V - 1 {
            s.store(c.add(i * ld_c + v * LANES), sums[i][v]);
        }
        if last == LANES {
            s.store(c.add(i * ld_c + (V - 1) * LANES), sums[i][V - 1]);
        } else {
            s.store_first(c.add(i * ld_c + (V - 1) * LANES), sums[i][V - 1], last);
        }
    }
}

/// Transposes `rows x columns` numbers, `ld_src` apart, to `columns x rows`, `ld_dst` apart.
pub(crate) struct Transpose {
    pub(crate) src: *const f32,
    pub(crate) ld_src: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) dst: *mut f32,
    pub(crate) ld_dst: usize,
}

impl Task for Transpose {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { src, ld_src, rows, columns, dst, ld_dst } = self;
        let (whole_rows, whole_columns) = (rows / LANES * LANES, columns / LANES * LANES);
        let mut i = 0;
        while i < whole_rows {
            let mut j = 0;
            while j < whole_columns {
                s.transpose(src.add(i * ld_src + j), ld_src, dst.add(j * ld_dst + i), ld_dst);
                j += LANES;
            }
            i += LANES;
        }
        for i in 0..rows {
            let from = if i < whole_rows { whole_columns } else { 0 };
            for j in from..columns {
                *dst.add(j * ld_dst + i) = *src.add(i * ld_src + j);
            }
        }
    }
}

/// A matrix in memory: element `(i, j)` is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) data: *const f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

unsafe impl Send for Matrix {}
unsafe impl Sync for Matrix {}

impl Matrix {
    /// Row after row.
    pub(crate) fn rows(data: &[f32], columns: usize) -> Self {
        Self { data: data.as_ptr(), row: columns, column: 1 }
    }

    /// # Safety
    /// The element is inside of the memory.
    #[inline(always)]
    unsafe fn at(self, i: usize, j: usize) -> *const f32 {
        self.data.add(i * self.row + j * self.column)
    }

    pub(crate) fn transposed(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }
}

/// Columns of one panel of the right factor.
pub(crate) fn panel_width() -> usize {
    panel_vectors() * LANES
}

/// Numbers that [`pack`] writes for a right factor `[k, n]`.
pub(crate) fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(panel_width()) * panel_width() * k
}

/// Cuts the right factor `[k, n]` of a product into panels that [`multiply_panel`] can read, one after the other,
/// each `[k, panel_width()]`.
///
/// # Safety
/// `b` is readable for `k x n`, and `dst` writable for [`packed_len`].
#[inline(always)]
pub(crate) unsafe fn pack<S: Simd>(s: S, b: Matrix, k: usize, n: usize, dst: *mut f32) {
    let width = S::VECS * LANES;
    let mut first = 0;
    while first < n {
        PackPanel { b, k, first, columns: width.min(n - first), width, dst: dst.add(first * k) }.run(s);
        first += width;
    }
}

/// The right factor of a product over all threads: packed, or as it lies where its rows are short.
enum Right {
    Packed(Scratch),
    There,
}

impl Right {
    /// Longest row that is read in place: longer ones would touch a new page of memory in every step.
    const LONGEST_ROW: usize = 512;

    unsafe fn new(b: Matrix, k: usize, n: usize) -> Self {
        if b.column == 1 && n % LANES == 0 && b.row <= Self::LONGEST_ROW {
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

/// Copies columns `first..first + columns` of `b` to rows of `width` numbers.
struct PackPanel {
    b: Matrix,
    k: usize,
    first: usize,
    columns: usize,
    width: usize,
    dst: *mut f32,
}

impl Task for PackPanel {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { b, k, first, columns, width, dst } = self;
        let src = b.data.add(first * b.column);
        if b.row == 1 {
            Transpose { src, ld_src: b.column, rows: columns, columns: k, dst, ld_dst: width }.run(s);
        } else if b.column == 1 {
            for i in 0..k {
                let mut j = 0;
                while j < columns {
                    let n = LANES.min(columns - j);
                    s.store(dst.add(i * width + j), s.load_first(src.add(i * b.row + j), n));
                    j += LANES;
                }
            }
        } else {
            for i in 0..k {
                for j in 0..columns {
                    *dst.add(i * width + j) = *src.add(i * b.row + j * b.column);
                }
            }
        }
    }
}

/// `c = start + a b` with `a: [m, k]`, `b: [k, n]`, `c: [m, n]` row after row, over all threads.
///
/// # Safety
/// The matrices are readable, `c` is writable, and a bias in `start` has `m` or `n` numbers.
pub(crate) unsafe fn multiply(m: usize, n: usize, k: usize, a: Matrix, b: Matrix, c: SharedMut, start: Start) {
    if m == 0 || n == 0 {
        return;
    }
    let turned = (a.column > Right::LONGEST_ROW && a.row == 1 && m >= MAX_ROWS).then(|| turn(a, m, k));
    let a = turned.as_ref().map_or(a, |t| Matrix::rows(t, k));
    let right = Right::new(b, k, n);
    let panels = n.div_ceil(panel_width());
    // Rows in blocks of eight, so that only the last tile of a matrix is a small one.
    let blocks = m.div_ceil(MAX_ROWS);
    let length = range_length(blocks, panels * MAX_ROWS * k * panel_width() / LANES);
    let start = StartPointer(start);
    parallel(blocks.div_ceil(length), |task| {
        let first = task * length * MAX_ROWS;
        let rows = (length * MAX_ROWS).min(m - first);
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

/// Steps of the sum between two visits to the output, so that the panel stays in the nearest cache.
pub(crate) const STEPS: usize = 256;

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
