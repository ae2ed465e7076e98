//! Convolutions with one channel per group, as sums of shifted planes.
//!
//! A padded plane is one long row: shifting it by `ky * pitch + kx` brings every pixel of the window into place at
//! once, however narrow the image is. The few pixels computed in the margin are dropped.

use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::simd::{LANES, Simd, Task, dispatch};

use super::Sizes;

/// Vectors of sums that share the loads of the weights.
const BLOCK: usize = 4;

/// Memory past the end of a plane that whole blocks of vectors may touch.
const SLACK: usize = (BLOCK + 1) * LANES;

/// `y[s, c] = bias[c] + sum_t w[c][t] x[s, c] shifted by t`.
pub(super) fn forward(sizes: Sizes, x: &[f32], weights: &[f32], bias: Option<&[f32]>, out: SharedMut) {
    let Sizes { samples, c_out: channels, input, output, window, stride, padding, .. } = sizes;
    let padded = [input[0] + 2 * padding[0], input[1] + 2 * padding[1]];
    let taps: Vec<usize> =
        (0..window[0] * window[1]).map(|t| t / window[1] * padded[1] + t % window[1]).collect();
    each_plane(
        samples * channels,
        padded[0] * padded[1] * taps.len(),
        |plane, work, sums| {
            let channel = plane % channels;
            work.fill(0.0);
            place(
                &x[plane * input[0] * input[1]..],
                input,
                work,
                padding[0] * padded[1] + padding[1],
                [padded[1], 1],
            );
            let weights = &weights[channel * taps.len()..][..taps.len()];
            let length = (output[0] - 1) * stride[0] * padded[1] + (output[1] - 1) * stride[1] + 1;
            // SAFETY: both buffers have `SLACK` numbers more than the plane.
            unsafe {
                dispatch(Shifted {
                    plane: work,
                    taps: &taps,
                    weights,
                    start: bias.map_or(0.0, |b| b[channel]),
                    length,
                    sums,
                });
            }
            for y in 0..output[0] {
                let row = &sums[y * stride[0] * padded[1]..];
                // SAFETY: the plane belongs to this task.
                let dst = unsafe { out.at((plane * output[0] + y) * output[1]) };
                for i in 0..output[1] {
                    // SAFETY: as above.
                    unsafe { *dst.add(i) = row[i * stride[1]] }
                }
            }
        },
        padded[0] * padded[1],
    );
}

/// The gradient of the input: the same sum over `dy` with zeros between its pixels and the window turned around.
pub(super) fn input_gradient(sizes: Sizes, dy: &[f32], weights: &[f32], out: SharedMut) {
    let Sizes { samples, c_out: channels, input, output, window, stride, padding, .. } = sizes;
    let spread = [input[0] + window[0] - 1, input[1] + window[1] - 1];
    let margin = [window[0] - 1 - padding[0], window[1] - 1 - padding[1]];
    let count = window[0] * window[1];
    let taps: Vec<usize> = (0..count)
        .map(|t| (window[0] - 1 - t / window[1]) * spread[1] + window[1] - 1 - t % window[1])
        .collect();
    each_plane(
        samples * channels,
        spread[0] * spread[1] * count,
        |plane, work, sums| {
            let channel = plane % channels;
            work.fill(0.0);
            let steps = [stride[0] * spread[1], stride[1]];
            place(
                &dy[plane * output[0] * output[1]..],
                output,
                work,
                margin[0] * spread[1] + margin[1],
                steps,
            );
            let weights = &weights[channel * count..][..count];
            let length = (input[0] - 1) * spread[1] + input[1];
            // SAFETY: both buffers have `SLACK` numbers more than the plane.
            unsafe { dispatch(Shifted { plane: work, taps: &taps, weights, start: 0.0, length, sums }) };
            for y in 0..input[0] {
                // SAFETY: the plane belongs to this task.
                let dst = unsafe {
                    std::slice::from_raw_parts_mut(out.at((plane * input[0] + y) * input[1]), input[1])
                };
                dst.copy_from_slice(&sums[y * spread[1]..][..input[1]]);
            }
        },
        spread[0] * spread[1],
    );
}

