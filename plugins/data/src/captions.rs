//! Captions as people and programs write them: texts of any line ends, fields of JSON, too long ones.

use add_data::plain_json;
use add_files::decode_text;
use serde_json::Value;

/// Largest size of one picture's captions with what stands beside them, in bytes.
pub(crate) const MAX_CAPTIONS: u64 = 1 << 20;
/// Longest caption, in characters. A text encoder takes 77 tokens, about 300 characters, so what is cut is never seen.
const MAX_CAPTION: usize = 2000;

/// The captions that say something, cut to the longest length.
pub(crate) fn checked(captions: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<String>, String> {
    let cut =
        |caption: &str| caption.trim().chars().take(MAX_CAPTION).collect::<String>().trim_end().to_owned();
    let captions: Vec<_> = captions
        .into_iter()
        .map(|caption| cut(caption.as_ref()))
        .filter(|caption| !caption.is_empty())
        .collect();
    if captions.is_empty() { Err("it has no caption".to_owned()) } else { Ok(captions) }
}

/// The captions in a text, one a line.
pub(crate) fn lines(bytes: Vec<u8>) -> Result<Vec<String>, String> {
    let text = decode_text(bytes).map_err(|problem| {
        // Without the position, so that files with the same trouble are counted together.
        let kind =
            if problem.contains("UTF-16") || problem.contains("UTF-32") { problem } else { String::new() };
        if kind.is_empty() { "its captions are not UTF-8: save them as UTF-8".to_owned() } else { kind }
    })?;
    checked(text.split(['\n', '\r']))
}

/// The captions in the field `name` of a JSON object: a text or a list of texts.
pub(crate) fn field(bytes: Vec<u8>, name: &str) -> Result<Vec<String>, String> {
    let text = decode_text(bytes).map_err(|_| "its captions are no JSON".to_owned())?;
    let object: Value =
        serde_json::from_str(&plain_json(&text)).map_err(|_| "its captions are no JSON".to_owned())?;
    let captions = object.get(name).map(texts);
    captions.and_then(Result::ok).map_or_else(|| Err(format!("its JSON has no text `{name}`")), checked)
}

/// The texts of a value: itself, or those of a list; none for `null`.
pub(crate) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(Some(text.clone())),
        Value::Null => Ok(None),
        other => Err(format!("expected a text or a list of texts, found {}", kind(other))),
    };
    match value {
        Value::Array(list) => list.iter().filter_map(|value| text(value).transpose()).collect(),
        one => Ok(text(one)?.into_iter().collect()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(captions: &[&str]) -> Vec<String> {
        captions.iter().map(|&caption| caption.to_owned()).collect()
    }

    #[test]
    fn captions_say_something_and_long_ones_are_cut() {
        assert_eq!(checked(["x".repeat(MAX_CAPTION + 1)]), Ok(vec!["x".repeat(MAX_CAPTION)]));
        assert_eq!(checked(["ü".repeat(2 * MAX_CAPTION)]).map(|c| c[0].len()), Ok(2 * MAX_CAPTION));
        assert_eq!(checked([" ", "y "]), Ok(owned(&["y"])));
        assert_eq!(checked([""]), Err("it has no caption".to_owned()));
    }

    #[test]
    fn lines_end_in_every_way_and_marks_are_no_text() {
        for text in [" a \n\nb", "a\r\nb\r\n", "a\rb", "\u{FEFF}a\nb\n"] {
            assert_eq!(lines(text.into()), Ok(owned(&["a", "b"])), "{text:?}");
        }
        let utf_16: Vec<u8> = "\u{FEFF}größer".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(lines(utf_16.clone()), Ok(owned(&["größer"])));
        assert!(lines(utf_16[..utf_16.len() - 1].to_vec()).is_err_and(|problem| problem.contains("UTF-16")));
        for alone in [&b"\xEF\xBB\xBF"[..], b"\xFF\xFE", b" \r\n"] {
            assert_eq!(lines(alone.to_vec()), Err("it has no caption".to_owned()));
        }
        let latin = lines(vec![b'a', 0xFF, b'b']).expect_err("Latin-1");
        assert_eq!(latin, "its captions are not UTF-8: save them as UTF-8");
    }

    #[test]
    fn numbers_that_json_has_not_are_no_harm() {
        let python = br#"{"score": NaN, "caption": "NaN, a bread", "none": null, "many": ["a", null, "b"]}"#;
        let get = |name: &str| field(python.to_vec(), name);
        assert_eq!(get("caption"), Ok(owned(&["NaN, a bread"])));
        assert_eq!(get("many"), Ok(owned(&["a", "b"])));
        assert_eq!(get("none"), Err("it has no caption".to_owned()));
        assert_eq!(get("lost"), Err("its JSON has no text `lost`".to_owned()));
        assert_eq!(get("score"), Err("it has no caption".to_owned()));
    }
}
