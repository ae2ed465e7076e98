//! Formats of pictures that are not read, by their first bytes and by their suffixes: a message names them.

/// Suffixes of pictures that cannot be decoded, in small letters.
pub const UNREAD_SUFFIXES: [&str; 30] = [
    "avif", "heic", "heif", "jxl", "jp2", "j2k", "jpx", "psd", "svg", "ico", "tga", "exr", "hdr", "dng",
    "cr2", "cr3", "nef", "arw", "orf", "raf", "rw2", "ppm", "pgm", "pbm", "pnm", "pam", "qoi", "pcx", "dds",
    "apng",
];

/// Kinds of the ISO base media format by their brands.
const BRANDS: [(&[&[u8]], &str); 3] = [
    (&[b"avif", b"avis"], "AVIF"),
    (&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"], "HEIC"),
    (&[b"mif1", b"msf1"], "HEIF"),
];

/// The name of a known format that is not read.
pub(crate) fn format(bytes: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if bytes.get(4..8) == Some(b"ftyp") {
        let length = bytes.iter().take(4).fold(0, |length, &byte| length << 8 | usize::from(byte));
        // The main brand, a version, and the other brands that it is compatible with.
        let brands = bytes[..length.clamp(8, bytes.len())][8..].chunks(4);
        let names = |known: &[&[u8]]| brands.clone().any(|brand| known.contains(&brand));
        let kind = BRANDS.iter().find(|(known, _)| names(known));
        return Some(kind.map_or("a video", |(_, name)| name));
    }
    if begins(b"\xFF\x0A") || begins(b"\0\0\0\x0CJXL ") {
        return Some("JPEG XL");
    }
    if begins(b"\0\0\0\x0CjP  ") || begins(b"\xFF\x4F\xFF\x51") {
        return Some("JPEG 2000");
    }
    if begins(b"8BPS") {
        return Some("Photoshop's PSD");
    }
    // What a failed download leaves behind.
    let text = &bytes[..bytes.len().min(512)].trim_ascii_start().to_ascii_lowercase();
    if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") {
        return Some("a web page (HTML)");
    }
    let is_svg =
        text.starts_with(b"<svg") || text.starts_with(b"<?xml") && text.windows(4).any(|w| w == b"<svg");
    is_svg.then_some("SVG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_formats_are_named() {
        for (bytes, name) in [
            (&b"\0\0\0\x1Cftypavif\0\0\0\0mif1miafMA1B"[..], Some("AVIF")),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0avifmiafMA1B", Some("AVIF")),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some("HEIC")),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", Some("HEIF")),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", Some("a video")),
            (b"\xFF\xFF\xFF\xFFftyp", Some("a video")),
            (b"\xFF\x0A\0\0", Some("JPEG XL")),
            (b"\n <!DOCTYPE html><html>", Some("a web page (HTML)")),
            (b"<?xml version='1.0'?>\n<svg>", Some("SVG")),
            (b"\xFF\xD8\xFF\xE0", None),
            (b"\0\0\0\0ftypavif", Some("a video")),
            (b"", None),
        ] {
            assert_eq!(format(bytes), name, "{}", bytes.escape_ascii());
        }
    }
}
