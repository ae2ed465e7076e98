//! What CLIP's tokenizer does to a text before it looks for words.
//!
//! CLIP calls `ftfy.fix_text`. This is its part that prompts meet, in its order: HTML entities, text that was decoded
//! with the wrong character set (`mojibake.rs`), curly quotes, ligatures, full-width letters and control characters.

use crate::mojibake::repair;

/// The text with plain quotes, letters and entities.
pub(crate) fn clean(text: &str) -> String {
    // As in ftfy: whoever writes a literal `<` means `&lt;` literally too.
    let mut text = if text.contains('<') { text.to_owned() } else { unescape_fully(text) };
    while let Some(repaired) = repair(&text) {
        text = repaired;
    }
    if !text.is_ascii() || text.contains(|c: char| c.is_ascii_control()) {
        text = text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
            push_plain(&mut out, c);
            out
        });
    }
    text
}

fn push_plain(out: &mut String, c: char) {
    match c {
        '\u{2018}'..='\u{201B}' | '\u{02BC}' => out.push('\''),
        '\u{201C}'..='\u{201F}' => out.push('"'),
        // Full-width forms of ASCII, and the ideographic space.
        '\u{FF01}'..='\u{FF5E}' => out.extend(char::from_u32(u32::from(c) - 0xFEE0)),
        '\u{3000}' => out.push(' '),
        'Ĳ' => out.push_str("IJ"),
        'ĳ' => out.push_str("ij"),
        'ŉ' => out.push_str("ʼn"),
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
        '\t' | '\n' | '\u{C}' | '\r' => out.push(c),
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
        let entity = rest.find(';').and_then(|end| Some((entity(&rest[1..end])?, end)));
        if let Some((c, end)) = entity {
            out.push(c);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out + rest
}

fn entity(name: &str) -> Option<char> {
    let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{A0}'),
        _ => match name.strip_prefix('#')? {
            hex if hex.starts_with(['x', 'X']) => code(&hex[1..], 16),
            decimal => code(decimal, 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_replaced_until_none_is_left() {
        assert_eq!(clean("&amp;amp; &#65;&#x42; &unknown; a&b"), "& AB &unknown; a&b");
        assert_eq!(clean("1 < 2 &amp; 3"), "1 < 2 &amp; 3", "a literal < means the rest literally");
        assert_eq!(clean("&;&#;&#x;&#x110000;&"), "&;&#;&#x;&#x110000;&");
    }

    #[test]
    fn typography_becomes_plain() {
        assert_eq!(clean("“ﬁne” ‘ＡＢ１’\u{3000}\0x\u{7F}\ty"), "\"fine\" 'AB1' x\ty");
        assert_eq!(clean("plain, unchanged"), "plain, unchanged");
    }
}
