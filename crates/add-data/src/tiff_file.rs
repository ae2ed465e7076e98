//! What the `image` crate leaves out of TIFF files.
//!
//! Pixels that are numbers of colours: the `tiff` crate reads every kind but this one, so it is given the numbers as if they
//! were grey, and the table of colours is applied here (TIFF 6.0, section 5). And colour profiles of small pictures: `image`
//! allows every entry of the file as much memory as the pixels have, so a profile larger than they are is lost.

use std::io::Cursor;

use image::{DynamicImage, Rgb, RgbImage};
use tiff::{
    ColorType,
    decoder::{Decoder, DecodingResult, Limits},
    tags::Tag,
};

use crate::decode::{MAX_DECODED_BYTES, too_large};

/// Largest memory of an entry of a file's directory, in bytes; a profile's bytes take 32 each while they are read.
const MAX_ENTRY: usize = 64 << 20;
const PHOTOMETRIC: u16 = 262;
const GREY: u8 = 1;
const PALETTE: u8 = 3;

/// The picture of a TIFF file with a palette; nothing for another kind.
///
/// # Errors
/// When it is damaged, too large, or has pixels of less than 8 bits.
pub(crate) fn palette(bytes: &[u8]) -> Result<Option<DynamicImage>, String> {
    let Some(place) = photometric(bytes) else { return Ok(None) };
    if bytes[place] != PALETTE {
        return Ok(None);
    }
    let mut grey = bytes.to_vec();
    grey[place] = GREY;
    let problem = |error: tiff::TiffError| error.to_string();
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_DECODED_BYTES as usize;
    let mut decoder = Decoder::new(Cursor::new(&grey)).map_err(problem)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(problem)?;
    too_large(width, height, u64::from(width) * u64::from(height) * 3)?;
    if decoder.colortype().map_err(problem)? != ColorType::Gray(8) {
        return Err("a TIFF with a palette of less than 8 bits: convert it to PNG".to_owned());
    }
    let table = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(problem)?;
    if table.len() != 3 * 256 {
        return Err(format!("expected a palette of 256 colours, found {} values", table.len()));
    }
    let DecodingResult::U8(numbers) = decoder.read_image().map_err(problem)? else {
        return Err("expected bytes as numbers of colours".to_owned());
    };
    if numbers.len() < width as usize * height as usize {
        return Err("expected a number for each pixel, found less".to_owned());
    }
    let colour = |number: u8| [0, 256, 512].map(|of| (table[of + usize::from(number)] >> 8) as u8);
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb(colour(numbers[y as usize * width as usize + x as usize]))
    });
    Ok(Some(picture.into()))
}

/// The colour profile of a TIFF file's first picture, if it has one that can be read.
pub(crate) fn profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_ENTRY;
    let mut decoder = Decoder::new(Cursor::new(bytes)).ok()?.with_limits(limits);
    decoder.get_tag_u8_vec(Tag::IccProfile).ok()
}

/// Where the low byte of the kind of colours is, in the first directory of the file.
fn photometric(bytes: &[u8]) -> Option<usize> {
    let little = bytes.starts_with(b"II*\0");
    if !little && !bytes.starts_with(b"MM\0*") {
        return None;
    }
    let short = |at: usize| -> Option<u16> {
        let pair = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let (low, high) = if little { (4, 6) } else { (6, 4) };
    let directory = usize::from(short(low)?) | usize::from(short(high)?) << 16;
    let count = short(directory)?;
    let entries = (0..usize::from(count)).map(|i| directory + 2 + 12 * i);
    let entry = entries.take_while(|&at| short(at).is_some()).find(|&at| short(at) == Some(PHOTOMETRIC))?;
    // Tag, type, count, then the value as a short.
    let place = entry + 8 + usize::from(!little);
    (place < bytes.len()).then_some(place)
}
