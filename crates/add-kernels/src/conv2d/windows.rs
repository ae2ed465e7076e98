//! A matrix product whose right factor is made of shifted images, one column per output pixel.
//!
//! The forward pass is one such product; the gradient of the input is one per phase of the stride, because the
//! pixels of one phase see the same part of the window. The shifted images ("im2col") exist only as one packed panel
//! of a few hundred rows at a time.

use crate::parallel::{Scratch, SharedMut, parallel};
use crate::product::{Reduction, STEPS, Start, multiply_panel, panel_width, tile_rows};
use crate::simd::{LANES, Simd, Task, dispatch};

/// `out[s, i, y, x] = bias[i] + sum_k weights[i][k] image[pixel(s, y, x) + sources[k]]`.
#[derive(Clone, Copy)]
pub(super) struct WindowProduct<'a> {
    pub(super) image: &'a [f32],
    /// Distance of two samples in `image`.
    pub(super) image_sample: usize,
    /// Distances of two neighbouring pixels of the output, measured in `image`: rows, columns.
    pub(super) image_step: [usize; 2],
    /// Offset in `image` of every row of the right factor: channel and position in the window.
    pub(super) sources: &'a [usize],
    /// `[rows, sources.len()]`.
    pub(super) weights: &'a [f32],
    pub(super) rows: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) samples: usize,
    /// Output pixels: rows, columns.
    pub(super) grid: [usize; 2],
    pub(super) out: SharedMut,
    pub(super) out_sample: usize,
    pub(super) out_row: usize,
    /// Distances of two neighbouring pixels in `out`: rows, columns.
    pub(super) out_step: [usize; 2],
}

/// Vector operations that are worth the start of a thread.
const SMALLEST_TASK: usize = 40_000;

impl WindowProduct<'_> {
    fn pixels(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn columns(&self) -> usize {
        self.samples * self.pixels()
    }

    pub(super) fn run(self) {
        let panels = self.columns().div_ceil(panel_width());
        if panels == 0 || self.rows == 0 {
            return;
        }
        let threads = rayon::current_num_threads();
        let cost = self.rows * self.sources.len().max(1) * panel_width() / LANES;
        // Runs of panels for the threads; where there are too few panels, also blocks of rows.
        let run = panels.div_ceil(4 * threads).max(SMALLEST_TASK.div_ceil(cost)).min(panels).min(32);
        let runs = panels.div_ceil(run);
        let wanted =
            if runs < 2 * threads { (2 * threads).div_ceil(runs).min(run * cost / SMALLEST_TASK) } else { 1 };
        let largest = LARGEST_ROW_BLOCK / tile_rows() * tile_rows();
        let row_block = self.rows.div_ceil(wanted.max(1)).next_multiple_of(tile_rows()).min(largest);
        let row_blocks = self.rows.div_ceil(row_block);
        parallel(runs * row_blocks, |task| {
            let (first_panel, first_row) = (task / row_blocks * run, task % row_blocks * row_block);
            let task = Piece {
                product: self,
                first_panel,
                panels: run.min(panels - first_panel),
                first_row,
                rows: row_block.min(self.rows - first_row),
            };
            // SAFETY: the caller described memory that is there, and the pieces are disjoint.
            unsafe { dispatch(task) };
        });
    }

    /// Offset in `image` of the pixel of a column.
    #[inline(always)]
    fn source(&self, column: usize) -> usize {
        let (sample, pixel) = (column / self.pixels(), column % self.pixels());
        let (y, x) = (pixel / self.grid[1], pixel % self.grid[1]);
        sample * self.image_sample + y * self.image_step[0] + x * self.image_step[1]
    }

    /// Offset in `out` of the pixel of a column.
    #[inline(always)]
    fn target(&self, column: usize) -> usize {
        let (sample, pixel) = (column / self.pixels(), column % self.pixels());
        let (y, x) = (pixel / self.grid[1], pixel % self.grid[1]);
        sample * self.out_sample + y * self.out_step[0] + x * self.out_step[1]
    }
}

/// So that `STEPS` columns of the weights of a block stay in the second cache.
const LARGEST_ROW_BLOCK: usize = 640;

/// Some panels and rows of a [`WindowProduct`], for one thread.
struct Piece<'a> {
    product: WindowProduct<'a>,
    first_panel: usize,
    panels: usize,
    first_row: usize,
    rows: usize,
}

/// How sixteen neighbouring columns lie in the image.
enum Group {
    /// Side by side.
    Whole(usize),
    /// Two times eight side by side.
    Halves([usize; 2]),
    /// Four times four side by side.
    Quarters([usize; 4]),
    /// Each at a place of its own.
    Scattered([i32; LANES]),
}

