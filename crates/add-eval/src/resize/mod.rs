//! Resizing in the conventions that published features depend on.
//!
//! ```text
//! out[i, j] = sum_p sum_q row_i(p) column_j(q) in[p, q]
//! ```
//!
//! Every convention here is separable: it is a list of taps for each output index of an axis, and only the taps
//! differ. Parmar, Zhang, Zhu, "On aliased resizing and surprising subtleties in GAN evaluation", 2022, measured
//! what mixing them costs: several points of FID.
//!
//! - [`clean`]: PIL bicubic with antialiasing on float, clipped to `0..=255` (clean-fid).
//! - [`tf1_bilinear`]: TensorFlow 1 bilinear, no half-pixel shift, no antialiasing (torch-fidelity).
//! - [`torch_bilinear`]: half-pixel centres, no antialiasing (pytorch-fid).
//! - [`pil_bicubic`]: PIL bicubic in 8 bits (dgm-eval).
//! - [`clip_transform`]: `open_clip`'s 8-bit PIL bicubic, centre crop and normalisation.

mod bicubic;
mod clip_transform;
mod tf1;
mod torch;

pub use bicubic::clean;
pub use clip_transform::{CLIP_MEAN, CLIP_STD, clip_square, clip_transform, pil_bicubic};
pub use tf1::tf1_bilinear;
pub use torch::torch_bilinear;

use add_resample::Taps;

use crate::EvalError;

/// A picture `[H, W, C]` in float, usually `0..=255`.
#[derive(Debug, Clone, PartialEq)]
pub struct HwcImage {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f32>,
}

impl HwcImage {
    /// Takes `values` `[height, width, channels]`, row-major.
    ///
    /// # Errors
    /// When a side is zero or the count does not fit.
    pub fn new(height: usize, width: usize, channels: usize, values: Vec<f32>) -> Result<Self, EvalError> {
        check_shape(height, width, channels, values.len())?;
        Ok(Self { height, width, channels, values })
    }

    /// Takes 8-bit `values` `[height, width, channels]`, kept on `0..=255`.
    ///
    /// # Errors
    /// As [`HwcImage::new`].
    pub fn from_u8(height: usize, width: usize, channels: usize, values: &[u8]) -> Result<Self, EvalError> {
        Self::new(height, width, channels, values.iter().map(|&value| f32::from(value)).collect())
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, `[height, width, channels]` row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Fails unless no side is zero and `got` values fill the shape.
fn check_shape(height: usize, width: usize, channels: usize, got: usize) -> Result<(), EvalError> {
    for (what, side) in [("image height", height), ("image width", width), ("image channels", channels)] {
        EvalError::need_range(what, 1, usize::MAX, side)?;
    }
    let expected = height.saturating_mul(width).saturating_mul(channels);
    if expected == got { Ok(()) } else { Err(EvalError::Length { what: "image", expected, got }) }
}

/// Resizes with one rule of taps `rule(input size, output size)` for both axes; sums run in float64.
fn separable(
    image: &HwcImage,
    height: usize,
    width: usize,
    rule: impl Fn(usize, usize) -> Vec<Taps>,
) -> Result<HwcImage, EvalError> {
    EvalError::need_range("output height", 1, usize::MAX, height)?;
    EvalError::need_range("output width", 1, usize::MAX, width)?;
    let channels = image.channels;
    // Rows first: this is PIL's order, and it decides where the intermediate rounds to float32.
    let columns = rule(image.width, width);
    let mut wide = Vec::with_capacity(image.height * width * channels);
    for line in image.values.chunks_exact(image.width * channels) {
        for taps in &columns {
            for channel in 0..channels {
                let start = taps.first * channels + channel;
                let inputs = line[start..].iter().step_by(channels);
                wide.push(weighted(&taps.weights, inputs));
            }
        }
    }
    let stride = width * channels;
    let mut values = Vec::with_capacity(height * stride);
    for taps in rule(image.height, height) {
        for column in 0..stride {
            let inputs = wide[taps.first * stride + column..].iter().step_by(stride);
            values.push(weighted(&taps.weights, inputs));
        }
    }
    HwcImage::new(height, width, channels, values)
}

fn weighted<'a>(weights: &[f64], inputs: impl Iterator<Item = &'a f32>) -> f32 {
    weights.iter().zip(inputs).map(|(weight, &input)| weight * f64::from(input)).sum::<f64>() as f32
}

/// Two neighbours around the input coordinate `at`, the upper one staying inside `size`.
fn linear_taps(at: f32, size: usize) -> Taps {
    let first = (at.floor() as usize).min(size - 1);
    let fraction = f64::from(at - first as f32);
    if first + 1 < size {
        Taps { first, weights: vec![1.0 - fraction, fraction] }
    } else {
        Taps { first, weights: vec![1.0] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_convention_keeps_a_flat_picture_flat_and_its_own_size_unchanged() {
        let flat = HwcImage::from_u8(9, 7, 2, &[77; 126]).unwrap();
        let ramp = HwcImage::from_u8(9, 7, 2, &(0..126).collect::<Vec<u8>>()).unwrap();
        for resize in [clean, tf1_bilinear, torch_bilinear] {
            for (height, width) in [(3, 20), (31, 1), (9, 7)] {
                let out = resize(&flat, height, width).unwrap();
                assert_eq!((out.height(), out.width(), out.channels()), (height, width, 2));
                assert!(out.values().iter().all(|value| (value - 77.0).abs() < 1e-4));
            }
            assert_eq!(resize(&ramp, 9, 7).unwrap(), ramp);
        }
    }

    #[test]
    fn a_side_of_zero_is_refused() {
        let image = HwcImage::from_u8(1, 1, 1, &[0]).unwrap();
        for resize in [clean, tf1_bilinear, torch_bilinear] {
            assert!(resize(&image, 0, 3).is_err() && resize(&image, 3, 0).is_err());
        }
        assert!(HwcImage::from_u8(0, 4, 3, &[]).is_err());
        assert!(HwcImage::from_u8(2, 2, 3, &[0; 11]).is_err());
    }
}
