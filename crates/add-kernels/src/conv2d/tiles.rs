//! Windows on processors with registers of whole tiles (AMX), which read the image where it lies.
//!
//! A pair is two channels at one place. The image is copied once, with its zeros, as `[y][C_in / 2][x]` of pairs: sixteen places side
//! by side of sixteen such pairs are the rows of a register, whatever the shift of the window, and no image is copied shift by
//! shift. The weights are copied in the order of that sum, `[C_out, k_h k_w, C_in]`, which pays where pixels are many.

use burn::tensor::bf16;

use super::Sizes;
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::simd::{
    LANES, Simd, Task,
    amx::{BLOCK, Block, SIDE, Shapes, halves},
    dispatch_pairs, has_tiles,
};

/// Numbers of the image that a task reads: they stay in the second cache while all weights go by.
const BAND: usize = 1 << 17;
/// Pixels of a sample for each channel of the output from which on the copy of the weights costs less than the shifted images.
const PIXELS: usize = 32;

/// Whether this convolution can go this way, and is the faster for it. How many samples there are has no say: the order of the sums
/// is another one here, and a sample has the same bits alone and among others.
pub(super) fn pay(sizes: Sizes) -> bool {
    let Sizes { c_in, c_out, output: [rows, columns], .. } = sizes;
    let whole = columns.next_multiple_of(SIDE);
    has_tiles()
        && sizes.groups == 1
        && sizes.stride == [1, 1]
        && sizes.taps() > 1
        && c_in.is_multiple_of(2)
        && pieces(c_in / 2).is_some_and(|(steps, _)| 2 * steps > SIDE)
        && 4 * columns >= 3 * whole
        && rows * columns >= PIXELS * c_out
}

/// Steps of a piece of the sum over the channels, and the number of such pieces; nothing where they are not of one length.
fn pieces(pairs: usize) -> Option<(usize, usize)> {
    let count = pairs.div_ceil(SIDE);
    pairs.is_multiple_of(count).then(|| (pairs / count, count))
}

/// `y = conv(x, weights) + bias` of numbers that lie row after row.
///
/// # Safety
/// [`pay`], and `out` has the size of the output.
pub(super) unsafe fn forward(
    sizes: Sizes,
    x: &[bf16],
    weights: &[bf16],
    bias: Option<&[f32]>,
    out: SharedMut<bf16>,
) {
    let image = Image::new(sizes, x);
    let weights = in_order(sizes, weights);
    let rows = sizes.output[0];
    let fair = (sizes.samples * rows).div_ceil(4 * rayon::current_num_threads());
    let band = (BAND / image.row()).min(fair).clamp(1, rows);
    let bands = rows.div_ceil(band);
    parallel(sizes.samples * bands, |task| {
        let (sample, first) = (task / bands, task % bands * band);
        let rows = first..(first + band).min(rows);
        // SAFETY: the rows of the tasks are disjoint.
        unsafe { dispatch_pairs(Band { sizes, image: &image, weights: &weights, bias, out, sample, rows }) };
    });
}

/// The weights as `[C_out, k_h k_w, C_in]`.
fn in_order(sizes: Sizes, weights: &[bf16]) -> Scratch {
    let Sizes { c_in, c_out, .. } = sizes;
    let taps = sizes.taps();
    let mut all = Scratch::new((c_out * taps * c_in).div_ceil(2));
    let out = SharedMut::new(all.as_mut_ptr().cast::<bf16>());
    parallel_ranges(c_out, c_in * taps, |range| {
        for row in range {
            let from = &weights[row * c_in * taps..][..c_in * taps];
            for tap in 0..taps {
                for (c, number) in from[tap..].iter().step_by(taps).enumerate() {
                    // SAFETY: every row belongs to one task.
                    unsafe { out.at((row * taps + tap) * c_in + c).write(*number) };
                }
            }
        }
    });
    all
}

/// An image in pairs of channels, with its zeros: `[samples, rows, C_in / 2, columns]`.
struct Image {
    pairs: Scratch,
    channels: usize,
    height: usize,
    pitch: usize,
}

impl Image {
    fn new(sizes: Sizes, x: &[bf16]) -> Self {
        let Sizes { samples, c_in, input: [rows, columns], padding, .. } = sizes;
        let (channels, height, pitch) = (c_in / 2, rows + 2 * padding[0], columns + 2 * padding[1]);
        let row = channels * pitch;
        let mut pairs = Scratch::new(samples * height * row);
        let to = SharedMut::new(pairs.as_mut_ptr());
        parallel_ranges(samples * height, row / 4, |range| {
            for row_of_all in range {
                let (sample, y) = (row_of_all / height, (row_of_all % height).checked_sub(padding[0]));
                // SAFETY: every row belongs to one task, and zeros are pairs of zeros.
                unsafe {
                    let to = to.at(row_of_all * row);
                    let Some(y) = y.filter(|&y| y < rows) else {
                        to.write_bytes(0, row);
                        continue;
                    };
                    let from = x[(sample * c_in * rows + y) * columns..].as_ptr();
                    let padding = padding[1];
                    let plane = rows * columns;
                    dispatch_pairs(PairRow { from, plane, channels, columns, padding, to, pitch });
                }
            }
        });
        Self { pairs, channels, height, pitch }
    }

