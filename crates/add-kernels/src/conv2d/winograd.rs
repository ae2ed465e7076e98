//! Windows of 3x3 and stride 1 with 16 multiplications where the sum over the window takes 36.
//!
//! Lavin and Gray 2016, `F(2x2, 3x3)`: a tile of 4x4 pixels `d` gives 2x2 pixels of the output,
//!
//! `Y = A^T [sum_c (G w G^T) * (B^T d B)] A`, with `*` element by element and
//!
//! ```text
//!       1  0 -1  0         1    0    0
//! B^T = 0  1  1  0    G = 1/2  1/2  1/2    A^T = 1  1  1  0
//!       0 -1  1  0        1/2 -1/2  1/2          0  1 -1 -1
//!       0  1  0 -1         0    0    1
//! ```
//!
//! so for each of the 16 places in a tile there is one product of matrices: transformed weights `[C_out, C_in]` by transformed
//! tiles `[C_in, tiles]`. A task transforms the tiles of a few panels, multiplies, and transforms back, so that the
//! transformed tiles never exist as a whole.

mod gradient;

pub(super) use gradient::WinogradGradient;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Reduction, Start, multiply_panel, panel_width, tile_rows};
use crate::simd::{LANES, Simd, Task, dispatch};

static ALLOWED: AtomicBool = AtomicBool::new(true);

/// Whether 3x3 convolutions of this process may take Winograd's tiles from now on; without them they take twice the time.
pub fn allow_winograd(allowed: bool) {
    ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether 3x3 convolutions may take Winograd's tiles.
pub fn winograd_is_allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// Places in a tile.
const PLACES: usize = 16;
/// Output channels whose transformed weights exist at once.
const CHANNELS: usize = 320;
/// Output channels that are transformed back at once.
const ROWS: usize = 64;
/// Most panels of one task.
const PANELS: usize = 4;

/// `out[s, i, y, x] = bias[i] + sum_{c, u, v} w[i, c, u, v] image[s, c, y + u - p, x + v - p]`.
#[derive(Clone, Copy)]
pub(super) struct Winograd<'a> {
    /// `[samples, channels, size]`.
    pub(super) image: &'a [f32],
    pub(super) samples: usize,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// `p`, for rows and columns: zeros before the image.
    pub(super) padding: [usize; 2],
    /// Nine numbers of the window for each pair of channels.
    pub(super) weights: &'a [f32],
    /// Distances in `weights` of two output channels and of two input channels.
    pub(super) steps: [usize; 2],
    /// Whether the window is turned around.
    pub(super) turned: bool,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) rows: usize,
    /// Output pixels: rows, columns.
    pub(super) grid: [usize; 2],
    /// `[samples, rows, grid]`.
    pub(super) out: SharedMut,
}

impl Winograd<'_> {
    /// Whether it pays: pixels and channels must share the transforms, and rows fill half a vector. Samples do not count, so
    /// that a picture's numbers are the same alone and among others.
    pub(super) fn pays(channels: usize, rows: usize, grid: [usize; 2]) -> bool {
        channels.min(rows) >= 32 && grid[0] * grid[1] >= 225 && grid[1] >= LANES - 1
    }

    pub(super) fn run(self) {
        let tiles = self.grid.map(|side| side.div_ceil(2));
        let image = Halves::new(self.image, self.samples, self.channels, self.size, self.padding, tiles);
        let panels = image.tiles().div_ceil(panel_width());
        let run = panels.div_ceil(2 * rayon::current_num_threads()).clamp(1, PANELS);
        for first_row in (0..self.rows).step_by(CHANNELS) {
            let rows = CHANNELS.min(self.rows - first_row);
            let weights = self.transformed(first_row, rows);
            parallel(panels.div_ceil(run), |task| {
                let first = task * run * panel_width();
                let count = (run * panel_width()).min(image.tiles() - first);
                let piece =
                    Piece { of: self, image: &image, weights: &weights, first_row, rows, first, count };
                // SAFETY: the caller described memory that is there, and the tiles of the tasks are disjoint.
                unsafe { dispatch(piece) };
            });
        }
    }

    /// `G w G^T` of some output channels: `[16, rows, channels]`.
    fn transformed(&self, first_row: usize, rows: usize) -> Scratch {
        let mut all = Scratch::new(PLACES * rows * self.channels);
        let out = SharedMut::new(all.as_mut_ptr());
        parallel_ranges(rows, 4 * self.channels, |range| {
            // SAFETY: every row belongs to one task.
            unsafe { dispatch(Weights { of: *self, first_row, rows, out, range }) };
        });
        all
    }
}

