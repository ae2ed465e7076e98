//! The backward pass in bf16, on processors that multiply pairs of such numbers and sum them in f32.
//!
//! A block of queries meets the keys in tiles, whose scores are computed again. The weights `P` and the gradients of the scores
//! `dS` are computed in f32 and rounded to bf16, as factors of products. Gradients are summed in f32 and rounded once.

use burn::tensor::bf16;

use super::gradient::{Inputs, add_product, runs};
use super::pairs::{KEYS, LD, QUERIES, pack_tokens};
use super::rows::{hide, score};
use super::{Attention, Heads};
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Matrix, Start, pack, packed_len, turn_columns};
use crate::simd::{LANES, Simd, Task, dispatch, dispatch_pairs, power_of_two_for_bf16};

/// Distance of two rows of a turned tile, in pairs of queries.
const LD_TURNED: usize = QUERIES / 2 + LANES;

/// Writes the gradients of queries, keys and values.
///
/// # Safety
/// The processor has pairs; `D`, the strides of all heads and their first offsets are even.
pub(super) unsafe fn backward(sizes: &Attention, inputs: Inputs<bf16>, [dq, dk, dv]: [Heads<bf16>; 3]) {
    let Attention { n, m, d, .. } = *sizes;
    let heads = sizes.heads();
    let splits = runs(heads, n, QUERIES);
    let run = n.div_ceil(splits).next_multiple_of(QUERIES);
    let ld = d.next_multiple_of(LANES);
    // Each run of queries has its own sums for keys and values, added in the order of the runs.
    let size = m * ld;
    let mut parts = Scratch::new(heads * splits * 2 * size);
    let shared = SharedMut::new(parts.as_mut_ptr());
    parallel(heads * splits, |item| {
        let (head, part) = (item / splits, item % splits);
        let queries = (part * run).min(n)..((part + 1) * run).min(n);
        // SAFETY: every item has its own part, and its own queries.
        unsafe {
            let to = [2 * item, 2 * item + 1].map(|part| shared.at(part * size));
            dispatch_pairs(Tiles { sizes, inputs, head, queries, dq, to });
        }
    });
    parallel_ranges(heads * m, splits * ld / LANES, |range| {
        let sum = Sum { parts: &parts, rows: range, splits, m, d, to: [dk, dv] };
        // SAFETY: every row belongs to one task.
        unsafe { dispatch(sum) };
    });
}

/// Adds the parts of some rows of all heads' keys and values.
struct Sum<'a> {
    /// `[heads, splits, 2, m, d]`, the rows filled up to whole vectors.
    parts: &'a [f32],
    rows: std::ops::Range<usize>,
    splits: usize,
    m: usize,
    d: usize,
    to: [Heads<bf16>; 2],
}

impl Task for Sum<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { parts, rows, splits, m, d, to } = self;
        let ld = d.next_multiple_of(LANES);
        for row in rows {
            let (head, token) = (row / m, row % m);
            for (which, to) in to.iter().enumerate() {
                let part =
                    |part: usize| parts.as_ptr().add((((head * splits + part) * 2 + which) * m + token) * ld);
                for j in (0..d).step_by(LANES) {
                    let mut sum = s.load(part(0).add(j));
                    for i in 1..splits {
                        sum = s.add(sum, s.load(part(i).add(j)));
                    }
                    s.store_first_bf16(to.row(head, token).add(j), sum, LANES.min(d - j));
                }
            }
        }
    }
}

/// Some queries of one head against all of its keys.
struct Tiles<'a> {
    sizes: &'a Attention,
    inputs: Inputs<'a, bf16>,
    head: usize,
    queries: std::ops::Range<usize>,
    dq: Heads<bf16>,
    /// Sums for keys and values, `[m, d]`, the rows filled up to whole vectors.
    to: [*mut f32; 2],
}