    /// Numbers of a row of all channels.
    fn row(&self) -> usize {
        self.channels * self.pitch
    }
}

/// Writes one row of each channel beside that of the next, between zeros.
struct PairRow {
    from: *const bf16,
    plane: usize,
    channels: usize,
    columns: usize,
    padding: usize,
    to: *mut f32,
    pitch: usize,
}

impl Task for PairRow {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { from, plane, channels, columns, padding, to, pitch } = self;
        for pair in 0..channels {
            let (first, to) = (from.add(2 * pair * plane), to.add(pair * pitch));
            to.write_bytes(0, padding);
            let to = to.add(padding);
            to.add(columns).write_bytes(0, padding);
            for x in (0..columns).step_by(LANES) {
                let n = LANES.min(columns - x);
                s.store_first(to.add(x), s.load_pairs([first.add(x), first.add(plane + x)], 0, n), n);
            }
        }
    }
}

/// Some rows of the output of one sample, for one thread.
struct Band<'a> {
    sizes: Sizes,
    image: &'a Image,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    out: SharedMut<bf16>,
    sample: usize,
    rows: std::ops::Range<usize>,
}

impl Task for Band<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { sizes, image, weights, bias, out, sample, rows } = self;
        let Sizes { c_out, output: [height, width], window, .. } = sizes;
        let (steps, times) = pieces(image.channels).expect("whole pieces, which this way is taken for");
        let row = sizes.taps() * image.channels;
        let shift = |tap: usize| 4 * (tap / window[1] * image.row() + tap % window[1]);
        let runs: Vec<usize> = (0..sizes.taps()).map(shift).collect();
        let mut sums = Scratch::new(BLOCK * BLOCK);
        let sums = sums.as_mut_ptr();
        for first in (0..c_out).step_by(BLOCK) {
            for y in rows.clone() {
                let line = image.pairs.as_ptr().add((sample * image.height + y) * image.row());
                for x in (0..width).step_by(BLOCK) {
                    let shapes = Shapes { rows: halves(c_out - first), columns: halves(width - x), steps };
                    shapes.multiply(Block {
                        left: weights.as_ptr().add(first * row),
                        left_row: 4 * row,
                        right: line.add(x),
                        right_row: 4 * image.pitch,
                        runs: &runs,
                        sums,
                        sums_row: 4 * BLOCK,
                        times,
                        add: false,
                    });
                    for i in 0..BLOCK.min(c_out - first) {
                        let bias = s.splat(bias.map_or(0.0, |bias| bias[first + i]));
                        let to = out.at(((sample * c_out + first + i) * height + y) * width + x);
                        for j in (0..BLOCK.min(width - x)).step_by(LANES) {
                            let n = LANES.min(width - x - j);
                            let sum = s.add(s.load(sums.add(i * BLOCK + j)), bias);
                            s.store_first_bf16(to.add(j), sum, n);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv2d::{ConvGeometry, conv2d, conv2d_reference, tests::more};
    use crate::testing::{near_in_bf16, random};

    #[test]
    fn windows_on_many_pixels_equal_those_of_burn() {
        for (x, weight, padding) in [
            ([1, 32, 64, 48], [24, 32, 3, 3], [1, 1]),
            ([2, 64, 33, 64], [65, 64, 3, 3], [1, 1]),
            // Fewer columns than two registers hold, more channels than one, other windows, no zeros and many.
            ([3, 40, 50, 30], [35, 40, 5, 2], [0, 1]),
            ([2, 96, 40, 45], [33, 96, 2, 4], [3, 0]),
            ([1, 64, 64, 64], [3, 64, 3, 3], [1, 1]),
        ] {
            let geometry = ConvGeometry { padding, ..ConvGeometry::square(1, 1) };
            let sizes = Sizes::new(x, weight, None, geometry);
            assert_eq!(pay(sizes), has_tiles(), "{x:?} by {weight:?}");
            let inputs = (random(x, 1), random(weight, 2), random([weight[0]], 3));
            near_in_bf16(
                inputs,
                |(x, w, b)| conv2d(x, w, Some(b), geometry),
                |(x, w, b)| conv2d_reference(x, w, Some(b), geometry),
                more(sizes.inner() * sizes.taps(), sizes.in_tiles(sizes.output)),
            )
            .unwrap();
        }
    }
}
