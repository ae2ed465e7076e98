//! Between 8-bit pictures and network pixels.
//!
//! A network sees planes `[3, H, W]` with values in `[-1, 1]`: `x = byte / 127.5 - 1`.

use add_plugin::Pixels;
use image::{Rgb, RgbImage};

/// A picture as planes `[3, H, W]`, row-major, values in `[-1, 1]`.
pub fn to_planes(picture: &RgbImage) -> Vec<f32> {
    (0..3).flat_map(|c| picture.pixels().map(move |p| f32::from(p.0[c]) / 127.5 - 1.0)).collect()
}

/// Planes `[3, height, width]` as a picture: clipped to `[-1, 1]`, rounded to the nearest byte.
///
/// # Panics
/// When `planes` has another length.
pub fn from_planes(planes: &[f32], width: u32, height: u32) -> RgbImage {
    let plane = (width * height) as usize;
    assert_eq!(planes.len(), 3 * plane, "three planes of {width} x {height}");
    RgbImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        // A value that is no number becomes black: `as` takes NaN to zero.
        Rgb([0, 1, 2].map(|c| ((planes[c * plane + at].clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8))
    })
}

/// A batch of network pixels `[B, 3, H, W]` as pictures.
pub fn pictures(pixels: &Pixels) -> Vec<RgbImage> {
    let [_, channels, height, width] = pixels.0.dims();
    let values: Vec<f32> = pixels.0.to_data().iter::<f32>().collect();
    values.chunks(channels * height * width).map(|p| from_planes(p, width as u32, height as u32)).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        let picture =
            RgbImage::from_fn(16, 16, |x, y| Rgb([(y * 16 + x) as u8, 255 - (y * 16 + x) as u8, 3]));
        assert_eq!(from_planes(&to_planes(&picture), 16, 16), picture);
    }

    #[test]
    fn planes_come_one_after_another() {
        let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([255, 0, if x == 0 { 0 } else { 255 }]));
        assert_eq!(to_planes(&picture), [1.0, 1.0, -1.0, -1.0, -1.0, 1.0]);
    }

    #[test]
    fn values_outside_are_clipped_and_no_number_is_black() {
        assert_eq!(from_planes(&[7.0, -3.0, f32::NAN], 1, 1).get_pixel(0, 0).0, [255, 0, 0]);
    }

    #[test]
    fn a_batch_becomes_its_pictures() {
        let data = TensorData::new(vec![-1.0f32, -1.0, -1.0, 1.0, 1.0, 1.0], [2, 3, 1, 1]);
        let batch = pictures(&Pixels(Tensor::from_data(data, &Device::flex())));
        assert_eq!(batch.iter().map(|p| p.get_pixel(0, 0).0[0]).collect::<Vec<_>>(), [0, 255]);
    }
}
