//! Encoded pictures to 8-bit sRGB, within limits.
//!
//! Without limits a PNG of 400 kB becomes 400 MB of pixels. A picture above [`MAX_SIDE`] or
//! [`MAX_DECODED_BYTES`] is refused from its header, before its pixels are allocated.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
    codecs::{png::PngDecoder, webp::WebPDecoder},
    metadata::Orientation,
};

use crate::{DataError, colour, jpeg, png_file, tiff_file, unread};

/// Suffixes of the pictures that can be decoded, in small letters. What a file is follows from its bytes; the suffix only
/// says that it is a picture.
pub const SUFFIXES: [&str; 11] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff"];

/// Largest width and height, in pixels.
pub const MAX_SIDE: u32 = 8192;
/// Largest size of the decoded pixels, in bytes.
pub const MAX_DECODED_BYTES: u64 = 256 << 20;
/// Largest size of what a PNG says beside its pixels, unpacked, in bytes.
const MAX_PNG_NOTES: u64 = 16 << 20;

/// Decodes the bytes of a PNG, JPEG, WebP, BMP, GIF (its first frame) or TIFF file: upright by its EXIF orientation, in
/// sRGB by its colour profile, transparent parts on white. What follows the picture in the file is left out.
///
/// # Errors
/// When the bytes are no such picture, are damaged, or exceed the limits.
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, DataError> {
    let mut picture = decoded(bytes).map_err(DataError::Decode)?;
    let upright = picture.orientation;
    picture.pixels.apply_orientation(upright);
    let pixels = picture.pixels;
    Ok(if pixels.color().has_alpha() { on_white(pixels) } else { pixels.into_rgb8() })
}

/// What an encoded picture says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Width in pixels, before the picture is turned upright.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Whether it has brightness alone, one channel, and no colours.
    pub is_grey: bool,
    /// Whether parts of it may be transparent.
    pub has_alpha: bool,
}

/// The head of an encoded picture. Of its pixels nothing is decoded, but a file that ends too early is found.
///
/// # Errors
/// When the bytes are no picture that can be decoded, are cut off, or exceed the limits.
pub fn head(bytes: &[u8]) -> Result<Head, DataError> {
    let failed = |problem: String| DataError::Decode(problem);
    let (bytes, format) = still(bytes).map_err(failed)?;
    if is_cut(bytes, format) {
        return Err(failed("it is cut off: the file ends before the picture does".to_owned()));
    }
    let decoder = decoder(bytes, format).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let colours = decoder.color_type();
    Ok(Head { width, height, is_grey: !colours.has_color(), has_alpha: colours.has_alpha() })
}

/// A picture in sRGB, and how it must be turned.
struct Decoded {
    pixels: DynamicImage,
    orientation: Orientation,
}

/// The part of a file that holds its still picture, and of which format it is.
fn still(bytes: &[u8]) -> Result<(&[u8], Option<ImageFormat>), String> {
    if let Some(format) = unread::format(bytes) {
        return Err(format!("{format} is a format that is not read: convert it to PNG, JPEG or WebP"));
    }
    let format = image::guess_format(bytes).ok();
    let bytes = if format == Some(ImageFormat::Jpeg) {
        jpeg::first_image(bytes).ok_or("the JPEG is cut off: it has no end")?
    } else {
        bytes
    };
    check_still(bytes, format).map_err(|error| error.to_string())?;
    Ok((bytes, format))
}

/// A decoder that has read the head of a picture within the limits.
fn decoder(bytes: &[u8], format: Option<ImageFormat>) -> Result<impl ImageDecoder + '_, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    reader.limits(limits(format));
    let decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    // Not every decoder looks at the limits it was given.
    too_large(width, height, decoder.total_bytes())?;
    Ok(decoder)
}

fn decoded(bytes: &[u8]) -> Result<Decoded, String> {
    let problem = |error: ImageError| error.to_string();
    let (bytes, format) = still(bytes)?;
    if let Some(pixels) = tiff_file::palette(bytes)? {
        return Ok(Decoded { pixels, orientation: Orientation::NoTransforms });
    }
    let mut decoder = decoder(bytes, format)?;
    // A picture with a damaged note about itself is as good as one without.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let icc = match format {
        Some(ImageFormat::Tiff) => tiff_file::profile(bytes),
        _ => decoder.icc_profile().ok().flatten(),
    };
    let Some(icc) = icc else {
        let pixels = DynamicImage::from_decoder(decoder).map_err(problem)?;
        return Ok(Decoded { pixels, orientation });
    };
    if format == Some(ImageFormat::Jpeg) && colour::is_of_inks(&icc) {
        let converted = jpeg::inks(bytes)?.and_then(|inks| colour::from_inks(&inks, &icc).ok());
        if let Some(pixels) = converted {
            return Ok(Decoded { pixels, orientation });
        }
    }
    let pixels = DynamicImage::from_decoder(decoder).map_err(problem)?;
    Ok(Decoded { pixels: colour::to_srgb(pixels, &icc), orientation })
}

/// Refuses what exceeds the limits.
pub(crate) fn too_large(width: u32, height: u32, bytes: u64) -> Result<(), String> {
    if width <= MAX_SIDE && height <= MAX_SIDE && bytes <= MAX_DECODED_BYTES {
        return Ok(());
    }
    let most = MAX_DECODED_BYTES >> 20;
    Err(format!("{width} x {height} pixels; at most {MAX_SIDE} a side and {most} MiB decoded are allowed"))
}