impl Task for Tiles<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { sizes, inputs: Inputs { q, k, v, y, dy, normalisers }, head, queries, dq, to } = self;
        let Attention { n, m, d, .. } = *sizes;
        let ld = d.next_multiple_of(LANES);
        if queries.is_empty() {
            for to in to {
                std::slice::from_raw_parts_mut(to, m * ld).fill(0.0);
            }
            return;
        }
        let keys_turned = turned(s, k, head, [m, d]);
        let values_turned = turned(s, v, head, [m, d]);
        // A tile of keys after the other.
        let (mut keys, width) = (Scratch::new(packed_len(m.div_ceil(2), d)), packed_len(1, d));
        for first in (0..m).step_by(KEYS) {
            let count = KEYS.min(m - first);
            pack_tokens(s, k.row(head, first), k.step(), count, d, keys.as_mut_ptr().add(first / 2 * width));
        }
        let [mut block_q, mut block_dy] = [(), ()].map(|()| Scratch::new(packed_len(QUERIES / 2, d)));
        let mut tile = Tile::new();
        let mut sums = Scratch::new(QUERIES * ld);
        for first in queries.clone().step_by(QUERIES) {
            let rows = QUERIES.min(queries.end - first);
            pack_tokens(s, q.row(head, first), q.step(), rows, d, block_q.as_mut_ptr());
            pack_tokens(s, dy.row(head, first), dy.step(), rows, d, block_dy.as_mut_ptr());
            for key in (0..m).step_by(KEYS) {
                let count = KEYS.min(m - key);
                let products = [
                    (q, &keys_turned, tile.scores.as_mut_ptr()),
                    (dy, &values_turned, tile.products.as_mut_ptr()),
                ];
                for (heads, turned, to) in products {
                    let (from, step) = (heads.row(head, first).cast(), heads.step() / 2);
                    let turned = turned.as_ptr().add(key * (d / 2));
                    score(s, from, step, rows, turned, d / 2, count, to, LD);
                }
                for i in 0..rows {
                    let query = first + i;
                    let hidden = sizes.hidden.as_ref().map(|h| h[query * m + key..][..count].as_ptr());
                    let dot = dot(s, y.row(head, query), dy.row(head, query), d);
                    tile.weigh(s, i, count, sizes.scale(), hidden, normalisers[head * n + query], dot);
                }
                let start = if key == 0 { Start::Zero } else { Start::There };
                let slopes = Matrix { data: tile.slopes.as_ptr(), row: LD / 2, column: 1 };
                let packed = keys.as_ptr().add(key / 2 * width);
                add_product(s, slopes, rows, count.div_ceil(2), packed, d, (sums.as_mut_ptr(), ld), start);
                let start = if first == queries.start { Start::Zero } else { Start::There };
                let [dk, dv] = to.map(|to| (to.add(key * ld), ld));
                let factors = [(&tile.weights, &block_dy, dv), (&tile.slopes, &block_q, dk)];
                for (left, right, to) in factors {
                    for column in (0..count).step_by(LANES) {
                        let (from, columns) =
                            (left.as_ptr().cast::<bf16>().add(column), LANES.min(count - column));
                        let turned = tile.turned.as_mut_ptr().add(column * LD_TURNED);
                        turn_columns(s, from, [LD, rows], columns, turned, LD_TURNED);
                    }
                    let left = Matrix { data: tile.turned.as_ptr(), row: LD_TURNED, column: 1 };
                    add_product(s, left, count, rows.div_ceil(2), right.as_ptr(), d, to, start);
                }
            }
            for i in 0..rows {
                for j in (0..d).step_by(LANES) {
                    let sum = s.load(sums.as_ptr().add(i * ld + j));
                    s.store_first_bf16(dq.row(head, first + i).add(j), sum, LANES.min(d - j));
                }
            }
        }
    }
}

/// The tokens `[m, d]` of a head as the right factor of scores, in pairs.
#[inline(always)]
unsafe fn turned<S: Simd>(s: S, heads: Heads<bf16>, head: usize, [m, d]: [usize; 2]) -> Scratch {
    let mut panels = Scratch::new(packed_len(d / 2, m));
    let rows = Matrix { data: heads.row(head, 0).cast(), row: 1, column: heads.step() / 2 };
    pack(s, rows, d / 2, m, panels.as_mut_ptr());
    panels
}

/// What a block of queries and a tile of keys have in common; rows are those of queries, `LD` apart.
struct Tile {
    /// Products of queries and keys.
    scores: Scratch,
    /// `dy v^T`.
    products: Scratch,
    /// Weights in bf16.
    weights: Scratch,
    /// Gradients of the scores in bf16.
    slopes: Scratch,
    /// One of these two with rows of keys, in pairs of queries.
    turned: Scratch,
}

impl Tile {
    fn new() -> Self {
        let [scores, products] = [(), ()].map(|()| Scratch::new(QUERIES * LD));
        let [weights, slopes] = [(), ()].map(|()| Scratch::new(QUERIES * LD / 2));
        Self { scores, products, weights, slopes, turned: Scratch::new(KEYS * LD_TURNED) }
    }

    /// From the scores of query `i` and its `dy v^T` to its weights and the gradients of its scores before scaling.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(
        &mut self,
        s: S,
        i: usize,
        count: usize,
        scale: f32,
        hidden: Option<*const f32>,
        normaliser: f32,
        dot: f32,
    ) {
        let (scores, products) = (self.scores.as_mut_ptr().add(i * LD), self.products.as_ptr().add(i * LD));
        let [weights, slopes] =
            [&mut self.weights, &mut self.slopes].map(|to| to.as_mut_ptr().cast::<bf16>().add(i * LD));
        let end = count.next_multiple_of(LANES);
        hide(s, scores, count, end, hidden);
        // e^x = 2^(x log2 e)
        let (by, shift) =
            (s.splat(scale * std::f32::consts::LOG2_E), s.splat(-normaliser * std::f32::consts::LOG2_E));
        let (numbers, scale, dot) = (s.numbers(), s.splat(scale), s.splat(dot));
        for j in (0..end).step_by(LANES) {
            let weight = power_of_two_for_bf16(numbers, numbers.mul_add(s.load(scores.add(j)), by, shift));
            let product = s.load_first(products.add(j), LANES.min(count - j));
            s.store_first_bf16(weights.add(j), weight, LANES);
            s.store_first_bf16(slopes.add(j), s.mul(s.mul(weight, scale), s.sub(product, dot)), LANES);
        }
    }
}

/// The sum of the products of two rows.
#[inline(always)]
unsafe fn dot<S: Simd>(s: S, a: *const bf16, b: *const bf16, n: usize) -> f32 {
    let (numbers, mut sum) = (s.numbers(), s.splat(0.0));
    for i in (0..n).step_by(LANES) {
        let count = LANES.min(n - i);
        sum = numbers.mul_add(s.load_first_bf16(a.add(i), count), s.load_first_bf16(b.add(i), count), sum);
    }
    s.sum(sum)
}
