//! A panel of a product of pairs on processors with registers of whole tiles: 32 rows by 32 columns at a time.

use super::Start;
use crate::simd::{
    LANES, Simd,
    amx::{BLOCK, Block, SIDE, Shapes, halves},
};

/// Most pieces of the sum between two visits to the output: the panel's part of them stays in the nearest cache.
const PIECES: usize = 12;

/// `c[i][j] = start + sum_k a[i row + k] b[k][j]` for `j < columns`, each `k` a pair; see [`super::multiply_panel`].
///
/// # Safety
/// The processor has such registers; `a`, `b`, `c` and a bias are there.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    s: S,
    [row_count, columns, length]: [usize; 3],
    (a, row): (*const f32, usize),
    (b, ld_b): (*const f32, usize),
    (c, ld_c): (*mut f32, usize),
    start: Start,
) {
    debug_assert!(columns <= BLOCK);
    let mut add = prepare(s, row_count, columns, c, ld_c, start);
    let mut from = 0;
    // Pieces of the sum as long as a register's rows, or all of one length, and one with the rest.
    while from < length {
        let (steps, times) = pieces(length - from);
        for first in (0..row_count).step_by(BLOCK) {
            let shapes = Shapes { rows: halves(row_count - first), columns: halves(columns), steps };
            shapes.multiply(Block {
                left: a.add(first * row + from),
                left_row: 4 * row,
                right: b.add(from * ld_b),
                right_row: 4 * ld_b,
                runs: &[0],
                sums: c.add(first * ld_c),
                sums_row: 4 * ld_c,
                times,
                add,
            });
        }
        from += steps * times;
        add = true;
    }
}

/// Steps of a piece and the number of such pieces in a row.
fn pieces(length: usize) -> (usize, usize) {
    let pieces = length.div_ceil(SIDE);
    let (steps, pieces) =
        if length.is_multiple_of(pieces) { (length / pieces, pieces) } else { (SIDE, length / SIDE) };
    (steps, pieces.div_ceil(pieces.div_ceil(PIECES)))
}

/// Writes a bias to the sums; says whether there is something to add to.
#[inline(always)]
unsafe fn prepare<S: Simd>(
    s: S,
    rows: usize,
    columns: usize,
    c: *mut f32,
    ld_c: usize,
    start: Start,
) -> bool {
    let (row_bias, column_bias) = match start {
        Start::Zero => return false,
        Start::There => return true,
        Start::RowBias(bias) => (Some(bias), None),
        Start::ColumnBias(bias) => (None, Some(bias)),
    };
    for j in (0..columns).step_by(LANES) {
        let n = LANES.min(columns - j);
        let shared = column_bias.map_or(s.splat(0.0), |bias| s.load_first(bias.add(j), n));
        for i in 0..rows {
            let bias = row_bias.map_or(shared, |bias| s.splat(*bias.add(i)));
            s.store_first(c.add(i * ld_c + j), bias, n);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use burn::tensor::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::product::{Reduction, multiply_panel};
    use crate::simd::{Task, dispatch_pairs, dispatch_pairs_in_vectors, has_pairs};

    /// A panel of a product with distances of rows that are more than their lengths.
    struct Panel<'a> {
        sizes: [usize; 3],
        a: &'a [bf16],
        b: &'a [bf16],
        start: Start,
        c: &'a mut [f32],
    }

    const MORE: usize = 3;

    impl Task for Panel<'_> {
        #[inline(always)]
        unsafe fn run<S: Simd>(self, s: S) {
            let [rows, columns, length] = self.sizes;
            let (a, b) = (self.a.as_ptr().cast(), self.b.as_ptr().cast());
            let reduction = Reduction { runs: &[0], length, stride: 1 };
            let (c, row) = (self.c.as_mut_ptr(), length + MORE);
            multiply_panel(
                s,
                reduction,
                a,
                |i| i * row,
                rows,
                b,
                BLOCK,
                c,
                columns + MORE,
                columns,
                self.start,
            );
        }
    }

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5
    }

    proptest! {
        #[test]
        fn whole_tiles_and_vectors_give_the_sum_of_products(
            rows in 1_usize..70, columns in 1_usize..=BLOCK, length in 1_usize..400, start in 0..4,
        ) {
            if !has_pairs() {
                return Ok(());
            }
            let numbers = |count: usize, first: usize| -> Vec<bf16> {
                (first..first + count).map(|i| bf16::from_f32(number(i))).collect()
            };
            let (a, b) = (numbers(2 * rows * (length + MORE), 0), numbers(2 * length * BLOCK, 5));
            let there: Vec<f32> = (0..rows * (columns + MORE)).map(|i| number(i + 9)).collect();
            let start = match start {
                0 => Start::Zero,
                1 => Start::There,
                2 => Start::RowBias(there.as_ptr()),
                _ => Start::ColumnBias(there.as_ptr()),
            };
            let [mut tiles, mut vectors] = [there.clone(), there.clone()];
            let panel = |c| Panel { sizes: [rows, columns, length], a: &a, b: &b, start, c };
            // SAFETY: the processor has pairs. By tiles only where it has those.
            unsafe {
                dispatch_pairs(panel(&mut tiles));
                dispatch_pairs_in_vectors(panel(&mut vectors));
            }
            for (at, before) in there.iter().enumerate() {
                let (i, j) = (at / (columns + MORE), at % (columns + MORE));
                let product = |k: usize| {
                    let (a, b) = (a[2 * i * (length + MORE) + k], b[(k / 2 * BLOCK + j) * 2 + k % 2]);
                    a.to_f64() * b.to_f64()
                };
                // What lies between two rows stays as it was.
                let want = if j >= columns { f64::from(*before) } else {
                    (0..2 * length).map(product).sum::<f64>() + match start {
                        Start::Zero => 0.0,
                        Start::There => f64::from(*before),
                        Start::RowBias(_) => f64::from(there[i]),
                        Start::ColumnBias(_) => f64::from(there[j]),
                    }
                };
                for got in [tiles[at], vectors[at]] {
                    prop_assert!((f64::from(got) - want).abs() < 1e-5 * (1.0 + want.abs()), "{got} for {want}");
                }
            }
        }
    }

    #[test]
    fn a_sum_is_cut_into_pieces_that_registers_hold() {
        assert_eq!(
            [1, 16, 20, 39, 37, 160].map(pieces),
            [(1, 1), (16, 1), (10, 2), (13, 3), (16, 2), (16, 10)]
        );
        assert_eq!([256, 640, 641].map(pieces), [(16, 8), (16, 10), (16, 10)]);
    }
}
