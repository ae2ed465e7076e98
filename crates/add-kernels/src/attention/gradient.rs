//! The backward pass: tiles of scores, computed again.

use super::rows::score;
use super::{Attention, Heads};
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Matrix, Reduction, Start, multiply_panel, pack, packed_len, tile_rows};
use crate::simd::{LANES, Simd, Task, dispatch, exp};

/// Queries of a tile.
const ROWS: usize = 64;
/// Keys of a tile.
const KEYS: usize = 512;
/// Tasks that few heads are cut into. The sums for keys and values follow these cuts, so that their number must not depend
/// on the threads.
const TASKS: usize = 8;

/// Runs of queries per head, for blocks of `rows` queries.
pub(super) fn runs(heads: usize, queries: usize, rows: usize) -> usize {
    TASKS.div_ceil(heads.max(1)).clamp(1, queries.div_ceil(rows).max(1))
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, T = f32> {
    pub(super) q: Heads<T>,
    pub(super) k: Heads<T>,
    pub(super) v: Heads<T>,
    pub(super) y: Heads<T>,
    pub(super) dy: Heads<T>,
    pub(super) normalisers: &'a [f32],
}

/// Writes the gradients of queries, keys and values.
pub(super) fn backward(sizes: &Attention, inputs: Inputs<'_>, [dq, dk, dv]: [Heads; 3]) {
    let Attention { n, m, d, .. } = *sizes;
    let heads = sizes.heads();
    let splits = runs(heads, n, ROWS);
    let run = n.div_ceil(splits).next_multiple_of(tile_rows());
    let cost = run * m * (5 * d + 48) / LANES;
    if splits == 1 {
        parallel_ranges(heads, cost, |range| {
            for head in range {
                let to = [dq.row_of(head), dk.row_of(head), dv.row_of(head)];
                // SAFETY: the heads are disjoint.
                unsafe { dispatch(Tiles { sizes, inputs, head, queries: 0..n, to }) };
            }
        });
        return;
    }
    // Few heads: each run of queries has its own sums for keys and values, added in the order of the runs.
    let mut parts = Scratch::new(heads * splits * 2 * m * d);
    let shared = SharedMut::new(parts.as_mut_ptr());
    parallel(heads * splits, |item| {
        let (head, part) = (item / splits, item % splits);
        // SAFETY: every item has its own part.
        let own = |which: usize| unsafe { shared.at((2 * item + which) * m * d) };
        let to = [dq.row_of(head), (own(0), d), (own(1), d)];
        let queries = (part * run).min(n)..((part + 1) * run).min(n);
        unsafe { dispatch(Tiles { sizes, inputs, head, queries, to }) };
    });
    parallel_ranges(heads * m, splits * d / 4, |range| {
        for row in range {
            let (head, token) = (row / m, row % m);
            for (which, to) in [dk, dv].into_iter().enumerate() {
                // SAFETY: every row belongs to one task.
                let to = unsafe { std::slice::from_raw_parts_mut(to.row(head, token), d) };
                to.fill(0.0);
                for part in 0..splits {
                    let from = ((head * splits + part) * 2 + which) * m * d + token * d;
                    for (to, from) in to.iter_mut().zip(&parts[from..from + d]) {
                        *to += from;
                    }
                }
            }
        }
    });
}

impl Heads {
    /// First row of a head, and the distance to the next.
    fn row_of(self, head: usize) -> (*mut f32, usize) {
        // SAFETY: the caller counts the heads; an offset of an empty tensor is not read.
        (unsafe { self.row(head, 0) }, self.step())
    }
}

/// Some queries of one head against all of its keys.
struct Tiles<'a> {
    sizes: &'a Attention,
    inputs: Inputs<'a>,
    head: usize,
    queries: std::ops::Range<usize>,
    /// First row and distance of rows of the gradients of queries, keys and values.
    to: [(*mut f32, usize); 3],
}