/// `G w G^T` of some rows.
struct Weights<'a> {
    of: Winograd<'a>,
    first_row: usize,
    rows: usize,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for Weights<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { of, first_row, rows, out, range } = self;
        for row in range {
            let mut c = 0;
            while c < of.channels {
                let n = LANES.min(of.channels - c);
                let mut offsets = [0; LANES];
                for (i, offset) in offsets.iter_mut().enumerate() {
                    *offset = (i.min(n - 1) * of.steps[1]) as i32;
                }
                let window = of.weights.as_ptr().add((first_row + row) * of.steps[0] + c * of.steps[1]);
                let mut lines = [[s.splat(0.0); 4]; 3];
                for i in 0..3 {
                    let mut line = [s.splat(0.0); 3];
                    for j in 0..3 {
                        let tap = if of.turned { 8 - (3 * i + j) } else { 3 * i + j };
                        line[j] = s.gather(window.add(tap), &offsets);
                    }
                    lines[i] = expand(s, line);
                }
                for j in 0..4 {
                    let column = expand(s, [lines[0][j], lines[1][j], lines[2][j]]);
                    for i in 0..4 {
                        s.store_first(out.at(((4 * i + j) * rows + row) * of.channels + c), column[i], n);
                    }
                }
                c += n;
            }
        }
    }
}

/// `G` times a column: `g, (g + h + k) / 2, (g - h + k) / 2, k`.
#[inline(always)]
fn expand<S: Simd>(s: S, [g, h, k]: [S::V; 3]) -> [S::V; 4] {
    let half = s.splat(0.5);
    let (ends, middle) = (s.mul(s.add(g, k), half), s.mul(h, half));
    [g, s.add(ends, middle), s.sub(ends, middle), k]
}

/// `B^T` times a column: `a - c, b + c, c - b, b - d`.
#[inline(always)]
fn differences<S: Simd>(s: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 4] {
    [s.sub(a, c), s.add(b, c), s.sub(c, b), s.sub(b, d)]
}

/// `A^T` times a column: `a + b + c, b - c - d`.
#[inline(always)]
fn sums<S: Simd>(s: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 2] {
    [s.add(s.add(a, b), c), s.sub(s.sub(b, c), d)]
}

/// An image with its zeros, each row as its even columns, then its odd ones: those of neighbouring tiles lie side by side.
struct Halves {
    values: Scratch,
    samples: usize,
    channels: usize,
    /// Tiles: rows, columns.
    tiles: [usize; 2],
}

impl Halves {
    /// Splits `[samples, channels, size]` with `padding` zeros before it, and so many behind it that there are `tiles`.
    fn new(
        image: &[f32],
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
                        *to = *from;
                    }
                    for (to, from) in second[b..].iter_mut().zip(from.iter().skip(1).step_by(2)) {
                        *to = *from;
                    }
                }
            }
        });
        Self { values, samples, channels, tiles }
    }

    /// Even columns of a row, and as many odd ones.
    #[inline(always)]
    fn half(&self) -> usize {
        self.tiles[1] + 1
    }

    /// The first number of a tile; the odd columns of its row follow after [`half`](Self::half), the next row after twice
    /// as many.
    #[inline(always)]
    fn tile(&self, sample: usize, channel: usize, row: usize, column: usize) -> *const f32 {
        let plane = (2 * self.tiles[0] + 2) * 2 * self.half();
        self.values[(sample * self.channels + channel) * plane + 4 * row * self.half() + column..].as_ptr()
    }

    /// `B^T d B` of sixteen neighbouring tiles from `from` on.
    #[inline(always)]
    unsafe fn transformed<S: Simd>(&self, s: S, from: *const f32) -> [S::V; PLACES] {
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
    fn tiles(&self) -> usize {
        self.samples * self.tiles[0] * self.tiles[1]
    }

    /// The tile that is number `tile`, and how many follow it in its row, up to `most` of them.
    #[inline(always)]
    fn run(&self, tile: usize, most: usize) -> Run {
        let [rows, columns] = self.tiles;
        let (row, column) = (tile / columns, tile % columns);
        Run { sample: row / rows, row: row % rows, column, n: LANES.min(columns - column).min(most) }
    }
}

/// Neighbouring tiles of one row.
struct Run {
    sample: usize,
    row: usize,
    column: usize,
    n: usize,
}

