//! TensorFlow 1 bilinear: no half-pixel shift, no antialiasing.
//!
//! ```text
//! source coordinate of output i = i n / m;   out = (1 - f) in[floor] + f in[floor + 1]
//! ```
//!
//! Where `n` is the input size and `m` the output size, `f` the fraction. The original FID code fed Inception
//! through `tf.image.resize_bilinear(align_corners=False)`; torch-fidelity reproduces it.
//! The coordinate is float32 there, and so it is here.

use super::{HwcImage, linear_taps, separable};
use crate::EvalError;

/// Resizes to `[height, width]` as TensorFlow 1 does.
///
/// # Errors
/// When a side is zero.
pub fn tf1_bilinear(image: &HwcImage, height: usize, width: usize) -> Result<HwcImage, EvalError> {
    separable(image, height, width, |input, output| {
        let scale = input as f32 / output as f32;
        (0..output).map(|at| linear_taps(at as f32 * scale, input)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_starts_at_the_corner_and_repeats_the_last_pixel() {
        let image = HwcImage::from_u8(1, 3, 1, &[0, 10, 30]).unwrap();
        let out = tf1_bilinear(&image, 1, 6).unwrap();
        assert_eq!(out.values(), &[0.0, 5.0, 10.0, 20.0, 30.0, 30.0]);
    }
}
