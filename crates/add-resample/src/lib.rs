//! How a row of pixels, or of a table, becomes a row of another length, in the ways that published code depends on.
//!
//! Each way is linear, and rows and columns are independent, so a way is a list of weights for every new place of one
//! direction ([`Taps`]). What is done with them differs: tensors with gradients (`add-kernels`), pictures in float or in
//! Pillow's fixed point (`add-eval`), bytes (`add-data`).
//!
//! With `n` old and `m` new places, new place `i` has its centre at `(i + 1/2) n / m` in the old row. Sources: `PyTorch`'s
//! `interpolate` with `align_corners = False`, Pillow's `Resample.c`, Keys, "Cubic convolution interpolation for digital image
//! processing", 1981.

/// The old places that make a new one: `weights[k]` is the weight of place `first + k`. They add up to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    /// The first place with a weight.
    pub first: usize,
    /// Its weight, and those of the places after it.
    pub weights: Vec<f64>,
}

/// How the values between old places are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The mean over each new place's area, of whole old places, where the row shrinks (adaptive average pooling: place `i` is
    /// the mean of `floor(i n / m) .. ceil((i + 1) n / m)`); linear where it grows.
    Area,
    /// The mean over each new place's area, old places counted by the share of them that lies in it: Pillow's `BOX`.
    Box,
    /// Two taps.
    Linear,
    /// Two taps, widened when shrinking.
    LinearAntialiased,
    /// Four taps of the Keys (1981) kernel with `a = -0.75`.
    Cubic,
    /// The same at the scale `n / (m + 0.1)`: the position tables of facebook's DINO and `DINOv2`.
    CubicOffset,
    /// Four taps of the Keys kernel with `a = -0.5`, widened when shrinking; also what Pillow does.
    CubicAntialiased,
}

impl Filter {
    /// The taps of every new place.
    ///
    /// # Panics
    /// When either length is zero.
    pub fn taps(self, from: usize, to: usize) -> Vec<Taps> {
        assert!(from > 0 && to > 0, "{from} pixels to {to}");
        let scale = from as f64 / to as f64;
        let taps = |i: usize| match self {
            Self::Area if to <= from => area(from, i, to),
            Self::Area | Self::Linear => linear(from, i, scale),
            Self::Box => covered(from, i, to),
            Self::LinearAntialiased => widened(from, i, scale, 1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::Cubic => cubic(from, i, scale as f32),
            Self::CubicOffset => cubic(from, i, (from as f64 / (to as f64 + 0.1)) as f32),
            Self::CubicAntialiased => widened(from, i, scale, 2.0, |x| keys(x, -0.5)),
        };
        (0..to).map(taps).collect()
    }

    /// The same as a matrix `[to, from]`, row-major.
    ///
    /// # Panics
    /// When either length is zero.
    pub fn matrix(self, from: usize, to: usize) -> Vec<f64> {
        let mut matrix = vec![0.0; to * from];
        for (row, taps) in matrix.chunks_exact_mut(from).zip(self.taps(from, to)) {
            row[taps.first..][..taps.weights.len()].copy_from_slice(&taps.weights);
        }
        matrix
    }
}

fn area(from: usize, i: usize, to: usize) -> Taps {
    let (first, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
    Taps { first, weights: vec![1.0 / (end - first) as f64; end - first] }
}

/// Ends of areas in units of `1 / to` are whole numbers, so that no place is touched by rounding alone.
fn covered(from: usize, i: usize, to: usize) -> Taps {
    let (start, end) = (i * from, (i + 1) * from);
    let (first, last) = (start / to, end.div_ceil(to));
    let share = |j: usize| (end.min((j + 1) * to) - start.max(j * to)) as f64 / from as f64;
    Taps { first, weights: (first..last).map(share).collect() }
}

fn linear(from: usize, i: usize, scale: f64) -> Taps {
    let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
    let first = (at as usize).min(from - 1);
    folded(from, [(first as i64, 1.0 - at.fract()), (first as i64 + 1, at.fract())])
}

/// In f32, as the reference libraries compute the place whatever the network's type: at place 37 the rounding is 4e-6, more
/// than the parity tests allow.
fn cubic(from: usize, i: usize, scale: f32) -> Taps {
    let at = scale * (i as f32 + 0.5) - 0.5;
    let base = at.floor();
    let tap = |tap: i64| (base as i64 + tap, keys(f64::from(at - base) - tap as f64, -0.75));
    folded(from, [-1, 0, 1, 2].map(tap))
}

/// Neighbouring places with their weights; what is beyond an end falls on it.
fn folded<const N: usize>(from: usize, places: [(i64, f64); N]) -> Taps {
    let inside = |place: i64| place.clamp(0, from as i64 - 1) as usize;
    let (first, last) = (inside(places[0].0), inside(places[N - 1].0));
    let mut weights = vec![0.0; last - first + 1];
    for (place, weight) in places {
        weights[inside(place) - first] += weight;
    }
    Taps { first, weights }
}

/// A kernel of this support, widened by `scale` when shrinking; taps beyond the ends are left out and the rest rescaled to
/// sum 1.
fn widened(from: usize, i: usize, scale: f64, support: f64, kernel: impl Fn(f64) -> f64) -> Taps {
    let widening = scale.max(1.0);
    let (centre, support) = (scale * (i as f64 + 0.5), support * widening);
    // A cast to unsigned cuts at zero, as Pillow does.
    let first = (centre - support + 0.5) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    let weight = |j: usize| kernel((j as f64 - centre + 0.5) / widening);
    let mut weights: Vec<f64> = (first..end).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    Taps { first, weights }
}

/// The kernel of Keys (1981):
///
/// ```text
/// w(x) = (a + 2) |x|^3 - (a + 3) |x|^2 + 1          |x| < 1
///      = a |x|^3 - 5 a |x|^2 + 8 a |x| - 4 a        1 <= |x| < 2
/// ```
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Filter; 7] = [
        Filter::Area,
        Filter::Box,
        Filter::Linear,
        Filter::LinearAntialiased,
        Filter::Cubic,
        Filter::CubicOffset,
        Filter::CubicAntialiased,
    ];

