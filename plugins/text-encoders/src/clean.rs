//! What CLIP's tokenizer does to a text before it looks for words.
//!
//! CLIP calls `ftfy.fix_text`. This is its part that prompts meet, in its order: HTML entities, escapes of terminals, text
//! that was decoded with the wrong character set (`mojibake.rs`), ligatures, letters of other widths, curly quotes, ends of
//! lines and control characters. For every character of the basic plane, alone and between others, the result is ftfy's 6.3;
//! `mojibake.rs` has the figures of other texts.

use html_escape::NAMED_ENTITIES;
use icu_normalizer::ComposingNormalizerBorrowed;

use crate::mojibake::{repair, windows_1252};

/// Longest name of an entity, in bytes.
const LONGEST_ENTITY: usize = 32;

/// The text with plain quotes, letters and entities.
pub(crate) fn clean(text: &str) -> String {
    // As in ftfy: whoever writes a literal `<` means `&lt;` literally too.
    let mut text = if text.contains('<') { text.to_owned() } else { unescape_fully(text) };
    if text.contains(ESCAPE) {
        text = without_escapes(&text);
    }
    while let Some(repaired) = repair(&text) {
        text = repaired;
    }
    if text.contains('\r') {
        text = text.replace("\r\n", "\n");
    }
    if !text.is_ascii() || text.contains(|c: char| c.is_ascii_control()) {
        text = text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
            push_plain(&mut out, c);
            out
        });
    }
    text
}

/// How an escape of a terminal begins, such as `ESC [ 31 m`.
const ESCAPE: &str = "\u{1B}[";

/// The text without what colours it on a terminal.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split(ESCAPE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match rest.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => out.push_str(rest),
            None => out.extend([ESCAPE, part]),
        }
    }
    out
}

fn push_plain(out: &mut String, c: char) {
    match c {
        '\u{2018}'..='\u{201B}' | '\u{02BC}' => out.push('\''),
        '\u{201C}'..='\u{201F}' => out.push('"'),
        // Full-width Latin, half-width katakana and hangul, signs of both widths, and the ideographic space.
        '\u{FF01}'..='\u{FFEE}' => {
            out.push_str(&ComposingNormalizerBorrowed::new_nfkc().normalize(c.encode_utf8(&mut [0; 4])));
        }
        '\u{3000}' => out.push(' '),
        '\u{80}'..='\u{9F}' => match windows_1252(c) {
            Some(meant) => push_plain(out, meant),
            None => out.push(c),
        },
        'Ĳ' => out.push_str("IJ"),
        'ĳ' => out.push_str("ij"),
        'ŉ' => out.push_str("'n"),
        'Ǆ' => out.push_str("DŽ"),
        'ǅ' => out.push_str("Dž"),
        'ǆ' => out.push_str("dž"),
        'Ǉ' => out.push_str("LJ"),
        'ǈ' => out.push_str("Lj"),
        'ǉ' => out.push_str("lj"),
        'Ǌ' => out.push_str("NJ"),
        'ǋ' => out.push_str("Nj"),
        'ǌ' => out.push_str("nj"),
        'Ǳ' => out.push_str("DZ"),
        'ǲ' => out.push_str("Dz"),
        'ǳ' => out.push_str("dz"),
        'ﬀ' => out.push_str("ff"),
        'ﬁ' => out.push_str("fi"),
        'ﬂ' => out.push_str("fl"),
        'ﬃ' => out.push_str("ffi"),
        'ﬄ' => out.push_str("ffl"),
        'ﬅ' => out.push_str("ſt"),
        'ﬆ' => out.push_str("st"),
        '\r' | '\u{2028}' | '\u{2029}' => out.push('\n'),
        '\t' | '\n' | '\u{C}' => out.push(c),
        '\0'..='\u{1F}' | '\u{7F}' | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}' => {}
        _ => out.push(c),
    }
}

/// Replaces entities until none is left; each pass shortens the text, so it ends.
fn unescape_fully(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let once = unescape(&text);
        if once == text {
            return text;
        }
        text = once;
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';');
        let entity = end.and_then(|end| Some((entity(&rest[1..end])?, end)));
        if let Some((meant, end)) = entity {
            out.push_str(&meant);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out + rest
}

/// What an entity stands for. A name in capitals alone that HTML does not have is that of the capital.
fn entity(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let (digits, radix) = match number.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (number, 10),
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        // HTML has no character 0 and none beyond Unicode.
        let c = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|&c| c != '\0');
        return Some(c.unwrap_or(char::REPLACEMENT_CHARACTER).into());
    }
    let named = |name: &str| {
        let at = NAMED_ENTITIES.binary_search_by_key(&name.as_bytes(), |(known, _)| known).ok()?;
        Some(NAMED_ENTITIES[at].1)
    };
    let is_loud = !name.contains(|c: char| c.is_ascii_lowercase());
    let loud = || named(&name.to_ascii_lowercase()).filter(|_| is_loud).map(str::to_uppercase);
    named(name).map(str::to_owned).or_else(loud)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_replaced_until_none_is_left() {
        assert_eq!(clean("&amp;amp; &#65;&#x42; &unknown; a&b"), "& AB &unknown; a&b");
        assert_eq!(clean("1 < 2 &amp; 3"), "1 < 2 &amp; 3", "a literal < means the rest literally");
        assert_eq!(clean("&;&#;&#x;&#+7;&#x110000;&#0;&"), "&;&#;&#x;&#+7;\u{FFFD}\u{FFFD}&");
        assert_eq!(clean("&hellip;&eacute;&EACUTE;&mdash;&Eacute;&#150;"), "…éÉ—É–");
    }

    #[test]
    fn widths_and_lines_become_those_of_ftfy() {
        // By ftfy 6.3.1; the tokenizer composes what follows, such as the sound marks of katakana.
        for (text, fixed) in [
            ("ﾊﾟ ｶﾀｶﾅ｡", "ハ\u{309A} カタカナ。"),
            ("ŉ", "'n"),
            ("￥￦￩", "¥₩←"),
            ("a\rb\u{2028}c\u{2029}d\r\ne", "a\nb\nc\nd\ne"),
            ("\u{85}\u{93}\u{81}", "…\"\u{81}"),
            ("\u{1B}[31mred\u{1B}[0m \u{1B}[1;2", "red [1;2"),
        ] {
            assert_eq!(clean(text), fixed, "{text:?}");
        }
    }

    #[test]
    fn typography_becomes_plain() {
        assert_eq!(clean("“ﬁne” ‘ＡＢ１’\u{3000}\0x\u{7F}\ty"), "\"fine\" 'AB1' x\ty");
        assert_eq!(clean("plain, unchanged"), "plain, unchanged");
    }
}