/// Some tiles and output channels, for one thread.
struct Piece<'a> {
    of: Winograd<'a>,
    image: &'a Halves,
    weights: &'a [f32],
    first_row: usize,
    rows: usize,
    first: usize,
    count: usize,
}

impl Task for Piece<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let width = S::VECS * LANES;
        let panels = self.count.div_ceil(width);
        let channels = self.of.channels;
        let mut tiles = Scratch::new(PLACES * panels * channels * width);
        self.transform_tiles(s, tiles.as_mut_ptr(), panels, width);
        let block = ROWS / tile_rows() * tile_rows();
        let mut products = Scratch::new(PLACES * block * panels * width);
        let products = products.as_mut_ptr();
        let mut row = 0;
        while row < self.rows {
            let rows = block.min(self.rows - row);
            for place in 0..PLACES {
                for panel in 0..panels {
                    multiply_panel(
                        s,
                        Reduction { runs: &[0], length: channels, stride: 1 },
                        self.weights.as_ptr().add((place * self.rows + row) * channels),
                        |i| i * channels,
                        rows,
                        tiles.as_ptr().add((place * panels + panel) * channels * width),
                        width,
                        products.add((place * block * panels + panel) * width),
                        panels * width,
                        width.min(self.count - panel * width),
                        Start::Zero,
                    );
                }
            }
            for i in 0..rows {
                self.transform_back(
                    s,
                    products.add(i * panels * width),
                    block * panels * width,
                    row + i,
                    width,
                );
            }
            row += rows;
        }
    }
}

impl Piece<'_> {
    /// The run that begins at `tile`, counted from the first of this piece; it ends with its panel.
    #[inline(always)]
    fn run_at(&self, tile: usize, width: usize) -> Run {
        self.image.run(self.first + tile, (self.count - tile).min(width - tile % width))
    }

    /// `B^T d B` of the tiles: `[16, panels, channels, width]`.
    #[inline(always)]
    unsafe fn transform_tiles<S: Simd>(&self, s: S, to: *mut f32, panels: usize, width: usize) {
        let (image, channels) = (self.image, self.of.channels);
        let place_step = panels * channels * width;
        let mut tile = 0;
        while tile < self.count {
            let Run { sample, row, column, n } = self.run_at(tile, width);
            let to = to.add(tile / width * channels * width + tile % width);
            // A vector that is begun is read to its end.
            let filled = if tile + n == self.count { LANES.min(width - tile % width) } else { n };
            for c in 0..channels {
                let places = image.transformed(s, image.tile(sample, c, row, column));
                for place in 0..PLACES {
                    s.store_first(to.add(place * place_step + c * width), places[place], filled);
                }
            }
            tile += n;
        }
    }

    /// `A^T m A` of one output channel, whose places lie `step` apart, with its bias, to where it belongs.
    #[inline(always)]
    unsafe fn transform_back<S: Simd>(&self, s: S, from: *const f32, step: usize, row: usize, width: usize) {
        let Winograd { rows, grid: [height, columns], bias, out, .. } = self.of;
        let channel = self.first_row + row;
        let bias = s.splat(match bias {
            Some(bias) => bias[channel],
            None => 0.0,
        });
        let mut tile = 0;
        while tile < self.count {
            let Run { sample, row: y, column: x, n } = self.run_at(tile, width);
            let from = from.add(tile);
            let mut lines = [[s.splat(0.0); 2]; 4];
            for j in 0..4 {
                let mut column = [s.splat(0.0); 4];
                for i in 0..4 {
                    column[i] = s.load_first(from.add((4 * i + j) * step), n);
                }
                lines[j] = sums(s, column);
            }
            let wanted = (2 * n).min(columns - 2 * x);
            for i in 0..2.min(height - 2 * y) {
                let pair = sums(s, [lines[0][i], lines[1][i], lines[2][i], lines[3][i]]);
                let to = out.at(((sample * rows + channel) * height + 2 * y + i) * columns + 2 * x);
                let [low, high] = s.interleave([s.add(pair[0], bias), s.add(pair[1], bias)]);
                if wanted == 2 * LANES {
                    s.store(to, low);
                    s.store(to.add(LANES), high);
                } else {
                    s.store_first(to, low, wanted.min(LANES));
                    s.store_first(to.add(LANES), high, wanted.saturating_sub(LANES));
                }
            }
            tile += n;
        }
    }
}
