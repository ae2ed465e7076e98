//! CLIP's evaluation transform: PIL bicubic of the shorter side, centre crop, normalisation.
//!
//! ```text
//! 8-bit pass: out = clip8((2^21 + sum_p round(2^22 w_p) in[p]) >> 22), rows first, then columns
//! value = (pixel / 255 - mean) / std
//! ```
//!
//! PIL resizes 8-bit pictures in fixed point and rounds to 8 bits between the two passes, so this path is integer
//! arithmetic all through. Source: Pillow's `Resample.c`; `open_clip`'s `image_transform` (shortest side, torchvision
//! `Resize` and `CenterCrop`); mean and std of Radford et al., "Learning transferable visual models", 2021.

use add_resample::Taps;

use super::{bicubic::bicubic, check_shape};
use crate::EvalError;

/// Mean of CLIP's training pictures, RGB in `0..=1`.
pub const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Standard deviation of CLIP's training pictures, RGB in `0..=1`.
pub const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

const CHANNELS: usize = 3;
/// Fraction bits of PIL's 8-bit filter weights.
const PRECISION: u32 = 22;

/// An RGB picture `[height, width, 3]` to the network's input `[3, size, size]`.
///
/// # Errors
/// When a side is zero or `pixels` does not fill the shape.
pub fn clip_transform(
    pixels: &[u8],
    height: usize,
    width: usize,
    size: usize,
) -> Result<Vec<f32>, EvalError> {
    let square = clip_square(pixels, height, width, size)?;
    let normalised = |channel: usize| {
        let values = square[channel..].iter().step_by(CHANNELS);
        values.map(move |&v| ((f64::from(v) / 255.0 - CLIP_MEAN[channel]) / CLIP_STD[channel]) as f32)
    };
    Ok((0..CHANNELS).flat_map(normalised).collect())
}

/// The part of [`clip_transform`] before the normalisation: shorter side to `size`, central square,
/// `[size, size, 3]` of 8 bits.
///
/// # Errors
/// As [`clip_transform`].
pub fn clip_square(pixels: &[u8], height: usize, width: usize, size: usize) -> Result<Vec<u8>, EvalError> {
    check_shape(height, width, CHANNELS, pixels.len())?;
    EvalError::need_range("output size", 1, usize::MAX, size)?;
    // torchvision's Resize: the longer side is cut to an integer, not rounded.
    let longer = |long: usize, short: usize| size * long / short;
    let (new_height, new_width) =
        if height <= width { (size, longer(width, height)) } else { (longer(height, width), size) };
    let resized = pil_bicubic(pixels, [height, width], [new_height, new_width])?;
    let (top, left) = (crop_offset(new_height, size), crop_offset(new_width, size));
    let rows = resized.chunks_exact(new_width * CHANNELS).skip(top).take(size);
    Ok(rows.flat_map(|row| row[left * CHANNELS..(left + size) * CHANNELS].iter().copied()).collect())
}

/// PIL's bicubic resize of an RGB picture of 8 bits, `[height, width, 3]`, to other sides `[height, width]`.
///
/// # Errors
/// When a side is zero or `pixels` does not fill the shape.
pub fn pil_bicubic(pixels: &[u8], from: [usize; 2], to: [usize; 2]) -> Result<Vec<u8>, EvalError> {
    check_shape(from[0], from[1], CHANNELS, pixels.len())?;
    for side in to {
        EvalError::need_range("output size", 1, usize::MAX, side)?;
    }
    // PIL leaves a direction alone that keeps its size.
    let wide = if from[1] == to[1] {
        pixels.to_vec()
    } else {
        resize_rows(pixels, from[1], &bicubic(from[1], to[1]))
    };
    Ok(if from[0] == to[0] { wide } else { resize_columns(&wide, to[1], &bicubic(from[0], to[0])) })
}

/// Python's `round((from - to) / 2)`: halves go to the even number.
fn crop_offset(from: usize, to: usize) -> usize {
    ((from - to) as f64 / 2.0).round_ties_even() as usize
}

fn resize_rows(pixels: &[u8], width: usize, columns: &[Taps]) -> Vec<u8> {
    let fixed = fixed_point(columns);
    let mut out = Vec::with_capacity(pixels.len() / width * columns.len());
    for line in pixels.chunks_exact(width * CHANNELS) {
        for (taps, weights) in columns.iter().zip(&fixed) {
            for channel in 0..CHANNELS {
                out.push(filter(weights, line[taps.first * CHANNELS + channel..].iter().step_by(CHANNELS)));
            }
        }
    }
    out
}

fn resize_columns(pixels: &[u8], width: usize, rows: &[Taps]) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut out = Vec::with_capacity(rows.len() * stride);
    for (taps, weights) in rows.iter().zip(&fixed_point(rows)) {
        for column in 0..stride {
            out.push(filter(weights, pixels[taps.first * stride + column..].iter().step_by(stride)));
        }
    }
    out
}

/// Weights times `2^22`, rounded half away from zero.
fn fixed_point(taps: &[Taps]) -> Vec<Vec<i64>> {
    let scale = f64::from(1u32 << PRECISION);
    taps.iter()
        .map(|taps| taps.weights.iter().map(|weight| (weight * scale).round() as i64).collect())
        .collect()
}

fn filter<'a>(weights: &[i64], inputs: impl Iterator<Item = &'a u8>) -> u8 {
    let sum: i64 = weights.iter().zip(inputs).map(|(weight, &input)| weight * i64::from(input)).sum();
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_white_picture_is_the_normalised_one() {
        let out = clip_transform(&[255; 5 * 8 * 3], 5, 8, 4).unwrap();
        assert_eq!(out.len(), 3 * 4 * 4);
        for (at, value) in out.iter().enumerate() {
            let channel = at / 16;
            assert!((f64::from(*value) - (1.0 - CLIP_MEAN[channel]) / CLIP_STD[channel]).abs() < 1e-6);
        }
        assert!(clip_transform(&[0; 5], 5, 8, 4).is_err());
        assert!(clip_transform(&[0; 120], 5, 8, 0).is_err());
    }
}
