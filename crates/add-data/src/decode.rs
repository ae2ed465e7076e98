//! Encoded pictures to 8-bit sRGB, within limits.
//!
//! Without limits a PNG of 400 kB becomes 400 MB of pixels. A picture above [`MAX_SIDE`] or
//! [`MAX_DECODED_BYTES`] is refused from its header, before its pixels are allocated.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
    codecs::{png::PngDecoder, webp::WebPDecoder},
};

use crate::DataError;

/// Largest width and height, in pixels.
pub const MAX_SIDE: u32 = 8192;
/// Largest size of the decoded pixels, in bytes.
pub const MAX_DECODED_BYTES: u64 = 256 << 20;

const START_OF_SCAN: [u8; 2] = [0xFF, 0xDA];
const END_OF_JPEG: [u8; 2] = [0xFF, 0xD9];

/// Decodes a PNG, JPEG or WebP file's bytes: upright by its EXIF orientation, transparent parts on white.
///
/// # Errors
/// When the bytes are no such picture, are damaged, or exceed the limits.
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, DataError> {
    let decode = |error: ImageError| DataError::Decode(error.to_string());
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| DataError::Decode(error.to_string()))?;
    reader.limits(limits());
    check_whole(bytes, reader.format())?;
    let mut decoder = reader.into_decoder().map_err(decode)?;
    let (width, height) = decoder.dimensions();
    // Not every decoder looks at the limits it was given.
    if width > MAX_SIDE || height > MAX_SIDE || decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(DataError::Decode(format!(
            "{width} x {height} pixels; at most {MAX_SIDE} a side and {} MiB decoded are allowed",
            MAX_DECODED_BYTES >> 20
        )));
    }
    let orientation = decoder.orientation().map_err(decode)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(decode)?;
    picture.apply_orientation(orientation);
    Ok(if picture.color().has_alpha() { on_white(picture) } else { picture.into_rgb8() })
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

/// Refuses what the decoders would show a part of: an animation, and a JPEG that was cut off.
fn check_whole(bytes: &[u8], format: Option<ImageFormat>) -> Result<(), DataError> {
    let decode = |error: ImageError| DataError::Decode(error.to_string());
    let animated = match format {
        Some(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits()).map_err(decode)?;
            decoder.is_apng().map_err(decode)?
        }
        Some(ImageFormat::WebP) => WebPDecoder::new(Cursor::new(bytes)).map_err(decode)?.has_animation(),
        _ => false,
    };
    if animated {
        return Err(DataError::Decode("an animation; expected a still picture".to_owned()));
    }
    // Neither marker can stand inside of a scan, and a thumbnail comes before the scans.
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    if format == Some(ImageFormat::Jpeg) && last(START_OF_SCAN) >= last(END_OF_JPEG) {
        return Err(DataError::Decode("the JPEG is cut off: it has no end".to_owned()));
    }
    Ok(())
}

fn on_white(picture: DynamicImage) -> RgbImage {
    let rgba = picture.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u32::from);
        Rgb([r, g, b].map(|c| ((c * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("a small picture");
        bytes.into_inner()
    }

    #[test]
    fn lossless_pictures_come_back_exactly() {
        let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8 * 50, y as u8 * 80, 7]));
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            assert_eq!(decode_rgb(&encoded(&picture.clone().into(), format)).expect("valid"), picture);
        }
    }

    #[test]
    fn transparency_becomes_white() {
        let picture = RgbaImage::from_fn(2, 1, |x, _| Rgba([10, 20, 30, if x == 0 { 0 } else { 128 }]));
        let decoded = decode_rgb(&encoded(&picture.into(), ImageFormat::Png)).expect("valid");
        assert_eq!(decoded.get_pixel(0, 0).0, [255; 3]);
        // 10 * 128/255 + 255 * 127/255 = 132.02
        assert_eq!(decoded.get_pixel(1, 0).0, [132, 137, 142]);
    }

    #[test]
    fn a_wide_picture_is_refused_from_its_header() {
        let error = decode_rgb(&encoded(&RgbImage::new(8193, 1).into(), ImageFormat::Png)).unwrap_err();
        assert!(matches!(error, DataError::Decode(_)), "{error}");
    }

    #[test]
    fn a_claim_of_gigapixels_is_refused_without_their_memory() {
        // The header of an 8-by-8 PNG rewritten to claim 8192 x 8192 RGBA of 16 bits: 512 MiB.
        let mut bytes = encoded(&image::DynamicImage::new_rgba16(8, 8), ImageFormat::Png);
        bytes[16..24].copy_from_slice(&[0, 0, 32, 0, 0, 0, 32, 0]);
        let crc = bytes[12..29].iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
        });
        bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
        let error = decode_rgb(&bytes).unwrap_err().to_string();
        assert!(error.contains("256 MiB") || error.to_lowercase().contains("limit"), "{error}");
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let whole = encoded(&RgbImage::new(64, 64).into(), ImageFormat::Png);
        for bytes in [&whole[..whole.len() / 2], b"not a picture".as_slice(), b"".as_slice()] {
            assert!(matches!(decode_rgb(bytes), Err(DataError::Decode(_))));
        }
    }
}
