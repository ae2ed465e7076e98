//! PNG files that say how they were made: recipe, prompt and seed as text chunks.

use std::{
    io::{Cursor, Write},
    path::Path,
};

use image::RgbImage;
use png::{BitDepth, ColorType, Decoder, Encoder, EncodingError};

use crate::DataError;

/// Largest text that is unpacked, in bytes; what this project writes is not packed.
const MOST_UNPACKED: usize = 1 << 20;

/// A picture as PNG bytes with `(keyword, text)` metadata: `tEXt` for Latin-1, `iTXt` for everything else.
/// A keyword has 1 to 79 Latin-1 characters, such as `prompt`.
///
/// # Errors
/// When a keyword is none.
pub fn encode_png(picture: &RgbImage, text: &[(&str, &str)]) -> Result<Vec<u8>, DataError> {
    let failed = |error: EncodingError| DataError::Encode(error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    for &(keyword, value) in text {
        let (keyword, value) = (keyword.to_owned(), value.to_owned());
        let added = if value.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk(keyword, value)
        } else {
            encoder.add_itxt_chunk(keyword, value)
        };
        added.map_err(failed)?;
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(picture.as_raw()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Writes a picture as PNG with its metadata; an old file is replaced only by a whole new one.
///
/// # Errors
/// When it cannot be encoded or written.
pub fn write_png(path: &Path, picture: &RgbImage, text: &[(&str, &str)]) -> Result<(), DataError> {
    let bytes = encode_png(picture, text)?;
    add_files::replace(path, |file| file.write_all(&bytes))
        .map_err(|source| DataError::Write { path: path.to_owned(), source })
}

/// The `(keyword, text)` metadata in front of a PNG's pixels.
///
/// # Errors
/// When the bytes are no PNG or their text is damaged.
pub fn png_text(bytes: &[u8]) -> Result<Vec<(String, String)>, DataError> {
    let failed = |error: png::DecodingError| DataError::Decode(error.to_string());
    let reader = Decoder::new(Cursor::new(bytes)).read_info().map_err(failed)?;
    let info = reader.info();
    let mut text: Vec<_> =
        info.uncompressed_latin1_text.iter().map(|t| (t.keyword.clone(), t.text.clone())).collect();
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        // A megabyte of packed zeros would be a gigabyte.
        chunk.decompress_text_with_limit(MOST_UNPACKED).map_err(failed)?;
        text.push((chunk.keyword.clone(), chunk.get_text().map_err(failed)?));
    }
    Ok(text)
}

/// Whether the chunks of a PNG lead to its end.
pub(crate) fn has_end(bytes: &[u8]) -> bool {
    // Behind the signature stand chunks: a length, a name of four letters, that many bytes, a checksum.
    let mut at = 8;
    loop {
        let Some(&[a, b, c, d, ref name @ ..]) = bytes.get(at..at + 8) else { return false };
        at = at.saturating_add(12).saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
        if name == b"IEND" {
            return at <= bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::decode_rgb;

    #[test]
    fn picture_and_text_come_back() {
        let picture = RgbImage::from_fn(7, 3, |x, y| Rgb([x as u8, y as u8, 200]));
        let text = [("seed", "7"), ("recipe", "(steps: 4)\n"), ("prompt", "リンゴ, noto emoji")];
        let bytes = encode_png(&picture, &text).expect("valid");
        assert_eq!(decode_rgb(&bytes).expect("valid"), picture);
        assert_eq!(png_text(&bytes).expect("valid"), text.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_keyword_that_is_none_is_an_error() {
        for keyword in ["", &"k".repeat(80)] {
            let written = encode_png(&RgbImage::new(1, 1), &[(keyword, "x")]);
            assert!(matches!(written, Err(DataError::Encode(_))));
        }
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let path = Path::new("no/such/folder/a.png");
        let error = write_png(path, &RgbImage::new(1, 1), &[]).unwrap_err().to_string();
        assert!(error.contains("no/such/folder/a.png"), "{error}");
    }
}
