//! The gradient of the weights, by the same tiles: `dw = G^T [sum_tiles (A dy A^T) * (B^T d B)] G`.
//!
//! For each place in a tile one product: transformed `dy`, `[C_out, tiles]`, by transformed tiles of the image,
//! `[tiles, C_in]`. Each of its numbers is summed by one task in the order of the tiles.

use super::{CHANNELS, Halves, PLACES, Run};
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Reduction, Start, multiply_panel, panel_width};
use crate::simd::{LANES, Simd, Task, dispatch};

/// Numbers of both factors that exist at once.
const FACTORS: usize = 8 << 20;

/// `dw[o, c, u, v] = sum_{s, y, x} dy[s, o, y, x] image[s, c, y + u - p, x + v - p]`.
#[derive(Clone, Copy)]
pub(in crate::conv2d) struct WinogradGradient<'a> {
    /// `[samples, channels, size]`.
    pub(in crate::conv2d) image: &'a [f32],
    pub(in crate::conv2d) samples: usize,
    pub(in crate::conv2d) channels: usize,
    pub(in crate::conv2d) size: [usize; 2],
    pub(in crate::conv2d) padding: [usize; 2],
    /// `[samples, rows, grid]`.
    pub(in crate::conv2d) dy: &'a [f32],
    pub(in crate::conv2d) rows: usize,
    pub(in crate::conv2d) grid: [usize; 2],
    /// `[rows, channels, 3, 3]`.
    pub(in crate::conv2d) out: SharedMut,
}

impl WinogradGradient<'_> {
    pub(in crate::conv2d) fn run(self) {
        let Self { image, samples, channels, size, padding, dy, rows, grid, out } = self;
        let tiles = grid.map(|side| side.div_ceil(2));
        let image = Halves::new(image, samples, channels, size, padding, tiles);
        let dy = Halves::new(dy, samples, rows, grid, [0, 0], tiles);
        let width = panel_width();
        let panels = channels.div_ceil(width);
        let at_once = CHANNELS.min(rows);
        let chunk = (FACTORS / (PLACES * (channels + at_once))).next_multiple_of(LANES).min(image.tiles());
        // The last rows of a block of sixteen tiles may be none.
        let mut right = Scratch::new(PLACES * panels * (chunk + LANES) * width);
        let mut left = Scratch::new(PLACES * at_once * chunk);
        let mut products = Scratch::new(PLACES * at_once * channels);
        for first_row in (0..rows).step_by(CHANNELS) {
            let rows = CHANNELS.min(rows - first_row);
            for first in (0..image.tiles()).step_by(chunk) {
                let count = chunk.min(image.tiles() - first);
                let tiles = Tiles { first, count, chunk };
                tiles_of_dy(tiles, &dy, first_row, rows, SharedMut::new(left.as_mut_ptr()));
                tiles_of_image(tiles, &image, SharedMut::new(right.as_mut_ptr()));
                let sums = SharedMut::new(products.as_mut_ptr());
                let blocks = rows.div_ceil(BLOCK);
                parallel(PLACES * blocks, |task| {
                    let (place, row) = (task / blocks, task % blocks * BLOCK);
                    let product = Product {
                        left: &left[(place * rows + row) * chunk..],
                        right: &right[place * panels * (chunk + LANES) * width..],
                        tiles,
                        rows: BLOCK.min(rows - row),
                        channels,
                        // SAFETY: the rows of the tasks are disjoint.
                        out: SharedMut::new(unsafe { sums.at((place * rows + row) * channels) }),
                    };
                    unsafe { dispatch(product) };
                });
            }
            let products = &*products;
            parallel_ranges(rows, 4 * channels, |range| {
                let first = first_row;
                // SAFETY: every row belongs to one task.
                unsafe { dispatch(Back { products, rows, channels, first, out, range }) };
            });
        }
    }
}

/// Rows of one product.
const BLOCK: usize = 160;

/// A part of all tiles.
#[derive(Clone, Copy)]
struct Tiles {
    first: usize,
    count: usize,
    /// Distance of two rows that are as long as the longest part.
    chunk: usize,
}

impl Tiles {
    /// The run that begins at `tile`, counted from the first.
    #[inline(always)]
    fn run(self, halves: &Halves, tile: usize) -> Run {
        halves.run(self.first + tile, self.count - tile)
    }
}

/// `A dy A^T`: `[16, rows, chunk]`.
fn tiles_of_dy(tiles: Tiles, dy: &Halves, first_row: usize, rows: usize, out: SharedMut) {
    parallel_ranges(rows, 2 * tiles.count, |range| {
        // SAFETY: every row belongs to one task.
        unsafe { dispatch(OfDy { tiles, dy, first_row, rows, out, range }) };
    });
}

