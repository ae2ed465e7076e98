//! The forward pass: a few rows of scores at a time.

use super::{Attention, HIDDEN, Heads};
use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::product::{Matrix, Reduction, Start, multiply_panel, pack, packed_len, tile_rows};
use crate::simd::{LANES, Simd, Task, dispatch, exp};

/// Numbers of the block of scores, so that it stays in the second cache.
const BLOCK: usize = 131_072;

/// Keys between two visits to the output, so that their values stay in the nearest cache.
const TILE_KEYS: usize = 256;

/// Runs of queries per head, so that there is work for every thread. Each row is computed by itself, so their number
/// changes no bit.
pub(super) fn splits(heads: usize, blocks: usize) -> usize {
    (2 * rayon::current_num_threads()).div_ceil(heads.max(1)).clamp(1, blocks.max(1))
}

/// Writes `y: [B, H, N, D]` and the logarithms of the normalisers `[B H N]`.
pub(super) fn forward(sizes: &Attention, [q, k, v]: [Heads; 3], y: Heads, normalisers: SharedMut) {
    let Attention { n, m, d, .. } = *sizes;
    let height = tile_rows();
    let block = (BLOCK / m.next_multiple_of(LANES)).clamp(height, 64) / height * height;
    let splits = splits(sizes.heads(), n.div_ceil(block));
    let run = n.div_ceil(splits);
    parallel_ranges(sizes.heads() * splits, run * m * (2 * d + 32) / LANES, |range| {
        // SAFETY: the rows of the tasks are disjoint.
        unsafe { dispatch(Rows { sizes, q, k, v, y, normalisers, block, run, splits, range }) };
    });
}

struct Rows<'a> {
    sizes: &'a Attention,
    q: Heads,
    k: Heads,
    v: Heads,
    y: Heads,
    normalisers: SharedMut,
    /// Rows at a time.
    block: usize,
    /// Rows of one item of `range`.
    run: usize,
    splits: usize,
    range: std::ops::Range<usize>,
}

impl Task for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { sizes, q, k, v, y, normalisers, block, run, splits, range } = self;
        let Attention { n, m, d, .. } = *sizes;
        let width = S::VECS * LANES;
        // Rows a power of two apart would share few places of the nearest cache, and the tiles go down their columns.
        let ld = m.next_multiple_of(LANES) + LANES;
        let mut keys = Scratch::new(packed_len(d, m));
        let mut packed_values = Scratch::new(packed_len(m, d));
        let mut scores = Scratch::new(block * ld);
        let mut inverses = Scratch::new(block);
        let (keys, packed_values, scores) =
            (keys.as_mut_ptr(), packed_values.as_mut_ptr(), scores.as_mut_ptr());
        let mut packed_head = usize::MAX;
        for item in range {
            let (head, part) = (item / splits, item % splits);
            if packed_head != head {
                let transposed = Matrix { data: k.row(head, 0), row: 1, column: k.step() };
                pack(s, transposed, d, m, keys);
                pack(s, Matrix { data: v.row(head, 0), row: v.step(), column: 1 }, m, d, packed_values);
                packed_head = head;
            }
            let mut first = part * run;
            let end = ((part + 1) * run).min(n);
            while first < end {
                let rows = block.min(end - first);
                score(s, q.row(head, first), q.step(), rows, keys, d, m, scores, ld);
                for i in 0..rows {
                    let hidden = sizes.hidden.as_ref().map(|h| h[(first + i) * m..][..m].as_ptr());
                    let (largest, sum) = weigh(s, scores.add(i * ld), m, sizes.scale(), hidden);
                    *normalisers.at(head * n + first + i) = largest + sum.ln();
                    inverses[i] = 1.0 / sum;
                }
                let to = y.row(head, first);
                let mut column = 0;
                while column < d {
                    let panel = packed_values.add(column * m);
                    let mut from = 0;
                    while from < m {
                        let steps = TILE_KEYS.min(m - from);
                        multiply_panel(
                            s,
                            Reduction { runs: &[0], length: steps, stride: 1 },
                            scores.add(from),
                            |i| i * ld,
                            rows,
                            panel.add(from * width),
                            width,
                            to.add(column),
                            y.step(),
                            width.min(d - column),
                            if from == 0 { Start::Zero } else { Start::There },
                        );
                        from += steps;
                    }
                    column += width;
                }
                for i in 0..rows {
                    multiply_by(s, to.add(i * y.step()), d, inverses[i]);
                }
                first += rows;
            }
        }
    }
}

