//! Where the first image of a JPEG file ends, and the inks of one in CMYK.

use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

const END_OF_IMAGE: u8 = 0xD9;

/// The file up to the end of its first image: phones and cameras put a video, a depth map or a second picture behind it.
/// Nothing when the image has no end.
///
/// Markers are followed from the beginning, so that neither a thumbnail's end nor bytes of the tail count.
pub(crate) fn first_image(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 2;
    loop {
        // Before a marker stand a scan's data, and any number of 0xFF to fill.
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xFF)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            END_OF_IMAGE => return Some(&bytes[..at]),
            // These have no length: a 0xFF of a scan's data, and restarts inside of it.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = bytes.get(at..at + 2)?;
                at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
}

/// The pixels of a JPEG in CMYK, row by row: four bytes each, 255 for full ink.
pub(crate) struct Inks {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixels: Vec<u8>,
}

/// The inks of a JPEG of four components; nothing for one of another kind.
///
/// # Errors
/// When it is damaged.
pub(crate) fn inks(bytes: &[u8]) -> Result<Option<Inks>, String> {
    let options = DecoderOptions::default().set_strict_mode(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let (Some(kind @ (ColorSpace::CMYK | ColorSpace::YCCK)), Some((width, height))) =
        (decoder.input_colorspace(), decoder.dimensions())
    else {
        return Ok(None);
    };
    decoder.set_options(options.jpeg_set_out_colorspace(kind));
    let mut pixels = decoder.decode().map_err(|error| error.to_string())?;
    // Files hold the inks inverted, as Adobe's programs have always written them.
    for pixel in pixels.as_chunks_mut::<4>().0 {
        *pixel = match kind {
            ColorSpace::YCCK => from_ycck(*pixel),
            _ => pixel.map(|value| 255 - value),
        };
    }
    Ok(Some(Inks { width: width as u32, height: height as u32, pixels }))
}

/// YCCK to inks: CMY is stored as the RGB that it inverts, in YCbCr. JFIF's matrix (ITU-R BT.601).
fn from_ycck([y, cb, cr, k]: [u8; 4]) -> [u8; 4] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    let [c, m, y] = rgb.map(|value| value.round() as u8);
    [c, m, y, 255 - k]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_ends_at_its_own_end() {
        // A comment that holds an end, a scan with a stuffed byte and a restart, fill bytes before the end.
        let image = b"\xFF\xD8\xFF\xFE\0\x06\xFF\xD9ab\xFF\xDA\0\x02x\xFF\0y\xFF\xD0z\xFF\xFF\xD9";
        assert_eq!(first_image(image), Some(&image[..]));
        let tail = [&image[..], b"....ftypmp42\xFF\xDA\xFF\xD8\xFF\xFE\xFF\xFF"].concat();
        assert_eq!(first_image(&tail), Some(&image[..]));
        for length in 0..image.len() {
            assert_eq!(first_image(&image[..length]), None, "{length}");
        }
    }

    #[test]
    fn grey_in_ycck_is_as_much_of_each_ink() {
        assert_eq!(from_ycck([100, 128, 128, 255]), [100, 100, 100, 0]);
        // Red has no cyan: Y'CbCr of (0, 255, 255), the inverted red.
        assert_eq!(from_ycck([179, 171, 1, 255])[0], 1);
    }
}