struct OfDy<'a> {
    tiles: Tiles,
    dy: &'a Halves,
    first_row: usize,
    rows: usize,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for OfDy<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { tiles, dy, first_row, rows, out, range } = self;
        for row in range {
            let mut tile = 0;
            while tile < tiles.count {
                let Run { sample, row: y, column: x, n } = tiles.run(dy, tile);
                let (from, half) = (dy.tile(sample, first_row + row, y, x), dy.half());
                let upper = spread(s, [s.load(from), s.load(from.add(half))]);
                let lower = spread(s, [s.load(from.add(2 * half)), s.load(from.add(3 * half))]);
                for j in 0..4 {
                    let column = spread(s, [upper[j], lower[j]]);
                    for i in 0..4 {
                        s.store_first(out.at(((4 * i + j) * rows + row) * tiles.chunk + tile), column[i], n);
                    }
                }
                tile += n;
            }
        }
    }
}

/// `A` times a column: `a, a + b, a - b, -b`.
#[inline(always)]
fn spread<S: Simd>(s: S, [a, b]: [S::V; 2]) -> [S::V; 4] {
    [a, s.add(a, b), s.sub(a, b), s.sub(s.splat(0.0), b)]
}

/// `B^T d B`, with the channels side by side: `[16, panels, chunk + 16, width]`.
fn tiles_of_image(tiles: Tiles, image: &Halves, out: SharedMut) {
    parallel_ranges(image.channels.div_ceil(LANES), 6 * LANES * tiles.count, |range| {
        // SAFETY: every sixteen channels belong to one task.
        unsafe { dispatch(OfImage { tiles, image, out, range }) };
    });
}

struct OfImage<'a> {
    tiles: Tiles,
    image: &'a Halves,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for OfImage<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { tiles, image, out, range } = self;
        let width = S::VECS * LANES;
        let panels = image.channels.div_ceil(width);
        let rows = tiles.chunk + LANES;
        // Of every place sixteen channels of sixteen tiles.
        let mut block = Scratch::new(PLACES * LANES * LANES);
        let block = block.as_mut_ptr();
        for sixteen in range {
            let first = sixteen * LANES;
            let to = out.at(first / width * rows * width + first % width);
            let mut tile = 0;
            while tile < tiles.count {
                let Run { sample, row, column, n } = tiles.run(image, tile);
                for c in 0..LANES {
                    // Past the last channel it comes again.
                    let from = image.tile(sample, (first + c).min(image.channels - 1), row, column);
                    let places = image.transformed(s, from);
                    for place in 0..PLACES {
                        s.store(block.add((place * LANES + c) * LANES), places[place]);
                    }
                }
                for place in 0..PLACES {
                    let to = to.add((place * panels * rows + tile) * width);
                    s.transpose(block.add(place * LANES * LANES), LANES, to, width);
                }
                tile += n;
            }
        }
    }
}

/// Some rows of the product of one place: `[rows, channels]`.
struct Product<'a> {
    left: &'a [f32],
    right: &'a [f32],
    tiles: Tiles,
    rows: usize,
    channels: usize,
    out: SharedMut,
}

impl Task for Product<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { left, right, tiles: Tiles { first, count, chunk }, rows, channels, out } = self;
        let width = S::VECS * LANES;
        for panel in 0..channels.div_ceil(width) {
            multiply_panel(
                s,
                Reduction { runs: &[0], length: count, stride: 1 },
                left.as_ptr(),
                |i| i * chunk,
                rows,
                right.as_ptr().add(panel * (chunk + LANES) * width),
                width,
                out.at(panel * width),
                channels,
                width.min(channels - panel * width),
                if first == 0 { Start::Zero } else { Start::There },
            );
        }
    }
}

/// `G^T m G` of some rows, to where they belong.
struct Back<'a> {
    /// `[16, rows, channels]`.
    products: &'a [f32],
    rows: usize,
    channels: usize,
    first: usize,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for Back<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { products, rows, channels, first, out, range } = self;
        let mut windows = [[0.0; LANES]; 9];
        for row in range {
            let mut c = 0;
            while c < channels {
                let n = LANES.min(channels - c);
                let mut lines = [[s.splat(0.0); 3]; 4];
                for j in 0..4 {
                    let mut column = [s.splat(0.0); 4];
                    for i in 0..4 {
                        let at = ((4 * i + j) * rows + row) * channels + c;
                        column[i] = s.load_first(products.as_ptr().add(at), n);
                    }
                    lines[j] = contract(s, column);
                }
                for u in 0..3 {
                    let window = contract(s, [lines[0][u], lines[1][u], lines[2][u], lines[3][u]]);
                    for v in 0..3 {
                        s.store(windows[3 * u + v].as_mut_ptr(), window[v]);
                    }
                }
                let to = out.at(((first + row) * channels + c) * 9);
                for i in 0..n {
                    for tap in 0..9 {
                        *to.add(9 * i + tap) = windows[tap][i];
                    }
                }
                c += n;
            }
        }
    }
}

/// `G^T` times a column: `a + (b + c) / 2, (b - c) / 2, (b + c) / 2 + d`.
#[inline(always)]
fn contract<S: Simd>(s: S, [a, b, c, d]: [S::V; 4]) -> [S::V; 3] {
    let half = s.splat(0.5);
    let (sum, difference) = (s.mul(s.add(b, c), half), s.mul(s.sub(b, c), half));
    [s.add(a, sum), difference, s.add(sum, d)]
}
