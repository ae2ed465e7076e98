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
mod halves;

pub(super) use gradient::WinogradGradient;

use std::sync::atomic::{AtomicBool, Ordering};

use super::Sizes;
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Number, Reduction, Start, multiply_panel, panel_width, tile_rows};
use crate::simd::{LANES, Simd, Task};
use halves::{Halves, Run};

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

/// Whether it pays: pixels and channels must share the transforms, and rows fill half a vector. Samples do not count, so
/// that a picture's numbers are the same alone and among others.
pub(super) fn pays(channels: usize, rows: usize, grid: [usize; 2]) -> bool {
    channels.min(rows) >= 32 && grid[0] * grid[1] >= 225 && grid[1] >= LANES - 1
}

/// `out[s, i, y, x] = bias[i] + sum_{c, u, v} w[i, c, u, v] image[s, c, y + u - p, x + v - p]`.
#[derive(Clone, Copy)]
pub(super) struct Winograd<'a, T> {
    /// `[samples, channels, size]`.
    pub(super) image: &'a [T],
    pub(super) samples: usize,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// `p`, for rows and columns: zeros before the image.
    pub(super) padding: [usize; 2],
    /// Nine numbers of the window for each pair of channels. In bf16 those of an output channel lie side by side.
    pub(super) weights: &'a [T],
    /// Distances in `weights` of two output channels and of two input channels.
    pub(super) steps: [usize; 2],
    /// Whether the window is turned around.
    pub(super) turned: bool,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) rows: usize,
    /// Output pixels: rows, columns.
    pub(super) grid: [usize; 2],
    /// `[samples, rows, grid]`.
    pub(super) out: SharedMut<T>,
}

impl<'a, T: Number> Winograd<'a, T> {
    /// The forward pass of a convolution that is [`Sizes::in_tiles`].
    pub(super) fn forward(
        sizes: Sizes,
        image: &'a [T],
        weights: &'a [T],
        bias: Option<&'a [f32]>,
        out: SharedMut<T>,
    ) -> Self {
        let Sizes { samples, c_in: channels, c_out: rows, input: size, output: grid, padding, .. } = sizes;
        let (steps, turned) = ([9 * channels, 9], false);
        Self { image, samples, channels, size, padding, weights, steps, turned, bias, rows, grid, out }
    }

    /// # Panics
    /// Where numbers are multiplied in pairs, if the number of channels is odd.
    ///
    /// # Safety
    /// The processor has products of such numbers, and `out` is writable.
    pub(super) unsafe fn run(self) {
        assert!(self.channels.is_multiple_of(T::SIDE_BY_SIDE), "{} channels in pairs", self.channels);
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
                unsafe { T::dispatch(piece) };
            });
        }
    }

    /// `G w G^T` of some output channels: `[16, rows, channels]`.
    fn transformed(&self, first_row: usize, rows: usize) -> Scratch {
        let mut all = Scratch::new(PLACES * rows * self.channels / T::SIDE_BY_SIDE);
        let out = SharedMut::new(all.as_mut_ptr().cast::<T>());
        parallel_ranges(rows, 4 * self.channels, |range| {
            // SAFETY: every row belongs to one task, and the processor was asked about.
            unsafe { T::dispatch(Weights { of: *self, first_row, rows, out, range }) };
        });
        all
    }
}

/// `G w G^T` of some rows.
struct Weights<'a, T> {
    of: Winograd<'a, T>,
    first_row: usize,
    rows: usize,
    out: SharedMut<T>,
    range: std::ops::Range<usize>,
}

impl<T: Number> Task for Weights<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { of, first_row, rows, out, range } = self;
        // Sixteen windows are read at once, seven numbers further than the last one ends.
        let mut room = Scratch::new(9 * of.channels + LANES);
        for row in range {
            let first = (first_row + row) * of.steps[0];
            let given = T::widened(s, of.weights.as_ptr().add(first), 9 * of.channels, room.as_mut_ptr());
            let readable = if T::SIDE_BY_SIDE == 1 { of.weights.len() - first } else { room.len() };
            let mut c = 0;
            while c < of.channels {
                let n = LANES.min(of.channels - c);
                let window = c * of.steps[1];
                let taps = taps(s, given.add(window), of.steps[1], n, readable - window);
                let mut lines = [[s.splat(0.0); 4]; 3];
                for i in 0..3 {
                    let tap = |j: usize| taps[if of.turned { 8 - (3 * i + j) } else { 3 * i + j }];
                    lines[i] = expand(s, [tap(0), tap(1), tap(2)]);
                }
                for j in 0..4 {
                    let column = expand(s, [lines[0][j], lines[1][j], lines[2][j]]);
                    for i in 0..4 {
                        let to = out.at(((4 * i + j) * rows + row) * of.channels + c);
                        T::store_first(s, to, column[i], n);
                    }
                }
                c += n;
            }
        }
    }
}

