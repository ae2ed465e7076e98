//! `*.safetensors.index.json` and `*.bin.index.json`: which of several files holds each tensor.
//!
//! An index is as hostile as any file: its size and its number of entries are limited, a name must not be repeated, and
//! a shard is a plain file name, so that it lies beside the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    path::{Component, Path},
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};

use crate::{
    error::WeightsError,
    limits::{MAX_HEADER_BYTES, MAX_SHARDS, MAX_TENSORS},
    pytorch,
};

/// A checked index.
#[derive(Debug)]
pub(crate) struct Index {
    /// Shard of each tensor.
    pub(crate) weight_map: BTreeMap<String, String>,
}

impl Index {
    /// The shards' names, sorted.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// What of an index is read.
#[derive(Deserialize)]
struct IndexFile {
    weight_map: Unique<String>,
}

/// Reads and checks an index.
///
/// # Errors
/// When it cannot be read, is damaged, or is beyond the limits.
pub(crate) fn read_index(path: &Path) -> Result<Index, WeightsError> {
    let io_error = |source| WeightsError::Io { path: path.to_path_buf(), source };
    let malformed = |reason: String| WeightsError::Malformed { path: path.to_path_buf(), reason };
    let text = add_files::read(path, MAX_HEADER_BYTES).map_err(io_error)?;
    let file: IndexFile =
        serde_json::from_slice(&text).map_err(|error| malformed(format!("index: {error}")))?;
    let index = Index { weight_map: file.weight_map.0 };
    let files = index.files();
    if files.is_empty() || files.len() > MAX_SHARDS {
        return Err(malformed(format!("expected 1 to {MAX_SHARDS} shards, found {}", files.len())));
    }
    for name in files {
        let parts: Vec<Component<'_>> = Path::new(name).components().collect();
        let beside = matches!(parts.as_slice(), [Component::Normal(_)]) && !name.contains(['/', '\\']);
        if !beside || !(name.ends_with(".safetensors") || pytorch::is_one(Path::new(name))) {
            return Err(malformed(format!(
                "expected shards that are .safetensors or .bin files beside it, found {name:?}"
            )));
        }
    }
    Ok(index)
}

/// A JSON object with a limited number of entries, none of them twice.
pub(crate) struct Unique<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: DeserializeOwned> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: DeserializeOwned> Visitor<'de> for Entries<V> {
            type Value = BTreeMap<String, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensor names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    // One more for the metadata.
                    if entries.len() > MAX_TENSORS {
                        return Err(A::Error::custom(format!(
                            "expected at most {MAX_TENSORS} tensors, found more"
                        )));
                    }
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format!("expected unique names, found `{name}` twice")));
                    }
                    entries.insert(name, value);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::WeightsFile;

    /// A file of one f32 tensor for each name.
    fn shard(names: &[&str]) -> Vec<u8> {
        let entry = |(i, name): (usize, &&str)| {
            format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4)
        };
        let header = format!("{{{}}}", names.iter().enumerate().map(entry).collect::<Vec<_>>().join(","));
        let values = (0..names.len()).flat_map(|i| (i as f32 + names[i].len() as f32).to_le_bytes());
        (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(values).collect()
    }

    fn open(index: &str, shards: &[(&str, Vec<u8>)]) -> Result<WeightsFile, WeightsError> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in shards {
            fs::write(folder.path().join(name), bytes).expect("written");
        }
        let path = folder.path().join("m.safetensors.index.json");
        fs::write(&path, index).expect("written");
        WeightsFile::open(path)
    }

    #[test]
    fn shards_are_one_view() {
        let index = r#"{"metadata":{"total_size":12},"weight_map":{"a":"1.safetensors","bb":"2.safetensors","c":"1.safetensors"}}"#;
        let file = open(index, &[("1.safetensors", shard(&["a", "c"])), ("2.safetensors", shard(&["bb"]))]);
        let file = file.expect("whole");
        assert_eq!(file.tensors().keys().collect::<Vec<_>>(), ["a", "bb", "c"]);
        for (name, want) in [("a", 1.0), ("bb", 2.0), ("c", 2.0)] {
            assert!((file.floats::<f64>(name).expect("floats")[0] - want).abs() < 1e-12, "{name}");
        }
    }

    #[test]
    fn shards_may_be_of_pytorch() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tensors.pth");
        let index = r#"{"weight_map":{"a.bias":"1.bin","a.weight":"1.bin","bb":"2.safetensors"}}"#;
        let shards = [("1.bin", fs::read(fixture).expect("there")), ("2.safetensors", shard(&["bb"]))];
        let file = open(index, &shards).expect("whole");
        assert_eq!(file.floats::<f32>("a.bias").expect("floats"), [1.5, -2.0]);
    }

    #[test]
    fn an_index_that_does_not_fit_its_shards_is_refused() {
        let one = || vec![("1.safetensors", shard(&["a"])), ("2.safetensors", shard(&["a"]))];
        for (index, part) in [
            (r#"{"weight_map":{"a":"1.safetensors","b":"1.safetensors"}}"#, "`b`"),
            (r#"{"weight_map":{"b":"1.safetensors"}}"#, "`a`"),
            (r#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#, "`a`"),
            (r#"{"weight_map":{"a":"3.safetensors"}}"#, "3.safetensors"),
        ] {
            let error = open(index, &one()).expect_err(index).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn hostile_indices_are_refused_with_their_reason() {
        let huge = format!("{{\"weight_map\":{{\"a\":\"{}\"}}}}", "x".repeat(MAX_HEADER_BYTES as usize));
        let many =
            (0..=MAX_TENSORS + 1).map(|i| format!("\"{i}\":\"1.safetensors\"")).collect::<Vec<_>>().join(",");
        let shards =
            (0..=MAX_SHARDS).map(|i| format!("\"{i}\":\"{i}.safetensors\"")).collect::<Vec<_>>().join(",");
        for (index, part) in [
            (r#"{"weight_map":{"a":"../1.safetensors"}}"#, "beside it"),
            (r#"{"weight_map":{"a":"/etc/1.safetensors"}}"#, "beside it"),
            (r#"{"weight_map":{"a":"d\\1.safetensors"}}"#, "beside it"),
            (r#"{"weight_map":{"a":"passwd"}}"#, "beside it"),
            (r#"{"weight_map":{}}"#, "found 0"),
            (r#"{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}"#, "`a` twice"),
            (r#"{"weight_map":{"a":1}}"#, "string"),
            ("[]", "index"),
            (&huge, "at most 16777216 bytes"),
            (&format!("{{\"weight_map\":{{{many}}}}}"), "at most 20000 tensors"),
            (&format!("{{\"weight_map\":{{{shards}}}}}"), "256 shards, found 257"),
        ] {
            let error = open(index, &[]).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