/// `dw[c][t] = sum over samples and pixels of dy[s, c] x[s, c] shifted by t`.
pub(super) fn weight_gradient(sizes: Sizes, x: &[f32], dy: &[f32], out: SharedMut) {
    let Sizes { samples, c_out: channels, input, output, window, stride, padding, .. } = sizes;
    let padded = [input[0] + 2 * padding[0], input[1] + 2 * padding[1]];
    let taps: Vec<usize> =
        (0..window[0] * window[1]).map(|t| t / window[1] * padded[1] + t % window[1]).collect();
    let length = (output[0] - 1) * stride[0] * padded[1] + (output[1] - 1) * stride[1] + 1;
    each_plane(
        channels,
        samples * padded[0] * padded[1] * taps.len(),
        |channel, work, spread| {
            // SAFETY: every channel belongs to one task.
            let sums = unsafe { std::slice::from_raw_parts_mut(out.at(channel * taps.len()), taps.len()) };
            sums.fill(0.0);
            work.fill(0.0);
            spread.fill(0.0);
            for sample in 0..samples {
                let plane = sample * channels + channel;
                place(
                    &x[plane * input[0] * input[1]..],
                    input,
                    work,
                    padding[0] * padded[1] + padding[1],
                    [padded[1], 1],
                );
                place(
                    &dy[plane * output[0] * output[1]..],
                    output,
                    spread,
                    0,
                    [stride[0] * padded[1], stride[1]],
                );
                // SAFETY: both buffers have `SLACK` numbers more than the plane, zeros in `spread`.
                unsafe { dispatch(Dots { plane: work, spread, taps: &taps, length, sums }) };
            }
        },
        padded[0] * padded[1],
    );
}

/// Calls `body(item, work, sums)` with two buffers of `size` numbers (and [`SLACK`]).
fn each_plane(
    items: usize,
    cost: usize,
    body: impl Fn(usize, &mut [f32], &mut [f32]) + Sync + Send,
    size: usize,
) {
    parallel_ranges(items, cost / LANES + size / 2, |range| {
        let mut work = Scratch::new(size + SLACK);
        let mut sums = Scratch::new(size + SLACK);
        for item in range {
            body(item, &mut work, &mut sums);
        }
    });
}

/// Copies an image into a larger plane, `steps` (rows, columns) apart.
fn place(src: &[f32], size: [usize; 2], plane: &mut [f32], first: usize, steps: [usize; 2]) {
    for y in 0..size[0] {
        let row = &src[y * size[1]..][..size[1]];
        let at = first + y * steps[0];
        if steps[1] == 1 {
            plane[at..at + size[1]].copy_from_slice(row);
        } else {
            for (x, value) in row.iter().enumerate() {
                plane[at + x * steps[1]] = *value;
            }
        }
    }
}

struct Shifted<'a> {
    plane: &'a [f32],
    taps: &'a [usize],
    weights: &'a [f32],
    start: f32,
    length: usize,
    sums: &'a mut [f32],
}

impl Task for Shifted<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { plane, taps, weights, start, length, sums } = self;
        let (plane, sums) = (plane.as_ptr(), sums.as_mut_ptr());
        let mut i = 0;
        while i < length {
            if i + (BLOCK - 1) * LANES < length {
                shifted_block::<S, BLOCK>(s, plane.add(i), taps, weights, start, sums.add(i));
                i += BLOCK * LANES;
            } else {
                shifted_block::<S, 1>(s, plane.add(i), taps, weights, start, sums.add(i));
                i += LANES;
            }
        }
    }
}

/// `V` neighbouring vectors of sums.
#[inline(always)]
unsafe fn shifted_block<S: Simd, const V: usize>(
    s: S,
    plane: *const f32,
    taps: &[usize],
    weights: &[f32],
    start: f32,
    sums: *mut f32,
) {
    let mut block = [s.splat(start); V];
    for (tap, weight) in taps.iter().zip(weights) {
        let weight = s.splat(*weight);
        for v in 0..V {
            block[v] = s.mul_add(weight, s.load(plane.add(v * LANES + tap)), block[v]);
        }
    }
    for v in 0..V {
        s.store(sums.add(v * LANES), block[v]);
    }
}

struct Dots<'a> {
    plane: &'a [f32],
    spread: &'a [f32],
    taps: &'a [usize],
    length: usize,
    sums: &'a mut [f32],
}

impl Task for Dots<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { plane, spread, taps, length, sums } = self;
        let (plane, spread) = (plane.as_ptr(), spread.as_ptr());
        for (tap, total) in taps.iter().zip(sums) {
            let mut sum = s.splat(0.0);
            let mut i = 0;
            while i < length {
                sum = s.mul_add(s.load(spread.add(i)), s.load(plane.add(i + tap)), sum);
                i += LANES;
            }
            *total += s.sum(sum);
        }
    }
}