    fn resized(row: &[f64], to: usize, filter: Filter) -> Vec<f64> {
        let sum = |taps: Taps| taps.weights.iter().zip(&row[taps.first..]).map(|(w, x)| w * x).sum();
        filter.taps(row.len(), to).into_iter().map(sum).collect()
    }

    /// `interpolate` of `[0, 1, 4, 9, 16, 25, 36]`, PyTorch 2.15, f64; `Box` by hand.
    #[test]
    fn a_row_is_resized_as_pytorch_does() {
        let squares: Vec<f64> = (0..7).map(|i| f64::from(i * i)).collect();
        let grown = [0.0, 0.55, 1.75, 3.85, 7.25, 11.45, 16.45, 22.75, 29.95, 36.0];
        for (filter, want) in [
            (Filter::Area, &[1.666_667, 9.666_667, 25.666_667][..]),
            // 7 / 3 places each: (0 + 1 + 4 / 3), (2 / 3 * 4 + 9 + 2 / 3 * 16), (16 / 3 + 25 + 36), over 7 / 3.
            (Filter::Box, &[1.0, 9.571_429, 28.428_571]),
            (Filter::Linear, &[0.666_667, 9.0, 28.666_667]),
            (Filter::Linear, &grown),
            (Filter::LinearAntialiased, &[1.285_714, 9.941_176, 27.0]),
            (Filter::LinearAntialiased, &grown),
            (Filter::Cubic, &[0.351_852, 9.0, 29.462_963]),
            (
                Filter::Cubic,
                &[
                    -0.081_281, 0.249_906, 1.609_375, 3.714_625, 6.738_125, 11.347_625, 16.571_125,
                    22.046_875, 30.800_781, 36.894_094,
                ],
            ),
            (Filter::CubicAntialiased, &[0.677_419, 9.363_858, 28.064_516]),
            (
                Filter::CubicAntialiased,
                &[
                    -0.060_57, 0.339_293, 1.562_5, 3.802_5, 7.022_5, 11.222_5, 16.402_5, 22.562_5,
                    30.720_443, 36.666_271,
                ],
            ),
        ] {
            let got = resized(&squares, want.len(), filter);
            let close = got.iter().zip(want).all(|(g, w)| (g - w).abs() < 2e-6 * (1.0 + w.abs()));
            assert!(close, "{filter:?}: {got:?}, expected {want:?}");
        }
    }

    #[test]
    fn the_kernel_interpolates_and_its_shifts_add_up_to_one() {
        assert!((keys(0.0, -0.5) - 1.0).abs() < 1e-15 && keys(1.0, -0.5).abs() < 1e-15);
        assert!((keys(0.5, -0.5) - 0.5625).abs() < 1e-15 && (keys(1.5, -0.5) + 0.0625).abs() < 1e-15);
        for shift in [0.1, 0.37, 0.9] {
            let sum: f64 = (-2..=2).map(|at| keys(f64::from(at) + shift, -0.75)).sum();
            assert!((sum - 1.0).abs() < 1e-14);
        }
    }

    proptest! {
        #[test]
        fn weights_add_up_to_one_and_lie_inside(from in 1_usize..60, to in 1_usize..60) {
            for filter in ALL {
                for taps in filter.taps(from, to) {
                    prop_assert!(taps.first + taps.weights.len() <= from, "{filter:?} {taps:?}");
                    prop_assert!((taps.weights.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{filter:?} {taps:?}");
                }
            }
        }

        #[test]
        fn a_ramp_stays_a_ramp_inside(half in 4_usize..20) {
            let ramp: Vec<f64> = (0..2 * half).map(|i| i as f64).collect();
            for filter in ALL.into_iter().filter(|filter| *filter != Filter::CubicOffset) {
                for (i, y) in resized(&ramp, half, filter).iter().enumerate().take(half - 2).skip(2) {
                    prop_assert!((y - (2.0 * i as f64 + 0.5)).abs() < 1e-5, "{filter:?} {i}: {y}");
                }
            }
        }

        #[test]
        fn shrinking_by_a_whole_factor_keeps_the_mean(to in 1_usize..8, factor in 1_usize..5) {
            let x: Vec<f64> = (0..to * factor).map(|i| ((i * i) as f64).sin()).collect();
            let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
            for filter in [Filter::Area, Filter::Box] {
                prop_assert!((mean(&resized(&x, to, filter)) - mean(&x)).abs() < 1e-12);
            }
        }
    }
}
