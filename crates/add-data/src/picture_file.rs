//! Pictures in files, of the kind that the file's suffix names, with text that says how they were made.
//!
//! PNG files hold text by keyword. JPEG and WebP files hold it in EXIF, where A1111's web UI puts its `parameters` too
//! (`UserComment`); all else is in `MakerNote`, which is for the program that wrote the file.

use std::{
    fmt,
    io::{Cursor, Write},
    path::Path,
};

use exif::{Field, In, Reader, Tag, Value, experimental::Writer};
use image::{
    ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbImage,
    codecs::{jpeg::JpegEncoder, webp::WebPEncoder},
};

use crate::{DataError, decode::limits, jpeg, png_file};

/// Quality of JPEG files, of 100.
const QUALITY: u8 = 95;
/// Most bytes of text in a JPEG file, in one segment, with room for what is added later; WebP is held to it too.
const MOST_EXIF: usize = 60_000;
/// Most bytes of EXIF that a segment holds.
const SEGMENT: usize = 65_500;
/// What comes before a text of A1111's web UI.
const UTF_16: &[u8] = b"UNICODE\0";
/// The keyword of A1111's web UI.
const PARAMETERS: &str = "parameters";

/// A kind of picture file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Without loss.
    Png,
    /// With loss.
    Jpeg,
    /// Without loss, and smaller than PNG.
    WebP,
}

impl PictureFormat {
    /// What the suffix of a name says; `None` for other suffixes and names without one.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" | "jpe" | "jfif" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// The suffix of its files.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// Whether files of this kind hold so much text.
    ///
    /// # Errors
    /// When it is too long.
    pub fn check_text(self, text: &[(&str, &str)]) -> Result<(), DataError> {
        let bytes = match self {
            Self::Png => 0,
            Self::Jpeg | Self::WebP => written_exif(text)?.len(),
        };
        if bytes <= MOST_EXIF {
            return Ok(());
        }
        Err(DataError::Encode(format!(
            "a .{} file holds {MOST_EXIF} bytes of text, got {bytes}; a .png file holds more",
            self.suffix()
        )))
    }
}

impl fmt::Display for PictureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())
    }
}

/// A picture as the bytes of a file, with `(keyword, text)` metadata.
///
/// # Errors
/// When a keyword is none, or the text is too long for the format.
pub fn encode_picture(
    picture: &RgbImage,
    format: PictureFormat,
    text: &[(&str, &str)],
) -> Result<Vec<u8>, DataError> {
    if format == PictureFormat::Png {
        return png_file::encode_png(picture, text);
    }
    let failed = |error: image::ImageError| DataError::Encode(error.to_string());
    let exif = written_exif(text)?;
    if exif.len() > SEGMENT {
        return Err(DataError::Encode(format!(
            "expected at most {SEGMENT} bytes of text, got {}",
            exif.len()
        )));
    }
    let mut bytes = Vec::new();
    let (width, height) = picture.dimensions();
    if format == PictureFormat::Jpeg {
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
        encoder.set_exif_metadata(exif).map_err(|error| DataError::Encode(error.to_string()))?;
        encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(failed)?;
    } else {
        let mut encoder = WebPEncoder::new_lossless(&mut bytes);
        if !exif.is_empty() {
            encoder.set_exif_metadata(exif).map_err(|error| DataError::Encode(error.to_string()))?;
        }
        encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(failed)?;
    }
    Ok(bytes)
}

/// Writes a picture as the suffix of `path` says, with its metadata; an old file is replaced only by a whole new one.
///
/// # Errors
/// When the suffix is of no format, or the picture cannot be encoded or written.
pub fn write_picture(path: &Path, picture: &RgbImage, text: &[(&str, &str)]) -> Result<(), DataError> {
    let format = PictureFormat::of(path).ok_or_else(|| {
        let expected = "expected a name that ends in .png, .jpg, .jpeg or .webp";
        DataError::Encode(format!("{}: {expected}", path.display()))
    })?;
    let bytes = encode_picture(picture, format, text)?;
    add_files::replace(path, |file| file.write_all(&bytes))
        .map_err(|source| DataError::Write { path: path.to_owned(), source })
}

/// The `(keyword, text)` metadata of a PNG, JPEG or WebP file, as far as this project or A1111's web UI wrote it.
///
/// # Errors
/// When the bytes are no such picture or their text is damaged.
pub fn picture_text(bytes: &[u8]) -> Result<Vec<(String, String)>, DataError> {
    let failed = |error: String| DataError::Decode(error);
    let bytes = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => return png_file::png_text(bytes),
        Ok(ImageFormat::Jpeg) => {
            jpeg::first_image(bytes).ok_or_else(|| failed("the JPEG is cut off: it has no end".to_owned()))?
        }
        // The decoder is content with the head of a file.
        Ok(ImageFormat::WebP) if is_cut_off(bytes) => {
            return Err(failed("the WebP is cut off: it is shorter than it says".to_owned()));
        }
        Ok(ImageFormat::WebP) => bytes,
        _ => return Err(failed("expected a PNG, JPEG or WebP file".to_owned())),
    };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| failed(error.to_string()))?;
    reader.limits(limits(None));
    let mut decoder = reader.into_decoder().map_err(|error| failed(error.to_string()))?;
    match decoder.exif_metadata().map_err(|error| failed(error.to_string()))? {
        Some(exif) => read_exif(exif),
        None => Ok(Vec::new()),
    }
}

