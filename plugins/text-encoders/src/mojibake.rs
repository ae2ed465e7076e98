//! Text in UTF-8 that something read in another character set: `schÃ¶n` for `schön`.
//!
//! The accident is undone where it is certain: every character of a row beyond ASCII has a byte in that character set, and the bytes
//! are valid UTF-8. Text that was meant as it stands hardly ever passes: after a letter such as `Ã` it would need one of the
//! signs that stand where UTF-8 goes on, everywhere. Windows-1252, by far the most frequent, is undone row by row; for the other
//! sets, in which `“É` would pass, all of a text must. ftfy's `fix_encoding` also repairs rows of which a byte was lost.
//!
//! Compared with ftfy 6.3.1 and with `plsfix` 0.1.8, a port of it, by how many texts come out as ftfy's, 2026-11-29:
//!
//! | texts | of | here | plsfix |
//! |---|---:|---:|---:|
//! | each character of the basic plane, alone and between letters | 126976 | 126976 | 126974 |
//! | katakana and hangul of half width, `ŉ`, ligatures | 502 | 502 | 502 |
//! | names of languages and countries in 700 locales, alone and in prompts | 6000 | 6000 | 6000 |
//! | HTML entities | 4657 | 4629 | 4598 |
//! | controls and escapes | 252 | 252 | 192 |
//! | such names in UTF-8 read as Windows-1252 or Latin-1, once or twice | 4000 | 3948 | 3984 |
//! | the same as a part of a prompt | 1500 | 1377 | 1497 |
//! | read as Windows-1250, Mac OS Roman, 437 or ISO-8859-2 | 6000 | 5096 | 5972 |
//! | read as Windows-1251, which is not undone here | 1500 | 911 | 1478 |
//! | ftfy's own cases | 161 | 89 | 155 |
//! | the prompts of the tokenizer's fixture | 62 | 62 | 62 |
//!
//! Rare letters are no longer taken since (`is_rare`); the rows of misread texts were not counted again.
//!
//! `plsfix` undoes more of such accidents, and brings 73 crates, among them one that is not kept any more and a second ICU; what is
//! here is exact on every character, and nearer on entities and escapes.

/// The characters of the bytes 0x80 to 0xFF; a byte that has none stands for the control character of its number.
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}Ž\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}žŸ\u{A0}¡¢£¤¥¦§¨©ª«¬\u{AD}®¯°±²³´µ¶·¸¹º»¼\
     ½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";

/// The same of Windows-1250, ISO-8859-2, Mac OS Roman and DOS's 437, in the order in which ftfy tries them.
const OTHERS: [&str; 4] = [
    "€\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{A0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{AD}®Ż°±˛ł´µ¶·¸ąş»Ľ\
     ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8A}\u{8B}\u{8C}\u{8D}\u{8E}\u{8F}\
     \u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9A}\u{9B}\u{9C}\u{9D}\u{9E}\u{9F}\
     \u{A0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{AD}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôő\
     ö÷řůúűüýţ˙",
    "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{A0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄\
     €‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{F8FF}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
     αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}",
];

/// The text as it was meant, if some of it suffered this accident; it is shorter then.
pub(crate) fn repair(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    row_by_row(text).or_else(|| OTHERS.iter().find_map(|table| meant(text, table, ASCII)))
}

/// The text with each row beyond ASCII that was read as Windows-1252 or Latin-1 as it was meant.
fn row_by_row(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| !c.is_ascii()) {
        let (before, from) = rest.split_at(start);
        let (row, after) = from.split_at(from.find(|c: char| c.is_ascii()).unwrap_or(from.len()));
        out.push_str(before);
        out.push_str(meant(row, WINDOWS_1252, LATIN_1).as_deref().unwrap_or(row));
        rest = after;
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

/// The characters below these are bytes by their own numbers: in ASCII, and in text that was read as Latin-1, which holds the
/// control characters themselves.
const ASCII: u8 = 0x80;
const LATIN_1: u8 = 0xA0;

/// The UTF-8 that a text was, if it was read by this table.
fn meant(text: &str, table: &str, own_numbers: u8) -> Option<String> {
    let byte = |c: char| {
        let in_table = table.chars().position(|other| other == c).and_then(|at| u8::try_from(0x80 + at).ok());
        in_table.or_else(|| u8::try_from(u32::from(c)).ok().filter(|byte| *byte < own_numbers))
    };
    let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
    String::from_utf8(bytes?).ok().filter(|meant| !meant.chars().any(is_rare))
}

/// Letters and marks for which `É»` or `Ö…` would be taken, which texts hold as they stand: their first byte reads as one of
/// `ÈÉÊËÌÍÒÓÔÕÖÚÛÜÝÞß`, and few languages write them.
fn is_rare(c: char) -> bool {
    matches!(c, '\u{200}'..='\u{37F}' | '\u{480}'..='\u{5BF}' | '\u{680}'..='\u{7FF}')
}

/// What a control character from 0x80 on was meant as: a byte of Windows-1252 that was read as Latin-1.
pub(crate) fn windows_1252(c: char) -> Option<char> {
    let at = (u32::from(c) as usize).checked_sub(0x80).filter(|at| *at < 0x20)?;
    WINDOWS_1252.chars().nth(at).filter(|meant| *meant != c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accident_is_undone() {
        assert_eq!(repair("schÃ¶n â€œfixâ€\u{9D}").as_deref(), Some("schön “fix”"));
        assert_eq!(repair("naÃ¯ve cafÃ©").as_deref(), Some("naïve café"));
        assert_eq!(repair("ä½\u{A0}å¥½").as_deref(), Some("你好"));
        assert_eq!(repair("a photo of OsÃ¡gÃ¡, “4k”").as_deref(), Some("a photo of Oságá, “4k”"));
        for text in ["OsĂˇgĂˇ", "Os√°g√°", "Os├íg├í"] {
            assert_eq!(repair(text).as_deref(), Some("Oságá"), "{text}");
        }
    }

    #[test]
    fn text_that_is_fine_stays() {
        for text in [
            "plain",
            "café naïve façade",
            "«CAFÉ»",
            "½ ² ³ ™ © ®",
            "em—dash …",
            "€10 £3",
            "你好世界",
            "ÃÃ",
            "“Érythrée”",
            "CAFÉ»",
            "une journée d’ÉTÉ…",
        ] {
            assert_eq!(repair(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_was_read_wrongly_is_read_rightly(meant in "[a-zà-žА-я€一-龥]*[à-ž][a-z]*") {
            let misread: String = meant.bytes().map(|b| if (0x80..0xA0).contains(&b) {
                WINDOWS_1252.chars().nth(usize::from(b - 0x80)).expect("a byte from 0x80 on")
            } else {
                char::from(b)
            }).collect();
            proptest::prop_assert_eq!(repair(&misread), Some(meant));
        }
    }
}
