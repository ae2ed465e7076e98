//! Area average: each output pixel is the mean of the input pixels it touches.
//!
//! ```text
//! out[i] = mean of in[floor(i n / m) .. ceil((i + 1) n / m)]
//! ```
//!
//! Where `n` is the input size and `m` the output size; a touched pixel counts whole. Source: `PyTorch`'s
//! `F.interpolate(mode="area")`, which is its adaptive average pooling.

use super::{HwcImage, Taps, separable};
use crate::EvalError;

/// Resizes to `[height, width]` by area average.
///
/// # Errors
/// When a side is zero.
pub fn area(image: &HwcImage, height: usize, width: usize) -> Result<HwcImage, EvalError> {
    separable(image, height, width, |input, output| {
        (0..output)
            .map(|at| {
                let (first, end) = (at * input / output, ((at + 1) * input).div_ceil(output));
                Taps { first, weights: vec![1.0 / (end - first) as f64; end - first] }
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_factors_are_block_means() {
        let image = HwcImage::from_u8(2, 4, 1, &[1, 3, 10, 20, 5, 7, 30, 40]).unwrap();
        assert_eq!(area(&image, 1, 2).unwrap().values(), &[4.0, 25.0]);
    }

    #[test]
    fn a_pixel_between_two_outputs_counts_in_both() {
        // 5 -> 2: indices 0..3 and 2..5, as adaptive average pooling cuts them.
        let image = HwcImage::from_u8(1, 5, 1, &[0, 3, 6, 9, 12]).unwrap();
        assert_eq!(area(&image, 1, 2).unwrap().values(), &[3.0, 9.0]);
    }
}
