//! The forward pass in bf16, on processors that multiply pairs of such numbers and sum them in f32.
//!
//! Scores and softmax are in f32. The weights of the values are rounded to bf16 before they are normalised, and their sum is that
//! of the rounded ones, so that they still add up to one. A block of queries meets the keys in tiles: where a tile has a larger
//! score than those before, what was summed so far is scaled down (Dao et al. 2022).

use burn::tensor::bf16;

use super::rows::{hide, largest, score, splits};
use super::{Attention, Heads};
use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::product::{Matrix, Reduction, Start, multiply_panel, pack, pack_rows, packed_len};
use crate::simd::{LANES, Simd, Task, dispatch_pairs, power_of_two_for_bf16};

/// Queries at a time; a multiple of the rows of every register tile.
pub(super) const QUERIES: usize = 64;
/// Keys of a tile: its scores, its weights and its values stay in the second cache.
pub(super) const KEYS: usize = 512;
/// Distance of two rows of a tile: a power of two apart they would share few places of the nearest cache.
pub(super) const LD: usize = KEYS + LANES;

/// Writes `y: [B, H, N, D]`, and the logarithms of the normalisers `[B H N]` where they are wanted.
///
/// # Safety
/// The processor has pairs; `D`, the strides of all heads and their first offsets are even.
pub(super) unsafe fn forward(
    sizes: &Attention,
    [q, k, v]: [Heads<bf16>; 3],
    y: Heads<bf16>,
    normalisers: Option<SharedMut>,
) {
    let Attention { n, m, d, .. } = *sizes;
    let splits = splits(sizes.heads(), n.div_ceil(QUERIES));
    let run = n.div_ceil(splits).next_multiple_of(QUERIES);
    parallel_ranges(sizes.heads() * splits, run * m * (d + 24) / LANES, |range| {
        // SAFETY: the rows of the tasks are disjoint.
        unsafe { dispatch_pairs(Rows { sizes, q, k, v, y, normalisers, run, splits, range }) };
    });
}

struct Rows<'a> {
    sizes: &'a Attention,
    q: Heads<bf16>,
    k: Heads<bf16>,
    v: Heads<bf16>,
    y: Heads<bf16>,
    normalisers: Option<SharedMut>,
    /// Rows of one item of `range`.
    run: usize,
    splits: usize,
    range: std::ops::Range<usize>,
}

impl Task for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { sizes, q, k, v, y, normalisers, run, splits, range } = self;
        let Attention { n, m, d, .. } = *sizes;
        let mut keys = Scratch::new(packed_len(d / 2, m));
        let mut values = Scratch::new(packed_len(m.div_ceil(2), d));
        let mut block = Block::new(sizes);
        let mut packed_head = usize::MAX;
        for item in range {
            let (head, part) = (item / splits, item % splits);
            if packed_head != head {
                let transposed = Matrix { data: k.row(head, 0).cast(), row: 1, column: k.step() / 2 };
                pack(s, transposed, d / 2, m, keys.as_mut_ptr());
                pack_tokens(s, v.row(head, 0), v.step(), m, d, values.as_mut_ptr());
                packed_head = head;
            }
            let end = ((part + 1) * run).min(n);
            for first in (part * run..end).step_by(QUERIES) {
                let rows = QUERIES.min(end - first);
                for key in (0..m).step_by(KEYS) {
                    let scores = block.scores.as_mut_ptr();
                    let count = KEYS.min(m - key);
                    let from = keys.as_ptr().add(key * (d / 2));
                    score(s, q.row(head, first).cast(), q.step() / 2, rows, from, d / 2, count, scores, LD);
                    for i in 0..rows {
                        let hidden =
                            sizes.hidden.as_ref().map(|h| h[(first + i) * m + key..][..count].as_ptr());
                        block.weigh(s, i, key == 0, count, hidden);
                    }
                    block.add_values(s, rows, key, count, values.as_ptr());
                }
                for i in 0..rows {
                    block.finish(s, i, y.row(head, first + i));
                    if let Some(normalisers) = normalisers {
                        *normalisers.at(head * n + first + i) = block.normaliser(i);
                    }
                }
            }
        }
    }
}

/// Writes the numbers of tokens, `step` apart, in pairs, those of two tokens that follow each other, in panels: `[count / 2, width]`
/// each.
#[inline(always)]
pub(super) unsafe fn pack_tokens<S: Simd>(
    s: S,
    from: *const bf16,
    step: usize,
    count: usize,
    d: usize,
    to: *mut f32,
) {
    let (width, pairs) = (S::VECS * LANES, count.div_ceil(2));
    for column in (0..d).step_by(width) {
        let columns = width.min(d - column);
        pack_rows(s, from.add(column), [step, count], columns, 0..pairs, to.add(column * pairs));
    }
}