impl Task for Tiles<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { sizes, inputs: Inputs { q, k, v, y, dy, normalisers }, head, queries, to } = self;
        let Attention { n, m, d, .. } = *sizes;
        // The products with turned tiles go down its columns: rows a power of two apart would share few places of the cache.
        let ld = m.min(KEYS).next_multiple_of(LANES) + LANES;
        let scratch = |len| Scratch::new(len);
        let mut keys_turned = scratch(packed_len(d, m.min(KEYS)));
        let mut values_turned = scratch(packed_len(d, m.min(KEYS)));
        let mut keys = scratch(packed_len(m.min(KEYS), d));
        let mut block_q = scratch(packed_len(ROWS, d));
        let mut block_dy = scratch(packed_len(ROWS, d));
        let (mut weights, mut slopes) = (scratch(ROWS * ld), scratch(ROWS * ld));
        let mut dots = scratch(n);
        for i in queries.clone() {
            dots[i] = dot(s, y.row(head, i), dy.row(head, i), d);
        }
        let [dq, dk, dv] = to;
        if queries.is_empty() {
            for (to, ld) in [dk, dv] {
                for i in 0..m {
                    std::slice::from_raw_parts_mut(to.add(i * ld), d).fill(0.0);
                }
            }
        }
        for first_key in (0..m).step_by(KEYS) {
            let count = KEYS.min(m - first_key);
            let (k_rows, v_rows) = (k.row(head, first_key).cast_const(), v.row(head, first_key).cast_const());
            pack(s, Matrix { data: k_rows, row: 1, column: k.step() }, d, count, keys_turned.as_mut_ptr());
            pack(s, Matrix { data: v_rows, row: 1, column: v.step() }, d, count, values_turned.as_mut_ptr());
            pack(s, Matrix { data: k_rows, row: k.step(), column: 1 }, count, d, keys.as_mut_ptr());
            for first in queries.clone().step_by(ROWS) {
                let rows = ROWS.min(queries.end - first);
                let (q_rows, dy_rows) = (q.row(head, first).cast_const(), dy.row(head, first).cast_const());
                let (p, ds) = (weights.as_mut_ptr(), slopes.as_mut_ptr());
                score(s, q_rows, q.step(), rows, keys_turned.as_ptr(), d, count, p, ld);
                score(s, dy_rows, dy.step(), rows, values_turned.as_ptr(), d, count, ds, ld);
                for i in 0..rows {
                    let query = first + i;
                    let hidden = sizes.hidden.as_ref().map(|h| h[query * m + first_key..][..count].as_ptr());
                    let normaliser = normalisers[head * n + query];
                    let row = [p.add(i * ld), ds.add(i * ld)];
                    weights_and_slopes(s, row, count, sizes.scale(), hidden, normaliser, dots[query]);
                }
                pack(s, Matrix { data: q_rows, row: q.step(), column: 1 }, rows, d, block_q.as_mut_ptr());
                pack(s, Matrix { data: dy_rows, row: dy.step(), column: 1 }, rows, d, block_dy.as_mut_ptr());
                let start = if first == queries.start { Start::Zero } else { Start::There };
                let left = |data: *mut f32| Matrix { data, row: 1, column: ld };
                let to_keys = |(p, ld): (*mut f32, usize)| (p.add(first_key * ld), ld);
                add_product(s, left(p), count, rows, block_dy.as_ptr(), d, to_keys(dv), start);
                add_product(s, left(ds), count, rows, block_q.as_ptr(), d, to_keys(dk), start);
                let start = if first_key == 0 { Start::Zero } else { Start::There };
                let left = Matrix { data: ds, row: ld, column: 1 };
                add_product(s, left, rows, count, keys.as_ptr(), d, (dq.0.add(first * dq.1), dq.1), start);
            }
        }
    }
}

/// `to = start + a b` with `a: [m, k]` and a packed `b: [k, d]`.
#[inline(always)]
pub(super) unsafe fn add_product<S: Simd>(
    s: S,
    a: Matrix,
    m: usize,
    k: usize,
    b: *const f32,
    d: usize,
    (to, ld): (*mut f32, usize),
    start: Start,
) {
    let width = S::VECS * LANES;
    let mut column = 0;
    while column < d {
        multiply_panel(
            s,
            Reduction { runs: &[0], length: k, stride: a.column },
            a.data,
            |i| i * a.row,
            m,
            b.add(column * k),
            width,
            to.add(column),
            ld,
            width.min(d - column),
            start,
        );
        column += width;
    }
}

/// From scores and `dy v^T` to the weights `P` and the gradient of the scores before scaling.
#[inline(always)]
unsafe fn weights_and_slopes<S: Simd>(
    s: S,
    [p, ds]: [*mut f32; 2],
    count: usize,
    scale: f32,
    hidden: Option<*const f32>,
    normaliser: f32,
    dot: f32,
) {
    let (scale, normaliser, dot) = (s.splat(scale), s.splat(-normaliser), s.splat(dot));
    let mut j = 0;
    while j < count {
        let mut score = s.mul_add(s.load(p.add(j)), scale, normaliser);
        if let Some(hidden) = hidden {
            score = s.add(score, s.load_first(hidden.add(j), LANES.min(count - j)));
        }
        let weight = exp(s, score);
        s.store(p.add(j), weight);
        s.store(ds.add(j), s.mul(s.mul(weight, scale), s.sub(s.load(ds.add(j)), dot)));
        j += LANES;
    }
}

#[inline(always)]
unsafe fn dot<S: Simd>(s: S, a: *const f32, b: *const f32, n: usize) -> f32 {
    let mut sum = s.splat(0.0);
    let mut i = 0;
    while i < n {
        let count = LANES.min(n - i);
        sum = s.mul_add(s.load_first(a.add(i), count), s.load_first(b.add(i), count), sum);
        i += LANES;
    }
    s.sum(sum)
}