/// Whether a WebP has fewer bytes than the length in its RIFF header says.
fn is_cut_off(webp: &[u8]) -> bool {
    let length = webp.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    length.is_none_or(|length| (webp.len() as u64) < u64::from(length) + 8)
}

/// Text as the content of an EXIF segment.
fn written_exif(text: &[(&str, &str)]) -> Result<Vec<u8>, DataError> {
    let failed = |error: &dyn fmt::Display| DataError::Encode(error.to_string());
    let field = |tag, bytes| Field { tag, ifd_num: In::PRIMARY, value: Value::Undefined(bytes, 0) };
    let (parameters, rest): (Vec<_>, Vec<_>) = text.iter().partition(|(keyword, _)| *keyword == PARAMETERS);
    let mut fields = Vec::new();
    if let Some((_, text)) = parameters.first() {
        let units = text.encode_utf16().flat_map(u16::to_be_bytes);
        fields.push(field(Tag::UserComment, UTF_16.iter().copied().chain(units).collect()));
    }
    if !rest.is_empty() {
        let note = serde_json::to_vec(&rest).map_err(|error| failed(&error))?;
        fields.push(field(Tag::MakerNote, note));
    }
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = Writer::new();
    for field in &fields {
        writer.push_field(field);
    }
    let mut bytes = Cursor::new(Vec::new());
    writer.write(&mut bytes, false).map_err(|error| failed(&error))?;
    Ok(bytes.into_inner())
}

/// The text in the content of an EXIF segment.
fn read_exif(exif: Vec<u8>) -> Result<Vec<(String, String)>, DataError> {
    let exif = Reader::new().read_raw(exif).map_err(|error| DataError::Decode(error.to_string()))?;
    let bytes = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Undefined(bytes, _) => Some(bytes.as_slice()),
        _ => None,
    };
    let mut text = Vec::new();
    if let Some(units) = bytes(Tag::UserComment).and_then(|bytes| bytes.strip_prefix(UTF_16)) {
        let units = units.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
        let parameters = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        text.push((PARAMETERS.to_owned(), parameters.collect()));
    }
    // The note of a camera is of another form.
    let note =
        bytes(Tag::MakerNote).and_then(|note| serde_json::from_slice::<Vec<(String, String)>>(note).ok());
    text.extend(note.unwrap_or_default());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::decode_rgb;

    #[test]
    fn picture_and_text_come_back_from_every_format() {
        let picture = RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8 * 9, y as u8 * 12, 200]));
        let text = [("parameters", "リンゴ 🍎\nSteps: 1"), ("add", "{\"seed\": 7}")];
        for name in ["a.png", "a.JPG", "a.webp"] {
            let format = PictureFormat::of(Path::new(name)).expect("a format");
            let bytes = encode_picture(&picture, format, &text).expect("valid");
            let found = picture_text(&bytes).expect("text");
            for (keyword, value) in text {
                assert!(found.contains(&(keyword.to_owned(), value.to_owned())), "{name}: {found:?}");
            }
            let decoded = decode_rgb(&bytes).expect("valid");
            let close = decoded.as_raw().iter().zip(picture.as_raw()).all(|(a, b)| a.abs_diff(*b) < 12);
            assert!(close && (format == PictureFormat::Jpeg || decoded == picture), "{name}");
            assert_eq!(encode_picture(&picture, format, &text).expect("valid"), bytes, "each time the same");
        }
    }

    #[test]
    fn the_suffix_names_the_format() {
        let folder = tempfile::tempdir().expect("a folder");
        let picture = RgbImage::new(8, 8);
        for (name, format) in
            [("a.png", ImageFormat::Png), ("a.jpeg", ImageFormat::Jpeg), ("a.webp", ImageFormat::WebP)]
        {
            let path = folder.path().join(name);
            write_picture(&path, &picture, &[]).expect("written");
            assert_eq!(image::guess_format(&std::fs::read(&path).expect("there")).ok(), Some(format));
        }
        for name in ["a.gif", "a", "png"] {
            let error = write_picture(&folder.path().join(name), &picture, &[]).unwrap_err().to_string();
            assert!(error.contains(".webp") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn text_that_does_not_fit_is_refused_before() {
        let long = "x".repeat(70_000);
        let text = [("parameters", long.as_str())];
        assert!(PictureFormat::Png.check_text(&text).is_ok());
        for format in [PictureFormat::Jpeg, PictureFormat::WebP] {
            assert!(format.check_text(&text).unwrap_err().to_string().contains("60000 bytes"));
        }
    }

    #[test]
    fn pictures_without_text_have_none() {
        for format in [PictureFormat::Png, PictureFormat::Jpeg, PictureFormat::WebP] {
            let bytes = encode_picture(&RgbImage::new(8, 8), format, &[]).expect("valid");
            assert_eq!(picture_text(&bytes).expect("a picture"), []);
            assert!(picture_text(&bytes[..bytes.len() / 3]).is_err(), "{format}");
        }
        assert!(picture_text(b"no picture").is_err());
    }
}
