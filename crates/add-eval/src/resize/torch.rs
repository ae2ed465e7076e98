//! `PyTorch` bilinear: half-pixel centres, no antialiasing.
//!
//! ```text
//! source coordinate of output i = max(0, (i + 1/2) n / m - 1/2);   out = (1 - f) in[floor] + f in[floor + 1]
//! ```
//!
//! Where `n` is the input size and `m` the output size, `f` the fraction. Source: `PyTorch`'s
//! `F.interpolate(mode="bilinear", align_corners=False)`, used by pytorch-fid.
//! The coordinate is float32 there, and so it is here.

use super::{HwcImage, linear_taps, separable};
use crate::EvalError;

/// Resizes to `[height, width]` as `PyTorch` does.
///
/// # Errors
/// When a side is zero.
pub fn torch_bilinear(image: &HwcImage, height: usize, width: usize) -> Result<HwcImage, EvalError> {
    separable(image, height, width, |input, output| {
        let scale = input as f32 / output as f32;
        (0..output).map(|at| linear_taps(((at as f32 + 0.5) * scale - 0.5).max(0.0), input)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_is_symmetric() {
        let image = HwcImage::from_u8(1, 2, 1, &[0, 8]).unwrap();
        let out = torch_bilinear(&image, 1, 4).unwrap();
        assert_eq!(out.values(), &[0.0, 2.0, 6.0, 8.0]);
    }
}
