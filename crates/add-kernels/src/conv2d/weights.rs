//! The gradients of the weights and of the bias.
//!
//! `dW^T[(c, ky, kx)][o] = sum_p image[p + offset(c, ky, kx)] dy[o][p]` over all pixels `p` of all samples: the
//! left factor is the padded image read in place, the right one is `dy` with its channels side by side.

use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges, range_length};
use crate::product::{Reduction, Start, Transpose, multiply_panel, packed_len, panel_width, tile_rows};
use crate::simd::{LANES, Simd, Task, dispatch};

/// The sum over pixels that gives a weight gradient.
#[derive(Clone, Copy)]
pub(super) struct WeightGradient<'a> {
    pub(super) image: &'a [f32],
    pub(super) image_sample: usize,
    /// Distances of two neighbouring pixels of the output, measured in `image`: rows, columns.
    pub(super) image_step: [usize; 2],
    /// Offset in `image` of every input of one output: channel and position in the window.
    pub(super) sources: &'a [usize],
    /// First channel of the group, `[samples, all channels, grid]`.
    pub(super) dy: &'a [f32],
    pub(super) dy_sample: usize,
    pub(super) channels: usize,
    pub(super) samples: usize,
    pub(super) grid: [usize; 2],
    /// `[channels, sources.len()]`.
    pub(super) out: SharedMut,
}

/// Numbers of the right factor that fit the second cache beside the left one.
const BLOCK: usize = 160_000;

impl WeightGradient<'_> {
    pub(super) fn run(self) {
        let pixels = self.grid[0] * self.grid[1];
        let steps = self.samples * pixels;
        let width = panel_width();
        let panels = self.channels.div_ceil(width);
        let mut right = Scratch::new(packed_len(steps, self.channels));
        let turned = SharedMut::new(right.as_mut_ptr());
        parallel_ranges(self.samples, self.channels * pixels / 4, |samples| {
            for sample in samples {
                for panel in 0..panels {
                    let first = panel * width;
                    let task = Transpose {
                        src: self.dy[sample * self.dy_sample + first * pixels..].as_ptr(),
                        ld_src: pixels,
                        rows: width.min(self.channels - first),
                        columns: pixels,
                        dst: unsafe { turned.at((panel * steps + sample * pixels) * width) },
                        ld_dst: width,
                    };
                    // SAFETY: each sample has its own rows of the panels.
                    unsafe { dispatch(task) };
                }
            }
        });
        let (runs, length) = self.runs();
        let rows = self.sources.len();
        let mut sums = Scratch::new(rows * self.channels);
        let out = SharedMut::new(sums.as_mut_ptr());
        let height = tile_rows();
        let blocks = rows.div_ceil(height);
        let block_run = range_length(blocks, height * steps * panels * width / LANES);
        parallel(blocks.div_ceil(block_run), |task| {
            let first = task * block_run * height;
            let last = (first + block_run * height).min(rows);
            let task = Rows { gradient: self, runs: &runs, length, right: &right, out, first, last };
            // SAFETY: the rows of the tasks are disjoint.
            unsafe { dispatch(task) };
        });
        let sums = &sums;
        parallel_ranges(rows.div_ceil(LANES), LANES * self.channels / 4, |range| {
            let (first, last) = (range.start * LANES, (range.end * LANES).min(rows));
            let task = Transpose {
                src: sums[first * self.channels..].as_ptr(),
                ld_src: self.channels,
                rows: last - first,
                columns: self.channels,
                // SAFETY: `out` has `channels x rows` numbers, of which this task writes its own columns.
                dst: unsafe { self.out.at(first) },
                ld_dst: rows,
            };
            unsafe { dispatch(task) };
        });
    }

    /// The runs of equally spaced pixels in the image, as long as possible.
    fn runs(&self) -> (Vec<usize>, usize) {
        let [height, width] = self.grid;
        if self.image_step[0] == width * self.image_step[1] {
            ((0..self.samples).map(|s| s * self.image_sample).collect(), height * width)
        } else {
            let of_sample = |s| (0..height).map(move |y| s * self.image_sample + y * self.image_step[0]);
            ((0..self.samples).flat_map(of_sample).collect(), width)
        }
    }
}

/// Some rows of the transposed weight gradient.
struct Rows<'a> {
    gradient: WeightGradient<'a>,
    runs: &'a [usize],
    length: usize,
    right: &'a [f32],
    out: SharedMut,
    first: usize,
    last: usize,
}

impl Task for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { gradient, runs, length, right, out, first, last } = self;
        let width = S::VECS * LANES;
        let channels = gradient.channels;
        let steps = runs.len() * length;
        let block = (BLOCK / (width * length)).max(1);
        for (number, part) in runs.chunks(block).enumerate() {
            for panel in 0..channels.div_ceil(width) {
                multiply_panel(
                    s,
                    Reduction { runs: part, length, stride: gradient.image_step[1] },
                    gradient.image.as_ptr(),
                    |i| gradient.sources[first + i],
                    last - first,
                    right.as_ptr().add((panel * steps + number * block * length) * width),
                    width,
                    out.at(first * channels + panel * width),
                    channels,
                    width.min(channels - panel * width),
                    if number == 0 { Start::Zero } else { Start::There },
                );
            }
        }
    }
}

/// `out[c] = sum of dy[:, c]` for `dy: [samples, channels, pixels]`.
pub(super) fn bias_gradient(dy: &[f32], samples: usize, channels: usize, pixels: usize, out: SharedMut) {
    parallel_ranges(channels, samples * pixels.div_ceil(LANES), |range| {
        // SAFETY: every channel is summed by one task.
        unsafe { dispatch(ChannelSums { dy, samples, channels, pixels, out, range }) };
    });
}

struct ChannelSums<'a> {
    dy: &'a [f32],
    samples: usize,
    channels: usize,
    pixels: usize,
    out: SharedMut,
    range: std::ops::Range<usize>,
}

impl Task for ChannelSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { dy, samples, channels, pixels, out, range } = self;
        for channel in range {
            let mut sum = s.splat(0.0);
            for sample in 0..samples {
                let plane = dy[(sample * channels + channel) * pixels..][..pixels].as_ptr();
                let mut i = 0;
                while i + LANES <= pixels {
                    sum = s.add(sum, s.load(plane.add(i)));
                    i += LANES;
                }
                if i < pixels {
                    sum = s.add(sum, s.load_first(plane.add(i), pixels - i));
                }
            }
            *out.at(channel) = s.sum(sum);
        }
    }
}
