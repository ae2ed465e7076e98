//! Text in UTF-8 that something read as Windows-1252: `schÃ¶n` for `schön`.
//!
//! The accident is undone where it is certain: every character has a byte in that character set, the bytes are valid
//! UTF-8, and at least one of them is not ASCII. Text that was meant as it stands hardly ever passes: after a letter
//! such as `Ã` it would need one of the signs from `€` to `¿`, everywhere. ftfy's `fix_encoding` tries further
//! character sets, and repairs parts of a text.

/// The characters of the bytes 0x80 to 0x9F; a byte that has none stands for the control character of its number.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

/// The text as it was meant, if it suffered this accident; it is shorter then.
pub(crate) fn repair(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
    String::from_utf8(bytes?).ok()
}

/// What a control character from 0x80 on was meant as: a byte of Windows-1252 that was read as Latin-1.
pub(crate) fn windows_1252(c: char) -> Option<char> {
    let meant = *HIGH.get((u32::from(c) as usize).checked_sub(0x80)?)?;
    (meant != c).then_some(meant)
}

fn byte(c: char) -> Option<u8> {
    let high = HIGH.iter().position(|&other| other == c).map(|i| 0x80 + i as u8);
    // The control characters themselves appear where the text was read as Latin-1.
    high.or_else(|| u8::try_from(u32::from(c)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accident_is_undone() {
        assert_eq!(repair("schÃ¶n â€œfixâ€\u{9D}").as_deref(), Some("schön “fix”"));
        assert_eq!(repair("naÃ¯ve cafÃ©").as_deref(), Some("naïve café"));
        assert_eq!(repair("ä½\u{A0}å¥½").as_deref(), Some("你好"));
    }

    #[test]
    fn text_that_is_fine_stays() {
        for text in
            ["plain", "café naïve façade", "«CAFÉ»", "½ ² ³ ™ © ®", "em—dash …", "€10 £3", "你好世界", "ÃÃ"]
        {
            assert_eq!(repair(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_was_read_wrongly_is_read_rightly(meant in "[a-zà-žА-я€一-龥]*[à-ž][a-z]*") {
            let misread: String = meant.bytes().map(|b| if (0x80..0xA0).contains(&b) {
                HIGH[usize::from(b - 0x80)]
            } else {
                char::from(b)
            }).collect();
            proptest::prop_assert_eq!(repair(&misread), Some(meant));
        }
    }
}