/// `scores[i][j] = q[i] . k[j]` for some rows and all packed keys.
#[inline(always)]
pub(super) unsafe fn score<S: Simd>(
    s: S,
    q: *const f32,
    q_step: usize,
    rows: usize,
    keys: *const f32,
    d: usize,
    m: usize,
    scores: *mut f32,
    ld: usize,
) {
    let width = S::VECS * LANES;
    let mut column = 0;
    while column < m {
        multiply_panel(
            s,
            Reduction { runs: &[0], length: d, stride: 1 },
            q,
            |i| i * q_step,
            rows,
            keys.add(column * d),
            width,
            scores.add(column),
            ld,
            width.min(m - column),
            Start::Zero,
        );
        column += width;
    }
}

/// Replaces a row of scores by weights that are not normalised yet; returns the largest score, scaled, and the weights' sum.
#[inline(always)]
unsafe fn weigh<S: Simd>(
    s: S,
    row: *mut f32,
    m: usize,
    scale: f32,
    hidden: Option<*const f32>,
) -> (f32, f32) {
    let end = m.next_multiple_of(LANES);
    hide(s, row, m, end, hidden);
    let largest = largest(s, row, end, f32::NEG_INFINITY) * scale;
    let (scale, shift) = (s.splat(scale), s.splat(-largest));
    let mut sum = s.splat(0.0);
    let mut j = 0;
    while j < end {
        let weight = exp(s, s.mul_add(s.load(row.add(j)), scale, shift));
        s.store(row.add(j), weight);
        sum = s.add(sum, weight);
        j += LANES;
    }
    (largest, s.sum(sum))
}

/// Makes the scores past the last of `m` keys, up to `end`, and those of hidden keys count for nothing.
#[inline(always)]
pub(super) unsafe fn hide<S: Simd>(s: S, row: *mut f32, m: usize, end: usize, hidden: Option<*const f32>) {
    for j in m..end {
        *row.add(j) = HIDDEN;
    }
    let Some(hidden) = hidden else { return };
    let mut j = 0;
    while j < m {
        let n = LANES.min(m - j);
        let (score, hidden) = (s.load_first(row.add(j), n), s.load_first(hidden.add(j), n));
        s.store_first(row.add(j), s.select_less(hidden, s.splat(0.0), hidden, score), n);
        j += LANES;
    }
}

/// The largest of a row of scores, and of `than`.
#[inline(always)]
pub(super) unsafe fn largest<S: Simd>(s: S, row: *const f32, end: usize, than: f32) -> f32 {
    let mut largest = s.splat(than);
    let mut j = 0;
    while j < end {
        largest = s.max(largest, s.load(row.add(j)));
        j += LANES;
    }
    s.largest(largest)
}

/// Multiplies a row of the output, which is much shorter than its row of weights.
#[inline(always)]
unsafe fn multiply_by<S: Simd>(s: S, row: *mut f32, d: usize, factor: f32) {
    let factor = s.splat(factor);
    let mut j = 0;
    while j + LANES <= d {
        s.store(row.add(j), s.mul(s.load(row.add(j)), factor));
        j += LANES;
    }
    if j < d {
        s.store_first(row.add(j), s.mul(s.load_first(row.add(j), d - j), factor), d - j);
    }
}
