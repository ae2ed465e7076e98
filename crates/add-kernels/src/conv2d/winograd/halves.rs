//! The image of a convolution by tiles, as its tiles are read.

use super::PLACES;
use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::product::Number;
use crate::simd::{LANES, Simd};

/// An image with its zeros, each row as its even columns, then its odd ones: those of neighbouring tiles lie side by side.
pub(super) struct Halves {
    values: Scratch,
    samples: usize,
    pub(super) channels: usize,
    /// Tiles: rows, columns.
    tiles: [usize; 2],
}

impl Halves {
    /// Splits `[samples, channels, size]` with `padding` zeros before it, and so many behind it that there are `tiles`.
    pub(super) fn new<T: Number>(
        image: &[T],
        samples: usize,
        channels: usize,
        [height, width]: [usize; 2],
        [above, left]: [usize; 2],
        tiles: [usize; 2],
    ) -> Self {
        let (rows, half) = (2 * tiles[0] + 2, tiles[1] + 1);
        let plane = rows * 2 * half;
        // The last vectors reach past the end.
        let mut values = Scratch::new(samples * channels * plane + 2 * LANES);
        let end = values.len();
        values[end - 2 * LANES..].fill(0.0);
        let out = SharedMut::new(values.as_mut_ptr());
        parallel_ranges(samples * channels, plane / 4, |range| {
            for i in range {
                // SAFETY: every plane belongs to one task.
                let to = unsafe { std::slice::from_raw_parts_mut(out.at(i * plane), plane) };
                to.fill(0.0);
                for y in 0..height {
                    let from = &image[(i * height + y) * width..][..width];
                    let to = &mut to[(above + y) * 2 * half..][..2 * half];
                    let (even, odd) = to.split_at_mut(half);
                    // Column x of the image is column x + left with the zeros.
                    let (first, second) = if left % 2 == 0 { (even, odd) } else { (odd, even) };
                    let (a, b) = (left / 2, left.div_ceil(2));
                    for (to, from) in first[a..].iter_mut().zip(from.iter().step_by(2)) {
                        *to = from.to_f32();
                    }
                    for (to, from) in second[b..].iter_mut().zip(from.iter().skip(1).step_by(2)) {
                        *to = from.to_f32();
                    }
                }
            }
        });
        Self { values, samples, channels, tiles }
    }

    /// Even columns of a row, and as many odd ones.
    #[inline(always)]
    pub(super) fn half(&self) -> usize {
        self.tiles[1] + 1
    }

    /// The first number of a tile; the odd columns of its row follow after [`half`](Self::half), the next row after twice
    /// as many.
    #[inline(always)]
    pub(super) fn tile(&self, sample: usize, channel: usize, row: usize, column: usize) -> *const f32 {
        let plane = (2 * self.tiles[0] + 2) * 2 * self.half();
        self.values[(sample * self.channels + channel) * plane + 4 * row * self.half() + column..].as_ptr()
    }

    /// `B^T d B` of sixteen neighbouring tiles from `from` on.
    #[inline(always)]
    pub(super) unsafe fn transformed<S: Simd>(&self, s: S, from: *const f32) -> [S::V; PLACES] {
        let mut lines = [[s.splat(0.0); 4]; 4];
        for i in 0..4 {
            let (even, odd) = (from.add(2 * i * self.half()), from.add((2 * i + 1) * self.half()));
            let line = [s.load(even), s.load(odd), s.load(even.add(1)), s.load(odd.add(1))];
            lines[i] = differences(s, line);
        }
        let mut places = [s.splat(0.0); PLACES];
        for j in 0..4 {
            let column = differences(s, [lines[0][j], lines[1][j], lines[2][j], lines[3][j]]);
            for i in 0..4 {
                places[4 * i + j] = column[i];
            }
        }
        places
    }

    /// Tiles of all samples.
    pub(super) fn tiles(&self) -> usize {
        self.samples * self.tiles[0] * self.tiles[1]
    }

    /// The tile that is number `tile`, and how many follow it in its row, up to `most` of them.
    #[inline(always)]
    pub(super) fn run(&self, tile: usize, most: usize) -> Run {
        let [rows, columns] = self.tiles;
        let (row, column) = (tile / columns, tile % columns);
        Run { sample: row / rows, row: row % rows, column, n: LANES.min(columns - column).min(most) }
    }
}

/// Neighbouring tiles of one row.
pub(super) struct Run {
    pub(super) sample: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) n: usize,
}

/// `B^T` times a column: `a - c, b + c, c - b, b - d`.
#[inline(always)]
fn differences<S: Simd>(s: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 4] {
    [s.sub(a, c), s.add(b, c), s.sub(c, b), s.sub(b, d)]
}
