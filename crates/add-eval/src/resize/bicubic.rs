//! PIL's bicubic filter, widened by the scale when shrinking (antialiasing), and clean-fid's use of it.
//!
//! ```text
//! w(x) = 1.5 |x|^3 - 2.5 |x|^2 + 1              |x| < 1          (Keys with a = -1/2)
//!      = -0.5 |x|^3 + 2.5 |x|^2 - 4 |x| + 2     1 <= |x| < 2
//! centre_i = (i + 1/2) s,  s = input / output;  weight of pixel p ~ w((p + 1/2 - centre_i) / max(s, 1))
//! ```
//!
//! Weights outside the picture are dropped and the rest normalised to sum 1.
//! Source: Pillow's `Resample.c`; Parmar, Zhang, Zhu, "On aliased resizing", 2022 (clean-fid resizes each channel
//! as float32 and clips to `0..=255`); Keys, "Cubic convolution interpolation", 1981.

use add_resample::{Filter, Taps};

use super::{HwcImage, separable};
use crate::EvalError;

/// Resizes to `[height, width]` as clean-fid does; the result is in `0..=255`.
///
/// # Errors
/// When a side is zero.
pub fn clean(image: &HwcImage, height: usize, width: usize) -> Result<HwcImage, EvalError> {
    let mut out = separable(image, height, width, bicubic)?;
    for value in &mut out.values {
        *value = value.clamp(0.0, 255.0);
    }
    Ok(out)
}

/// PIL's taps for one axis.
pub(super) fn bicubic(input: usize, output: usize) -> Vec<Taps> {
    Filter::CubicAntialiased.taps(input, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_a_checkerboard_gives_grey_where_no_antialiasing_gives_noise() {
        let board: Vec<u8> =
            (0..64 * 64).map(|at| if (at / 64 + at % 64) % 2 == 0 { 255 } else { 0 }).collect();
        let image = HwcImage::from_u8(64, 64, 1, &board).unwrap();
        let spread = |image: &HwcImage| {
            image.values().iter().fold(0.0, |worst: f32, value| worst.max((value - 127.5).abs()))
        };
        assert!(spread(&clean(&image, 8, 8).unwrap()) < 3.0);
        assert!(spread(&super::super::tf1_bilinear(&image, 8, 8).unwrap()) > 100.0);
    }

    #[test]
    fn overshoot_is_clipped() {
        let edge: Vec<u8> = (0..16).map(|at| if at < 8 { 0 } else { 255 }).collect();
        let image = HwcImage::from_u8(1, 16, 1, &edge).unwrap();
        let out = clean(&image, 1, 48).unwrap();
        assert!(out.values().iter().all(|value| (0.0..=255.0).contains(value)));
        let raw = separable(&image, 1, 48, bicubic).unwrap();
        assert!(raw.values().iter().any(|&value| value < -1.0));
    }
}
