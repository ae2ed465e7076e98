//! The register tile of all matrix products.
//!
//! The left factor is read where it lies, number by number, through an offset per row and per reduction step; the
//! right factor must lie (or be packed) with 16 or more columns side by side. So the same tile serves weights,
//! their transposes and shifted images alike.

use std::mem::MaybeUninit;

use crate::simd::{LANES, Simd};

/// Most rows of a register tile, over all instruction sets.
pub(super) const MAX_ROWS: usize = 8;

/// Steps that are summed one after the other. The rounding of such a sum grows with the root of its length, so a longer one is
/// made of several, whose results are added.
const SERIAL: usize = 128;

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
    #[cfg(target_arch = "x86_64")]
    if S::TILES {
        // Those who multiply pairs sum them in one run, and their rows lie evenly.
        let row = if row_count > 1 { rows(1) - rows(0) } else { LANES };
        let left = (a.add(rows(0) + reduction.runs[0]), row);
        let sizes = [row_count, columns, reduction.length];
        return super::tiles::multiply(s, sizes, left, (b, ld_b), (c, ld_c), start);
    }
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
            ($($rows:literal)*) => {
                match (count, columns.div_ceil(LANES)) {
                    $(($rows, 1) => tile::<S, $rows, 1>(s, reduction, a, &offsets, panel),)*
                    $(($rows, 2) => tile::<S, $rows, 2>(s, reduction, a, &offsets, panel),)*
                    (rows, vectors) => unreachable!("no tile of {rows} x {vectors}"),
                }
            };
        }
        tiles!(1 2 3 4 5 6 7 8);
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
        // It is added in the end: rows far apart share few places in the caches, and come from far by then.
        Start::There => {
            for i in 0..R {
                for v in 0..V {
                    s.prefetch(c.add(i * ld_c + v * LANES));
                }
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
    // In memory, not in registers: it is seldom used.
    let mut finished = MaybeUninit::<[[S::V; V]; R]>::uninit();
    let finished = finished.as_mut_ptr();
    let mut has_finished = false;
    let mut left = SERIAL;
    for &run in reduction.runs {
        let mut k = run;
        let mut rest = reduction.length;
        while rest > 0 {
            if left == 0 {
                if has_finished {
                    add_sums(s, &mut *finished, &sums);
                } else {
                    finished.write(sums);
                    has_finished = true;
                }
                sums = [[s.splat(0.0); V]; R];
                left = SERIAL;
            }
            let steps = rest.min(left);
            for _ in 0..steps {
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
            rest -= steps;
            left -= steps;
        }
    }
    if has_finished {
        add_sums(s, &mut sums, &*finished);
    }
    if let Start::There = start {
        for i in 0..R {
            for v in 0..V - 1 {
                sums[i][v] = s.add(s.load(c.add(i * ld_c + v * LANES)), sums[i][v]);
            }
            let there = s.load_first(c.add(i * ld_c + (V - 1) * LANES), last);
            sums[i][V - 1] = s.add(there, sums[i][V - 1]);
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

#[inline(always)]
fn add_sums<S: Simd, const R: usize, const V: usize>(s: S, to: &mut [[S::V; V]; R], from: &[[S::V; V]; R]) {
    for i in 0..R {
        for v in 0..V {
            to[i][v] = s.add(to[i][v], from[i][v]);
        }
    }
}
