//! The product with a right factor of more columns than the left one has rows, such as a wide layer of few tokens: each of its
//! columns lies in one piece, as a layer's weights do, and is read where it is; the smaller factor is packed. So the tiles are those
//! of the transposed product, and are turned when they are written.

use super::{Matrix, Number, Reduction, Right, STEPS, Start, multiply_panel, panel_width, tile_rows};
use crate::parallel::{Scratch, SharedMut, parallel, range_length};
use crate::simd::{LANES, Simd, Task, gelu};

/// `c = a b^T + bias` with `a: [m, k]` and `b: [n, k]`, whose rows are read one number after the other, and `c: [m, n]` row after
/// row, over all threads; `bias` has `n` numbers. In bf16 `k` counts pairs.
///
/// # Safety
/// The processor has products of such numbers, the factors are readable, and `c` is writable.
pub(super) unsafe fn multiply_turned<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    bias: Option<&[f32]>,
    c: SharedMut<T>,
) {
    turned([m, n, k], a, b, bias, None, c);
}

/// `c = value gelu(gate)` of the halves of `a b^T + bias`, with `b: [2 n, k]` and `2 n` numbers of `bias`; else as
/// [`multiply_turned`]. Nothing is rounded in between.
///
/// # Safety
/// As there.
pub(crate) unsafe fn multiply_gated<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    bias: Option<&[f32]>,
    c: SharedMut<T>,
) {
    turned([m, n, k], a, b, bias, Some(n), c);
}

unsafe fn turned<T: Number>(
    [m, n, k]: [usize; 3],
    a: Matrix,
    b: Matrix,
    bias: Option<&[f32]>,
    gates: Option<usize>,
    c: SharedMut<T>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let a = a.transposed();
    let right = Right::new(a, k, m);
    let products = if gates.is_some() { 2 * k } else { k };
    in_stripes(n, m, products, |first, rows| {
        let stripe = Turned { m, n, k, a, b, first, rows, right: &right, c, bias, gates };
        // SAFETY: the columns of the tasks are disjoint.
        unsafe { T::dispatch(stripe) };
    });
}

/// Cuts the rows of a product into tasks: `task(first, rows)`.
pub(super) fn in_stripes(m: usize, n: usize, k: usize, task: impl Fn(usize, usize) + Sync + Send) {
    let height = tile_rows();
    let blocks = m.div_ceil(height);
    let length = range_length(blocks, n.div_ceil(panel_width()) * height * k * panel_width() / LANES);
    parallel(blocks.div_ceil(length), |i| {
        let first = i * length * height;
        task(first, (length * height).min(m - first));
    });
}

/// Some columns of [`turned`].
struct Turned<'a, T> {
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    first: usize,
    rows: usize,
    right: &'a Right,
    c: SharedMut<T>,
    bias: Option<&'a [f32]>,
    /// How many rows of `b` further the gates of the columns begin, where there are gates.
    gates: Option<usize>,
}

/// Rows that stay in the second cache while all panels go by.
const ROWS: usize = 64;

impl<T: Number> Task for Turned<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { m, n, k, a, b, first, rows, right, c, bias, gates } = self;
        let width = S::VECS * LANES;
        // Whole blocks of sixteen rows are turned.
        let mut sums = Scratch::new(ROWS * width);
        let mut gate_sums = Scratch::new(gates.map_or(0, |_| ROWS * width));
        let mut turned = [[0.0; LANES]; LANES];
        for (row, panel) in by_groups(first..first + rows, ROWS, m.div_ceil(width), k * width) {
            let count = ROWS.min(first + rows - row);
            let column = panel * width;
            let columns = width.min(m - column);
            let right = right.panel(a, k, width, panel);
            let start = |row: usize| bias.map_or(Start::Zero, |bias| Start::RowBias(bias[row..].as_ptr()));
            let left = b.data.add(row * b.row);
            sum_panel(s, left, b.row, count, right, k, sums.as_mut_ptr(), columns, start(row));
            if let Some(gates) = gates {
                let (left, to) = (left.add(gates * b.row), gate_sums.as_mut_ptr());
                sum_panel(s, left, b.row, count, right, k, to, columns, start(row + gates));
                gate(s.numbers(), &mut sums[..count * width], &gate_sums);
            }
            for i in (0..count).step_by(LANES) {
                for j in (0..columns).step_by(LANES) {
                    let (from, to) = (sums.as_ptr().add(i * width + j), turned.as_mut_ptr().cast());
                    s.transpose(from, width, to, LANES);
                    for (t, numbers) in turned.iter().enumerate().take(columns - j) {
                        let to = c.at((column + j + t) * n + row + i);
                        T::store_first(s, to, s.load(numbers.as_ptr()), LANES.min(count - i));
                    }
                }
            }
        }
    }
}

/// `value gelu(gate)` of whole vectors, in place of the values.
#[inline(always)]
unsafe fn gate<S: Simd>(s: S, values: &mut [f32], gates: &[f32]) {
    for (value, gate) in values.chunks_exact_mut(LANES).zip(gates.chunks_exact(LANES)) {
        let gate = gelu(s, s.load(gate.as_ptr()));
        s.store(value.as_mut_ptr(), s.mul(s.load(value.as_ptr()), gate));
    }
}

/// Numbers of panels that stay in the second cache while all rows go by.
const GROUP: usize = 1 << 18;

/// The first row of each block of `height` rows with each of `panels`, of `size` numbers each: as many panels as the second cache
/// holds go by for one block, then for the next.
#[inline(always)]
pub(super) fn by_groups(
    rows: std::ops::Range<usize>,
    height: usize,
    panels: usize,
    size: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let group = (GROUP / size.max(1)).max(1);
    (0..panels).step_by(group).flat_map(move |from| {
        let group = from..(from + group).min(panels);
        rows.clone().step_by(height).flat_map(move |row| group.clone().map(move |panel| (row, panel)))
    })
}

/// `sums = start + left right` of some rows and one panel, `[rows, panel_width()]`.
#[inline(always)]
pub(super) unsafe fn sum_panel<S: Simd>(
    s: S,
    left: *const f32,
    row: usize,
    rows: usize,
    (right, ld_right): (*const f32, usize),
    k: usize,
    sums: *mut f32,
    columns: usize,
    start: Start,
) {
    let mut from = 0;
    loop {
        let steps = STEPS.min(k - from);
        multiply_panel(
            s,
            Reduction { runs: &[0], length: steps, stride: 1 },
            left.add(from),
            |i| i * row,
            rows,
            right.add(from * ld_right),
            ld_right,
            sums,
            S::VECS * LANES,
            columns,
            if from > 0 { Start::There } else { start },
        );
        from += steps;
        if from >= k {
            break;
        }
    }
}
