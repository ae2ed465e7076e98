//! Text as editors save it: UTF-8 with or without a byte order mark, or UTF-16.

/// The mark that some editors put before UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// The text that `bytes` hold, without its byte order mark.
///
/// UTF-16 is told by its mark. Without one it is told by its zero bytes, all in the same half of the pairs: text in
/// other encodings has none.
///
/// # Errors
/// When it is neither UTF-8 nor UTF-16, with the first byte that is wrong.
pub fn decode_text(mut bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(b"\xFF\xFE\0\0") || bytes.starts_with(b"\0\0\xFE\xFF") {
        return Err("expected UTF-8 text, found UTF-32: save it as UTF-8".to_owned());
    }
    if let Some(unit) = utf_16(&bytes) {
        return from_utf_16(&bytes, unit);
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("expected UTF-8 text, byte {} is none", error.utf8_error().valid_up_to()))
}

/// Whether a text begins with the mark of UTF-16.
pub fn has_utf_16_mark(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF")
}

/// Makes a unit of two bytes.
type Unit = fn([u8; 2]) -> u16;

/// How the bytes make units of UTF-16, if they do.
fn utf_16(bytes: &[u8]) -> Option<Unit> {
    if has_utf_16_mark(bytes) {
        return Some(if bytes[0] == 0xFF { u16::from_le_bytes } else { u16::from_be_bytes });
    }
    let zeros = |half: usize| bytes.iter().skip(half).step_by(2).filter(|&&byte| byte == 0).count();
    // Half of the characters or more are ASCII in nearly every caption and recipe.
    let most = |count: usize| bytes.len().is_multiple_of(2) && count > 0 && 4 * count >= bytes.len();
    match (zeros(0), zeros(1)) {
        (0, low) if most(low) => Some(u16::from_le_bytes),
        (high, 0) if most(high) => Some(u16::from_be_bytes),
        _ => None,
    }
}

fn from_utf_16(bytes: &[u8], unit: Unit) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair)).skip(usize::from(has_utf_16_mark(bytes)));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    match text {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err("expected UTF-8 text, found damaged UTF-16: save it as UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_no_part_of_the_text() {
        let units = |unit: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}größer 🍎").encode_utf16().flat_map(unit).collect()
        };
        for bytes in [
            "größer 🍎".into(),
            "\u{FEFF}größer 🍎".into(),
            units(u16::to_le_bytes, "\u{FEFF}"),
            units(u16::to_be_bytes, "\u{FEFF}"),
            units(u16::to_le_bytes, ""),
            units(u16::to_be_bytes, ""),
        ] {
            assert_eq!(decode_text(bytes), Ok("größer 🍎".to_owned()));
        }
        for alone in [&b""[..], MARK, b"\xFF\xFE", b"\xFE\xFF"] {
            assert_eq!(decode_text(alone.to_vec()), Ok(String::new()), "{alone:?}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_its_place() {
        for (bytes, part) in [
            (&b"gr\xF6\xDFer"[..], "byte 2"),
            (b"\xFF\xFEa\0b", "damaged UTF-16"),
            (b"\xFF\xFE\x00\xD8", "damaged UTF-16"),
            (b"\xFF\xFE\0\0a\0\0\0", "UTF-32"),
        ] {
            let error = decode_text(bytes.to_vec()).expect_err(part);
            assert!(error.contains("UTF-8") && error.contains(part), "{error}");
        }
        assert_eq!(decode_text(b"a\0b\0\0".to_vec()), Ok("a\0b\0\0".to_owned()), "zeros in both halves");
    }
}
