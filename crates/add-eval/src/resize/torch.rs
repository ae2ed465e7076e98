//! `PyTorch` bilinear: half-pixel centres, no antialiasing.
//!
//! ```text
//! source coordinate of output i = max(0, (i + 1/2) n / m - 1/2);   out = (1 - f) in[floor] + f in[floor + 1]
//! ```
//!
//! Where `n` is the input size and `m` the output size, `f` the fraction. Source: `PyTorch`'s
//! `F.interpolate(mode="bilinear", align_corners=False)`, used by pytorch-fid.
//! The coordinate is float32 there, and so it is here. `PyTorch` has two routines for it, and on every processor with fused
//! multiply-adds they round differently: where the sides of the output add up to at most 128 the product and the half are
//! rounded at once, else one after the other (`UpSampleKernel.cpp`, of contiguous pictures of up to three channels). In a
//! picture of 580 rows that last place of a coordinate moves a value by 0.005 of its 255 levels.

use super::{HwcImage, linear_taps, separable};
use crate::EvalError;

/// Rows and columns together up to which `PyTorch` takes its routine for small outputs.
const SMALL: usize = 128;

/// Resizes to `[height, width]` as `PyTorch` does.
///
/// # Errors
/// When a side is zero.
pub fn torch_bilinear(image: &HwcImage, height: usize, width: usize) -> Result<HwcImage, EvalError> {
    let small = height.saturating_add(width) <= SMALL;
    separable(image, height, width, |input, output| {
        let scale = input as f32 / output as f32;
        let coordinate = |at: usize| {
            let centre = at as f32 + 0.5;
            if small { centre.mul_add(scale, -0.5) } else { centre * scale - 0.5 }
        };
        (0..output).map(|at| linear_taps(coordinate(at).max(0.0), input)).collect()
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

    /// `F.interpolate` of `PyTorch` 2.15 on a processor with AVX-512: three neighbours around the pixel where the two ways of
    /// rounding differ most.
    #[test]
    fn odd_sizes_have_the_numbers_of_pytorch() {
        for (from, to, row, first, want) in [
            ([37, 53], [31, 29], 0, 3, [111.0523, 86.339_29, 186.6362]),
            ([512, 53], [13, 29], 6, 14, [47.500_56, 126.152_53, 160.672_97]),
            ([580, 53], [30, 29], 26, 14, [59.833_71, 67.866_15, 173.006_12]),
            ([66, 23], [299, 224], 290, 23, [97.507_29, 92.472_14, 92.952_64]),
            ([7, 13], [299, 224], 43, 143, [85.821_22, 76.825_67, 67.830_25]),
        ] {
            let [height, width] = from;
            let level = |i: usize| (i / width * 37 + i % width * 101) as u8;
            let levels: Vec<u8> = (0..height * width).map(level).collect();
            let image = HwcImage::from_u8(height, width, 1, &levels).unwrap();
            let out = torch_bilinear(&image, to[0], to[1]).unwrap();
            let got = &out.values()[row * to[1] + first..][..3];
            assert!(
                got.iter().zip(want).all(|(got, want)| (got - want).abs() < 6e-5),
                "{got:?} for {want:?}"
            );
        }
    }
}