/// What a block of queries has so far.
struct Block<'a> {
    sizes: &'a Attention,
    /// Scores of a tile, `[QUERIES, LD]`.
    scores: Scratch,
    /// Weights of a tile in bf16, `[QUERIES, LD]`.
    weights: Scratch,
    /// Values by their weights, `[QUERIES, ld]`.
    sums: Scratch,
    ld: usize,
    /// The largest score of each query.
    largest: [f32; QUERIES],
    /// The sum of the weights of each query.
    total: [f32; QUERIES],
}

impl<'a> Block<'a> {
    fn new(sizes: &'a Attention) -> Self {
        let ld = sizes.d.next_multiple_of(LANES);
        Self {
            sizes,
            scores: Scratch::new(QUERIES * LD),
            weights: Scratch::new(QUERIES * LD / 2),
            sums: Scratch::new(QUERIES * ld),
            ld,
            largest: [0.0; QUERIES],
            total: [0.0; QUERIES],
        }
    }

    /// Turns the scores of query `i` into weights, and scales its sums to the new largest score.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(
        &mut self,
        s: S,
        i: usize,
        first: bool,
        count: usize,
        hidden: Option<*const f32>,
    ) {
        let scores = self.scores.as_mut_ptr().add(i * LD);
        let weights: *mut bf16 = self.weights.as_mut_ptr().cast::<bf16>().add(i * LD);
        let end = count.next_multiple_of(LANES);
        hide(s, scores, count, end, hidden);
        let largest = largest(s, scores, end, if first { f32::NEG_INFINITY } else { self.largest[i] });
        let scale = self.sizes.scale();
        // e^x = 2^(x log2 e)
        let power = scale * std::f32::consts::LOG2_E;
        let (by, shift) = (s.splat(power), s.splat(-largest * power));
        let (numbers, mut total) = (s.numbers(), s.splat(0.0));
        for j in (0..end).step_by(LANES) {
            let weight = power_of_two_for_bf16(numbers, numbers.mul_add(s.load(scores.add(j)), by, shift));
            s.store_first_bf16(weights.add(j), weight, LANES);
            total = s.add(total, s.load_first_bf16(weights.add(j), LANES));
        }
        let mut total = s.sum(total);
        if !first {
            let factor = ((self.largest[i] - largest) * scale).exp();
            total += self.total[i] * factor;
            if largest > self.largest[i] {
                self.multiply(s, i, factor);
            }
        }
        (self.largest[i], self.total[i]) = (largest, total);
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>(&mut self, s: S, i: usize, factor: f32) {
        let sums = self.sums.as_mut_ptr().add(i * self.ld);
        for j in (0..self.ld).step_by(LANES) {
            s.store(sums.add(j), s.mul(s.load(sums.add(j)), s.splat(factor)));
        }
    }

    /// Adds the values of a tile of keys by their weights.
    #[inline(always)]
    unsafe fn add_values<S: Simd>(
        &mut self,
        s: S,
        rows: usize,
        key: usize,
        count: usize,
        values: *const f32,
    ) {
        let Attention { m, d, .. } = *self.sizes;
        let width = S::VECS * LANES;
        for column in (0..d).step_by(width) {
            multiply_panel(
                s,
                Reduction { runs: &[0], length: count.div_ceil(2), stride: 1 },
                self.weights.as_ptr(),
                |i| i * LD / 2,
                rows,
                values.add(column * m.div_ceil(2) + key / 2 * width),
                width,
                self.sums.as_mut_ptr().add(column),
                self.ld,
                width.min(self.ld - column),
                if key == 0 { Start::Zero } else { Start::There },
            );
        }
    }

    /// The logarithm of the normaliser of query `i`.
    fn normaliser(&self, i: usize) -> f32 {
        self.largest[i] * self.sizes.scale() + self.total[i].ln()
    }

    /// Writes the output of query `i`.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&mut self, s: S, i: usize, to: *mut bf16) {
        let sums = self.sums.as_ptr().add(i * self.ld);
        let inverse = s.splat(1.0 / self.total[i]);
        for j in (0..self.sizes.d).step_by(LANES) {
            let n = LANES.min(self.sizes.d - j);
            s.store_first_bf16(to.add(j), s.mul(s.load(sums.add(j)), inverse), n);
        }
    }
}