/// What a decoder may allocate beside the pixels, whose size [`too_large`] judges. In a PNG that is what its notes about
/// itself unpack to: a colour profile of a few MB is a large one, and one of kilobytes can claim to unpack to gigabytes.
pub(crate) fn limits(format: Option<ImageFormat>) -> Limits {
    let mut limits = Limits::default();
    let png = format == Some(ImageFormat::Png);
    limits.max_alloc = Some(if png { MAX_PNG_NOTES } else { MAX_DECODED_BYTES });
    limits
}

/// Refuses an animated PNG or WebP, of which the decoders would show a part. (GIF has no other kind.)
fn check_still(bytes: &[u8], format: Option<ImageFormat>) -> Result<(), ImageError> {
    let animated = match format {
        Some(ImageFormat::Png) => PngDecoder::with_limits(Cursor::new(bytes), limits(format))?.is_apng()?,
        Some(ImageFormat::WebP) => WebPDecoder::new(Cursor::new(bytes))?.has_animation(),
        _ => false,
    };
    let error = std::io::Error::other("an animation; expected a still picture");
    if animated { Err(ImageError::IoError(error)) } else { Ok(()) }
}

/// Whether a file ends before its picture does, where the format tells. ([`still`] finds the end of a JPEG.)
fn is_cut(bytes: &[u8], format: Option<ImageFormat>) -> bool {
    match format {
        Some(ImageFormat::Png) => !png_file::has_end(bytes),
        Some(ImageFormat::WebP) => {
            let stated = bytes.get(4..8).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            stated.is_none_or(|stated| (bytes.len() as u64) < u64::from(stated) + 8)
        }
        _ => false,
    }
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
        for format in
            [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::Tiff]
        {
            let bytes = encoded(&picture.clone().into(), format);
            assert_eq!(decode_rgb(&bytes).expect("valid"), picture, "{format:?}");
            let head = head(&bytes).expect("valid");
            assert_eq!((head.width, head.height, head.is_grey), (5, 3, false), "{format:?}");
            // Behind the picture may stand what it likes, even another picture.
            let tail = [&bytes[..], &bytes, b"....ftypmp42\xFF\xDA\xFF\xD9"].concat();
            assert_eq!(decode_rgb(&tail).expect("valid with a tail"), picture, "{format:?}");
        }
    }

    #[test]
    fn a_jpeg_is_read_to_its_end_and_not_without_one() {
        let picture = RgbImage::from_fn(40, 24, |x, y| Rgb([x as u8 * 6, y as u8 * 10, 7]));
        let bytes = encoded(&picture.into(), ImageFormat::Jpeg);
        let alone = decode_rgb(&bytes).expect("valid");
        // A scan begins, or ends, in nearly every tail of a megabyte.
        let noise: Vec<u8> =
            (0..1_500_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for tail in [&noise[..], b"\xFF\xDA", b"\xFF\xD9", &bytes, &bytes[..bytes.len() / 2]] {
            assert_eq!(decode_rgb(&[&bytes, tail].concat()).expect("a tail is no harm"), alone);
        }
        for length in [bytes.len() - 1, bytes.len() / 2, 30] {
            let error = decode_rgb(&bytes[..length]).expect_err("cut").to_string();
            assert!(error.contains("cut off"), "{error}");
        }
    }

    #[test]
    fn the_head_tells_channels_and_a_file_that_is_cut() {
        let grey = image::GrayImage::from_pixel(9, 9, image::Luma([7]));
        let clear = RgbaImage::from_pixel(9, 9, Rgba([1, 2, 3, 4]));
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Jpeg] {
            let bytes = encoded(&RgbImage::new(9, 9).into(), format);
            let found = head(&bytes).expect("whole");
            assert_eq!(found, Head { width: 9, height: 9, is_grey: false, has_alpha: false }, "{format:?}");
            for length in [bytes.len() - 2, bytes.len() / 2, 12, 1, 0] {
                assert!(head(&bytes[..length]).is_err(), "{format:?} cut to {length}");
            }
        }
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff] {
            let found = head(&encoded(&grey.clone().into(), format)).expect("whole");
            assert!(found.is_grey && !found.has_alpha, "{format:?}");
        }
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let found = head(&encoded(&clear.clone().into(), format)).expect("whole");
            assert!(found.has_alpha && !found.is_grey, "{format:?}");
        }
    }

    #[test]
    fn a_profile_that_cannot_be_used_costs_no_picture() {
        let inks = moxcms::ColorProfile::new_srgb().encode().expect("a profile");
        let inks = [&inks[..16], b"CMYK", &inks[20..]].concat();
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
        image::ImageEncoder::set_icc_profile(&mut encoder, inks).expect("short");
        encoder.encode_image(&RgbImage::from_pixel(16, 16, Rgb([200, 100, 50]))).expect("small");
        let found = decode_rgb(&bytes).expect("read as sRGB").get_pixel(8, 8).0;
        assert!(found.iter().zip([200_u8, 100, 50]).all(|(a, b)| a.abs_diff(b) <= 2), "{found:?}");
    }

    #[test]
    fn what_is_not_read_is_named() {
        let error = decode_rgb(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap_err().to_string();
        assert!(error.contains("HEIC") && error.contains("convert it to"), "{error}");
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
