//! The gradient of the input.
//!
//! `dx[c, y] = sum_{o, u} w[o, c, u] dy[o, (y + p - u) / s]` over the `u` for which the division is exact. These are
//! the same for all `y` of one phase `y mod s`, so each phase is a [`WindowProduct`] over `dy` of its own.

use super::Sizes;
use super::padded::Padded;
use super::windows::WindowProduct;
use super::winograd::Winograd;
use crate::parallel::{Scratch, SharedMut, parallel_ranges};
use crate::product::Transpose;
use crate::simd::{LANES, dispatch};

/// Writes the gradient of the input: for each phase of the stride, a product of `dy` with the weights turned around.
pub(super) fn gradient(sizes: Sizes, dy: &[f32], weights: &[f32], out: SharedMut) {
    let Sizes { samples, c_in, c_out, groups, input, output, window, stride, padding } = sizes;
    if sizes.in_tiles(input) {
        // `dx[y] = sum_u w[2 - u] dy[y + u - (2 - p)]`.
        let fast = Winograd {
            image: dy,
            samples,
            channels: c_out,
            size: output,
            padding: padding.map(|padding| 2 - padding),
            weights,
            steps: [9, 9 * c_in],
            turned: true,
            bias: None,
            rows: c_in,
            grid: input,
            out,
        };
        // SAFETY: every processor has such products, and the sizes are those of the tensors.
        return unsafe { fast.run() };
    }
    let (inner, outer, taps) = (sizes.inner(), sizes.outer(), sizes.taps());
    // Zeros that make every distance of every phase stay inside of the image.
    let (mut before, mut after) = ([0, 0], [0, 0]);
    for i in 0..2 {
        for phase in 0..stride[i].min(input[i]) {
            let count = (input[i] - phase).div_ceil(stride[i]) as isize;
            for (_, d) in reach(phase, stride[i], padding[i], window[i]) {
                before[i] = before[i].max((-d).max(0) as usize);
                after[i] = after[i].max((count + d - output[i] as isize).max(0) as usize);
            }
        }
    }
    let image = Padded::new(dy, samples * c_out, output, before, after);
    let pixels = input[0] * input[1];
    for phase in 0..stride[0] * stride[1] {
        let phase = [phase / stride[1], phase % stride[1]];
        if phase[0] >= input[0] || phase[1] >= input[1] {
            continue;
        }
        let rows = reach(phase[0], stride[0], padding[0], window[0]);
        let columns = reach(phase[1], stride[1], padding[1], window[1]);
        // Position in the window, and offset in the padded `dy`.
        let at = |d: isize, before: usize| d.wrapping_add_unsigned(before) as usize;
        let steps: Vec<(usize, usize)> = rows
            .iter()
            .flat_map(|&(u, d)| columns.iter().map(move |&(v, e)| (u, d, v, e)))
            .map(|(u, d, v, e)| (u * window[1] + v, at(d, before[0]) * image.size[1] + at(e, before[1])))
            .collect();
        let plane = image.plane();
        let offset = |o: usize| steps.iter().map(move |(_, source)| o * plane + source);
        let sources: Vec<usize> = (0..outer).flat_map(offset).collect();
        let mut turned = Scratch::new(inner * sources.len());
        for group in 0..groups {
            turn(&weights[group * outer * inner * taps..], [outer, inner, taps], &steps, &mut turned);
            WindowProduct {
                image: &image.values()[group * outer * image.plane()..],
                image_sample: c_out * image.plane(),
                image_step: [image.size[1], 1],
                sources: &sources,
                weights: &turned,
                rows: inner,
                bias: None,
                samples,
                grid: [(input[0] - phase[0]).div_ceil(stride[0]), (input[1] - phase[1]).div_ceil(stride[1])],
                // SAFETY: the first pixel of the phase is inside of the output.
                out: SharedMut::new(unsafe {
                    out.at(group * inner * pixels + phase[0] * input[1] + phase[1])
                }),
                out_sample: c_in * pixels,
                out_row: pixels,
                out_step: [stride[0] * input[1], stride[1]],
            }
            .run();
        }
    }
}

/// The positions of the window through which the rows (or columns) `phase`, `phase + stride`, .. of the input reach
/// the output: each with the distance `d` such that the `i`-th of those rows meets row `i + d` of the output.
fn reach(phase: usize, stride: usize, padding: usize, window: usize) -> Vec<(usize, isize)> {
    let meets = |u: usize| {
        let numerator = (phase + padding) as isize - u as isize;
        (numerator.rem_euclid(stride as isize) == 0).then_some((u, numerator.div_euclid(stride as isize)))
    };
    (0..window).filter_map(meets).collect()
}

/// `to[c][o, step] = weights[o][c][position of step]`.
fn turn(weights: &[f32], [outer, inner, taps]: [usize; 3], steps: &[(usize, usize)], to: &mut [f32]) {
    let out = SharedMut::new(to.as_mut_ptr());
    let row = outer * steps.len();
    if taps == 1 && steps.len() == 1 {
        let cost = outer.div_ceil(LANES) * LANES;
        parallel_ranges(inner.div_ceil(LANES), cost, |range| {
            let (first, last) = (range.start * LANES, (range.end * LANES).min(inner));
            let src = weights[first..].as_ptr();
            // SAFETY: every row belongs to one task.
            unsafe {
                let dst = out.at(first * row);
                dispatch(Transpose {
                    src,
                    ld_src: inner,
                    rows: outer,
                    columns: last - first,
                    dst,
                    ld_dst: row,
                });
            }
        });
        return;
    }
    parallel_ranges(inner, 2 * row, |range| {
        for c in range {
            // SAFETY: every row belongs to one task.
            let to = unsafe { std::slice::from_raw_parts_mut(out.at(c * row), row) };
            for (o, to) in to.chunks_exact_mut(steps.len().max(1)).enumerate() {
                let from = &weights[(o * inner + c) * taps..][..taps];
                for (to, (position, _)) in to.iter_mut().zip(steps) {
                    *to = from[*position];
                }
            }
        }
    });
}
