//! A JSON object per line.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _},
};

use add_data::plain_json;
use add_store::Store;
use serde::{
    Deserialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;

use super::{Fields, Refusal, Row, SPLIT, opened};
use crate::captions::{MAX_CAPTIONS, texts};

/// Reads line by line, since a list may be long.
pub(super) fn read(
    store: &Store,
    name: &str,
    fields: &Fields,
    each: &mut dyn FnMut(usize, Row) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let (mut lines, mut bytes) = (BufReader::new(opened(store, name)?), Vec::new());
    for number in 1_usize.. {
        let at_line = |problem: String| Refusal::Line(number, problem);
        bytes.clear();
        let length = lines.by_ref().take(MAX_CAPTIONS + 1).read_until(b'\n', &mut bytes);
        match length.map_err(|error| at_line(error.to_string()))? {
            0 => break,
            length if length as u64 > MAX_CAPTIONS => {
                return Err(at_line(format!("longer than {MAX_CAPTIONS} bytes")));
            }
            _ => {}
        }
        let line = str::from_utf8(&bytes).map_err(|error| at_line(format!("not UTF-8: {error}")))?;
        // A list that was put together from several has a mark at the beginning of each.
        let line = line.trim_start_matches('\u{FEFF}');
        if line.trim().is_empty() {
            continue;
        }
        let object: Object =
            serde_json::from_str(&plain_json(line)).map_err(|error| at_line(error.to_string()))?;
        each(number, row(&object, fields).map_err(at_line)?)?;
    }
    Ok(())
}

fn row(object: &Object, fields: &Fields) -> Result<Row, String> {
    let get = |name: &str| object.0.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let names: Vec<&str> = object.0.iter().map(|(name, _)| name.as_str()).collect();
    let (file, captions) = match fields.choose(&names) {
        Ok((file, captions)) => {
            let mut all = Vec::new();
            for name in captions {
                all.extend(
                    texts(get(name).unwrap_or(&Value::Null))
                        .map_err(|problem| format!("{name}: {problem}"))?,
                );
            }
            (file, Ok(all))
        }
        // A line without a caption is a picture that cannot be used.
        Err(problem) => match fields.files().into_iter().find(|name| names.contains(name)) {
            Some(file) if problem.contains("a caption") => {
                (file, Err(format!("it has no caption: {problem}")))
            }
            _ => return Err(problem),
        },
    };
    let text = |name: &str| match get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        None | Some(Value::Null) => Ok(None),
        Some(_) => Err(format!("{name}: expected a text")),
    };
    let file = text(file)?.ok_or_else(|| format!("{file}: expected a text, found null"))?;
    Ok(Row { file, captions, split: text(SPLIT)? })
}

/// A JSON object by its fields, each of which stands there once.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object such as {\"file\": \"a.png\", \"caption\": \"…\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format_args!(
                            "duplicate field `{}`",
                            name.escape_debug()
                        )));
                    }
                    if fields.len() == MOST_FIELDS {
                        return Err(A::Error::custom(format_args!("more than {MOST_FIELDS} fields")));
                    }
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

/// Most fields of a line.
const MOST_FIELDS: usize = 1000;