/// The nine numbers of `n <= 16` windows, `step` apart: a vector for each place in the window. Of the others it holds anything.
///
/// # Safety
/// So many windows are readable, and `readable` numbers from `windows` on.
#[inline(always)]
unsafe fn taps<S: Simd>(s: S, windows: *const f32, step: usize, n: usize, readable: usize) -> [S::V; 9] {
    let mut taps = [s.splat(0.0); 9];
    // Whole windows are read and turned: that takes a fraction of the time of gathering their numbers.
    if n == LANES && (LANES - 1) * step + LANES <= readable {
        let mut rows = [[0.0; LANES]; LANES];
        s.transpose(windows, step, rows.as_mut_ptr().cast(), LANES);
        for (tap, row) in taps.iter_mut().zip(&rows) {
            *tap = s.load(row.as_ptr());
        }
    } else {
        let offsets = std::array::from_fn(|i| (i.min(n - 1) * step) as i32);
        for (place, tap) in taps.iter_mut().enumerate() {
            *tap = s.gather(windows.add(place), &offsets);
        }
    }
    taps
}

/// `G` times a column: `g, (g + h + k) / 2, (g - h + k) / 2, k`.
#[inline(always)]
fn expand<S: Simd>(s: S, [g, h, k]: [S::V; 3]) -> [S::V; 4] {
    let half = s.splat(0.5);
    let (ends, middle) = (s.mul(s.add(g, k), half), s.mul(h, half));
    [g, s.add(ends, middle), s.sub(ends, middle), k]
}

/// `A^T` times a column: `a + b + c, b - c - d`.
#[inline(always)]
fn sums<S: Simd>(s: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 2] {
    [s.add(s.add(a, b), c), s.sub(s.sub(b, c), d)]
}

/// Some tiles and output channels, for one thread.
struct Piece<'a, T> {
    of: Winograd<'a, T>,
    image: &'a Halves,
    /// Numbers of type `T`.
    weights: &'a [f32],
    first_row: usize,
    rows: usize,
    first: usize,
    count: usize,
}

impl<T: Number> Task for Piece<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let width = S::VECS * LANES;
        let panels = self.count.div_ceil(width);
        let steps = self.of.channels / T::SIDE_BY_SIDE;
        let mut tiles = Scratch::new(PLACES * panels * steps * width);
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
                        Reduction { runs: &[0], length: steps, stride: 1 },
                        self.weights.as_ptr().add((place * self.rows + row) * steps),
                        |i| i * steps,
                        rows,
                        tiles.as_ptr().add((place * panels + panel) * steps * width),
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

impl<T: Number> Piece<'_, T> {
    /// The run that begins at `tile`, counted from the first of this piece; it ends with its panel.
    #[inline(always)]
    fn run_at(&self, tile: usize, width: usize) -> Run {
        self.image.run(self.first + tile, (self.count - tile).min(width - tile % width))
    }

    /// `B^T d B` of the tiles: `[16, panels, channels, width]`, where `T` wants it with two channels side by side.
    #[inline(always)]
    unsafe fn transform_tiles<S: Simd>(&self, s: S, to: *mut f32, panels: usize, width: usize) {
        let (image, steps) = (self.image, self.of.channels / T::SIDE_BY_SIDE);
        let place_step = panels * steps * width;
        let mut tile = 0;
        while tile < self.count {
            let Run { sample, row, column, n } = self.run_at(tile, width);
            let to = to.add(tile / width * steps * width + tile % width);
            // A vector that is begun is read to its end.
            let filled = if tile + n == self.count { LANES.min(width - tile % width) } else { n };
            for step in 0..steps {
                let channel = step * T::SIDE_BY_SIDE;
                let mut places = image.transformed(s, image.tile(sample, channel, row, column));
                if T::SIDE_BY_SIDE == 2 {
                    let seconds = image.transformed(s, image.tile(sample, channel + 1, row, column));
                    for place in 0..PLACES {
                        places[place] = s.pair([places[place], seconds[place]]);
                    }
                }
                for place in 0..PLACES {
                    s.store_first(to.add(place * place_step + step * width), places[place], filled);
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
                T::store_first(s, to, low, wanted.min(LANES));
                T::store_first(s, to.add(LANES), high, wanted.saturating_sub(LANES));
            }
            tile += n;
        }
    }
}