impl Group {
    #[inline(always)]
    fn new(offsets: &[usize; LANES]) -> Self {
        let adjacent = |size: usize| (0..LANES).all(|i| i % size == 0 || offsets[i] == offsets[i - 1] + 1);
        if adjacent(16) {
            Self::Whole(offsets[0])
        } else if adjacent(8) {
            Self::Halves([offsets[0], offsets[8]])
        } else if adjacent(4) {
            Self::Quarters([offsets[0], offsets[4], offsets[8], offsets[12]])
        } else {
            Self::Scattered(offsets.map(|o| o as i32))
        }
    }

    /// Writes `image[group + source]` for each source, `width` apart.
    #[inline(always)]
    unsafe fn pack<S: Simd>(&self, s: S, image: *const f32, sources: &[usize], dst: *mut f32, width: usize) {
        match self {
            Self::Whole(first) => {
                let image = image.add(*first);
                for (k, &source) in sources.iter().enumerate() {
                    s.store(dst.add(k * width), s.load(image.add(source)));
                }
            }
            Self::Halves(offsets) => {
                let [a, b] = offsets.map(|o| image.add(o));
                for (k, &source) in sources.iter().enumerate() {
                    s.store(dst.add(k * width), s.load_halves([a.add(source), b.add(source)]));
                }
            }
            Self::Quarters(offsets) => {
                let [a, b, c, d] = offsets.map(|o| image.add(o));
                for (k, &source) in sources.iter().enumerate() {
                    let quarters = [a.add(source), b.add(source), c.add(source), d.add(source)];
                    s.store(dst.add(k * width), s.load_quarters(quarters));
                }
            }
            Self::Scattered(offsets) => {
                for (k, &source) in sources.iter().enumerate() {
                    s.store(dst.add(k * width), s.gather(image.add(source), offsets));
                }
            }
        }
    }
}

impl Task for Piece<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { product: p, first_panel, panels, first_row, rows } = self;
        let width = S::VECS * LANES;
        let (k, columns, pixels) = (p.sources.len(), p.columns(), p.pixels());
        let mut packed = Scratch::new(STEPS.min(k) * width);
        let packed = packed.as_mut_ptr();
        // The output lies row by row like the panels, unless it is strided or a panel spans two samples.
        let flat = p.out_step == [p.grid[1], 1];
        let mut sums: Option<Scratch> = None;
        let mut from = 0;
        loop {
            let steps = STEPS.min(k - from);
            for panel in 0..panels {
                let first = (first_panel + panel) * width;
                let count = width.min(columns - first);
                for v in 0..count.div_ceil(LANES) {
                    let mut offsets = [0; LANES];
                    for (i, offset) in offsets.iter_mut().enumerate() {
                        // Columns past the end repeat the last one; their sums are dropped.
                        *offset = p.source((first + v * LANES + i).min(columns - 1));
                    }
                    let sources = &p.sources[from..from + steps];
                    Group::new(&offsets).pack(s, p.image.as_ptr(), sources, packed.add(v * LANES), width);
                }
                let direct = flat && first % pixels + count <= pixels;
                let (c, ld_c) = if direct {
                    (p.out.at(p.target(first) + first_row * p.out_row), p.out_row)
                } else {
                    let sums = sums.get_or_insert_with(|| Scratch::new(panels * rows * width));
                    (sums.as_mut_ptr().add(panel * rows * width), width)
                };
                let start = match p.bias {
                    _ if from > 0 => Start::There,
                    Some(bias) => Start::RowBias(bias.as_ptr().add(first_row)),
                    None => Start::Zero,
                };
                multiply_panel(
                    s,
                    Reduction { runs: &[0], length: steps, stride: 1 },
                    p.weights.as_ptr().add(first_row * k + from),
                    |i| i * k,
                    rows,
                    packed,
                    width,
                    c,
                    ld_c,
                    count,
                    start,
                );
                if !direct && from + steps == k {
                    let mut targets = [0; 64];
                    for (j, target) in targets.iter_mut().enumerate().take(count) {
                        *target = p.target(first + j);
                    }
                    scatter(s, c, rows, width, &targets[..count], p.out, first_row, p.out_row);
                }
            }
            from += steps;
            if from >= k {
                break;
            }
        }
    }
}

/// Copies the columns of a panel to where they belong.
#[inline(always)]
unsafe fn scatter<S: Simd>(
    s: S,
    sums: *const f32,
    rows: usize,
    width: usize,
    targets: &[usize],
    out: SharedMut,
    first_row: usize,
    out_row: usize,
) {
    let mut j = 0;
    while j < targets.len() {
        let mut length = 1;
        while length < LANES && j + length < targets.len() && targets[j + length] == targets[j] + length {
            length += 1;
        }
        for i in 0..rows {
            let dst = out.at(targets[j] + (first_row + i) * out_row);
            if length == 1 {
                *dst = *sums.add(i * width + j);
            } else {
                s.store_first(dst, s.load_first(sums.add(i * width + j), length), length);
            }
        }
        j += length;
    }
}
