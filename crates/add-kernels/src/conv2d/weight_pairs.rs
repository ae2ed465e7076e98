//! The gradient of the weights from numbers in bf16, on processors that multiply pairs of such numbers and sum them in f32.
//!
//! `dW[o][c, u, v] = sum_p dy[o][p] image[c][p + offset(u, v)]` over all pixels `p` of all samples. `dy` is given as many zeros
//! behind each row as the image has in its rows: then the pixels of a sample are one run, whatever the place in the window, and
//! two that follow each other are a pair as they lie in memory.

use burn::tensor::bf16;

use super::Sizes;
use crate::parallel::{Scratch, SharedMut, parallel, parallel_ranges};
use crate::product::{Reduction, Start, multiply_panel, panel_width};
use crate::simd::{LANES, Simd, Task, dispatch_pairs};

/// Pairs of the sum between two visits to the output, unless one sample has more: a panel of them stays in the second cache.
const STEPS: usize = 2048;

/// Whether there is such a way: one group, and a window that goes over the image in steps of one.
pub(super) fn is_possible(sizes: Sizes) -> bool {
    sizes.groups == 1 && sizes.stride == [1, 1]
}

/// Writes `dW: [c_out, c_in, window]`.
///
/// # Safety
/// The processor has pairs, [`is_possible`], `x` and `dy` are the numbers of the input and of the output, and `out` has those of
/// the weights.
pub(super) unsafe fn gradient(sizes: Sizes, x: &[bf16], dy: &[bf16], out: SharedMut) {
    let Sizes { samples, c_in, c_out, input, output, window, padding, .. } = sizes;
    let pitch = input[1] + 2 * padding[1];
    let plane = ((input[0] + 2 * padding[0]) * pitch).next_multiple_of(2);
    let run = (output[0] * pitch).next_multiple_of(2 * LANES);
    // The last runs reach past the end.
    let slack = run + window[0] * pitch;
    let image = padded(x, [samples, c_in], input, Room { pitch, plane, before: padding, slack }, |[s, c]| {
        s * c_in + c
    });
    let room = Room { pitch, plane: run, before: [0, 0], slack: 0 };
    let dy = padded(dy, [samples, c_out], output, room, |[s, o]| o * samples + s);
    let panels = c_in.div_ceil(panel_width());
    parallel(sizes.taps() * panels, |task| {
        let (tap, panel) = (task / panels, task % panels);
        let offset = tap / window[1] * pitch + tap % window[1];
        let panel = Panel {
            sizes,
            image: &image,
            plane,
            dy: &dy,
            run,
            tap,
            offset,
            first: panel * panel_width(),
            out,
        };
        // SAFETY: the weights of the tasks are disjoint.
        unsafe { dispatch_pairs(panel) };
    });
}

/// Where the rows of a plane lie in a copy of it.
struct Room {
    pitch: usize,
    plane: usize,
    /// Rows and columns of zeros before the numbers.
    before: [usize; 2],
    /// Zeros behind the last plane.
    slack: usize,
}

/// A copy of planes `[samples, channels, height, width]` with zeros around them; the plane of a channel of a sample becomes
/// number `place([sample, channel])`.
fn padded(
    from: &[bf16],
    [samples, channels]: [usize; 2],
    [height, width]: [usize; 2],
    room: Room,
    place: impl Fn([usize; 2]) -> usize + Sync + Send,
) -> Scratch {
    let Room { pitch, plane, before: [above, left], slack } = room;
    let numbers = samples * channels * plane;
    let mut copy = Scratch::new((numbers + slack).div_ceil(2));
    let to = SharedMut::new(copy.as_mut_ptr().cast::<bf16>());
    // SAFETY: it has so many numbers, and any bits are numbers.
    let of = |first: usize, count: usize| unsafe { std::slice::from_raw_parts_mut(to.at(first), count) };
    of(numbers, slack).fill(bf16::ZERO);
    parallel_ranges(samples * channels, plane / 8, |range| {
        for i in range {
            // Every plane belongs to one task.
            let to = of(place([i / channels, i % channels]) * plane, plane);
            to.fill(bf16::ZERO);
            for (y, from) in from[i * height * width..][..height * width].chunks(width).enumerate() {
                to[(above + y) * pitch + left..][..width].copy_from_slice(from);
            }
        }
    });
    copy
}

/// The weights of some input channels at one place in the window.
struct Panel<'a> {
    sizes: Sizes,
    /// `[samples, c_in, plane]` in bf16.
    image: &'a [f32],
    plane: usize,
    /// `[c_out, samples, run]` in bf16.
    dy: &'a [f32],
    run: usize,
    tap: usize,
    /// That of the place in the window, in the image.
    offset: usize,
    first: usize,
    out: SharedMut,
}

impl Task for Panel<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { sizes: Sizes { samples, c_in, c_out, .. }, dy, tap, first, out, .. } = self;
        let width = S::VECS * LANES;
        let (columns, pairs) = (width.min(c_in - first), self.run / 2);
        let at_once = (STEPS / pairs).max(1);
        let mut packed = Scratch::new(at_once.min(samples) * pairs * width);
        let mut sums = Scratch::new(c_out * width);
        for sample in (0..samples).step_by(at_once) {
            let count = at_once.min(samples - sample);
            for i in 0..count {
                self.pack(s, sample + i, columns, packed.as_mut_ptr().add(i * pairs * width));
            }
            multiply_panel(
                s,
                Reduction { runs: &[0], length: count * pairs, stride: 1 },
                dy.as_ptr().add(sample * pairs),
                |o| o * samples * pairs,
                c_out,
                packed.as_ptr(),
                width,
                sums.as_mut_ptr(),
                width,
                columns,
                if sample == 0 { Start::Zero } else { Start::There },
            );
        }
        let taps = self.sizes.taps();
        for o in 0..c_out {
            for j in 0..columns {
                *out.at((o * c_in + first + j) * taps + tap) = sums[o * width + j];
            }
        }
    }
}

impl Panel<'_> {
    /// The pairs of a sample, a row for each and a column for each channel.
    #[inline(always)]
    unsafe fn pack<S: Simd>(&self, s: S, sample: usize, columns: usize, to: *mut f32) {
        let width = S::VECS * LANES;
        let image: *const bf16 = self.image.as_ptr().cast();
        for column in (0..columns).step_by(LANES) {
            let channel = sample * self.sizes.c_in + self.first + column;
            let from = image.add(channel * self.plane + self.offset);
            let count = LANES.min(columns - column);
            for pair in (0..self.run / 2).step_by(LANES) {
                let (from, to) = (from.add(2 * pair), to.add(pair * width + column));
                if count == LANES {
                    // A row may begin at an odd number of bf16: vectors are loaded from anywhere.
                    s.transpose(from.cast(), self.plane / 2, to, width);
                    continue;
                }
                for i in 0..LANES {
                    for j in 0..count {
                        *to.add(i * width + j) =
                            from.add(j * self.plane + 2 * i).cast::<f32>().read_unaligned();
                    }
                }
            }
        }
    }
}
