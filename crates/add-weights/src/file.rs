//! A safetensors file, or the shards of one, mapped into memory, each header parsed once and checked against the limits
//! for files of unknown origin.
//!
//! The `safetensors` crate checks offsets and sizes; it accepts repeated names, any header size and NaN, so
//! those are checked here.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fmt,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use add_files::MappedFile;
use safetensors::{Dtype, SafeTensors};
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::{
    beginning::{self, Expected},
    error::WeightsError,
    limits::{MAX_HEADER_BYTES, MAX_TENSORS},
    location::Location,
    pytorch, shards,
};

/// The bytes of one file.
type Bytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// An open file of weights, or several that are one model.
pub struct WeightsFile {
    path: PathBuf,
    shards: Vec<Bytes>,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

/// Type, shape and place of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Number type in the file.
    pub dtype: Dtype,
    /// Sizes of the dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    shard: usize,
    range: Range<usize>,
}

impl WeightsFile {
    /// Opens and checks a file; of an index (`.json`) all the shards beside it, as one view. Values are read only when
    /// asked for, but those of a file of PyTorch's (`.pt`, `.pth`, `.bin`, `.ckpt`), which are read at once.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged, or is beyond the limits.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if path.extension() == Some(OsStr::new("json")) {
            Self::open_shards(path)
        } else if pytorch::is_one(path) {
            pytorch::open(path)
        } else {
            Self::open_one(path)
        }
    }

    fn open_shards(path: &Path) -> Result<Self, WeightsError> {
        let index = shards::read_index(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut all = Self {
            path: path.to_path_buf(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        for name in index.files() {
            let mut one = Self::open(folder.join(name))?;
            for (tensor, mut info) in one.tensors {
                if index.weight_map.get(&tensor).map(String::as_str) != Some(name) {
                    let reason = format!("it does not say that `{tensor}` is in {name}, where it is");
                    return Err(malformed(path, reason));
                }
                info.shard = all.shards.len();
                all.tensors.insert(tensor, info);
            }
            all.shards.append(&mut one.shards);
            all.metadata.append(&mut one.metadata);
        }
        match index.weight_map.iter().find(|(tensor, _)| !all.tensors.contains_key(*tensor)) {
            Some((tensor, name)) => {
                Err(malformed(path, format!("`{tensor}` is not in {name}, where it says")))
            }
            None => Ok(all),
        }
    }

    fn open_one(path: &Path) -> Result<Self, WeightsError> {
        let path = path.to_path_buf();
        let io_error = |source| WeightsError::Io { path: path.clone(), source };
        let (mut file, length) = add_files::open(&path).map_err(io_error)?;
        // Before mapping: an empty file is no reason for a cryptic mapping error.
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                malformed(&path, format!("expected at least 8 bytes, found {length}"))
            }
            _ => io_error(source),
        })?;
        let map = MappedFile::new(&file).map_err(io_error)?;
        Self::parse(path, Box::new(map))
    }

    /// Reads weights that are part of the program; `name` stands for the path in errors.
    ///
    /// # Errors
    /// When the bytes are damaged or beyond the limits.
    pub fn from_bytes(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, WeightsError> {
        Self::parse(PathBuf::from(name), Box::new(bytes))
    }

    /// The same of weights that are embedded as `gzip`.
    ///
    /// # Errors
    /// As [`WeightsFile::from_bytes`].
    pub fn from_gzip(name: &str, gzip: &[u8]) -> Result<Self, WeightsError> {
        let bytes =
            add_files::unpack(gzip).map_err(|source| WeightsError::Io { path: name.into(), source })?;
        Self::from_bytes(name, bytes)
    }

    fn parse(path: PathBuf, bytes: Bytes) -> Result<Self, WeightsError> {
        let all = (*bytes).as_ref();
        let header = header(all).map_err(|reason| malformed(&path, reason))?;
        check_names(header).map_err(|reason| malformed(&path, format!("header: {reason}")))?;
        let (_, parsed) =
            SafeTensors::read_metadata(all).map_err(|error| malformed(&path, error.to_string()))?;
        let start = 8 + header.len();
        let mut tensors = BTreeMap::new();
        for (name, info) in parsed.tensors() {
            let (dtype, shape) = (info.dtype, info.shape.clone());
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            tensors.insert(name, TensorInfo { dtype, shape, shard: 0, range });
        }
        let metadata = parsed.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { path, shards: vec![bytes], tensors, metadata })
    }

    /// The file, or the index of its shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The free text fields of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// One tensor's type and shape.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn info(&self, name: &str) -> Result<&TensorInfo, WeightsError> {
        let missing = || WeightsError::NoSuchTensor { path: self.path.clone(), name: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }

    /// One tensor's bytes, little-endian.
    pub(crate) fn bytes_of(&self, info: &TensorInfo) -> &[u8] {
        &(*self.shards[info.shard]).as_ref()[info.range.clone()]
    }
}

impl Location {
    /// Fetches and opens the file.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), and when the file is damaged or beyond the limits.
    pub fn open(&self) -> Result<WeightsFile, WeightsError> {
        WeightsFile::open(self.fetch(&mut ())?)
    }
}

impl fmt::Debug for WeightsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightsFile")
            .field("path", &self.path)
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

fn malformed(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { path: path.to_path_buf(), reason: reason.into() }
}

/// The header's JSON text.
fn header(all: &[u8]) -> Result<&[u8], String> {
    let prefix =
        all.first_chunk().ok_or_else(|| format!("expected at least 8 bytes, found {}", all.len()))?;
    let length = u64::from_le_bytes(*prefix);
    if length > MAX_HEADER_BYTES {
        return Err(beginning::instead(all, Expected::Safetensors).unwrap_or_else(|| {
            format!("expected a header of at most {MAX_HEADER_BYTES} bytes, found {length}")
        }));
    }
    let rest = &all[8..];
    rest.get(..length as usize)
        .ok_or_else(|| format!("expected {length} bytes of header, found {}", rest.len()))
}

/// Reads the names alone, so that a hostile header is refused before anything of its size is built.
fn check_names(header: &[u8]) -> Result<(), serde_json::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of tensor names")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let (mut seen, mut tensors) = (HashSet::new(), 0);
            while let Some(name) = map.next_key::<String>()? {
                map.next_value::<IgnoredAny>()?;
                tensors += usize::from(name != "__metadata__");
                if tensors > MAX_TENSORS {
                    return Err(A::Error::custom(format!(
                        "expected at most {MAX_TENSORS} tensors, found more"
                    )));
                }
                if let Some(name) = seen.replace(name) {
                    return Err(A::Error::custom(format!("expected unique names, found `{name}` twice")));
                }
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_slice(header);
    json.deserialize_map(Names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    fn refusal(bytes: Vec<u8>) -> String {
        WeightsFile::from_bytes("test", bytes).expect_err("a hostile file").to_string()
    }

    fn entry(name: &str, shape: &str, from: usize, to: usize) -> String {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    }

    #[test]
    fn a_sound_file_opens() {
        let header = format!(r#"{{"__metadata__":{{"a":"b"}},{}}}"#, entry("x", "[2,1]", 0, 8));
        let file = WeightsFile::from_bytes("test", file(&header, 8)).expect("sound");
        assert_eq!(file.info("x").expect("there").shape, [2, 1]);
        assert_eq!(file.metadata()["a"], "b");
        assert!(matches!(file.info("y"), Err(WeightsError::NoSuchTensor { .. })));
    }

    #[test]
    fn hostile_headers_are_refused_with_their_reason() {
        assert!(refusal(vec![1, 2, 3]).contains("at least 8 bytes"));
        assert!(refusal(u64::MAX.to_le_bytes().to_vec()).contains("at most 16777216 bytes"));
        assert!(refusal(1000_u64.to_le_bytes().to_vec()).contains("1000 bytes of header"));
        assert!(refusal(file("[]", 0)).contains("map of tensor names"));
        assert!(refusal(file("{\"a\":", 0)).contains("EOF"));
        let twice = format!("{{{},{}}}", entry("x", "[1]", 0, 4), entry("x", "[1]", 0, 4));
        assert!(refusal(file(&twice, 4)).contains("`x` twice"));
        let many =
            (0..=MAX_TENSORS).map(|i| entry(&i.to_string(), "[0]", 0, 0)).collect::<Vec<_>>().join(",");
        assert!(refusal(file(&format!("{{{many}}}"), 0)).contains("at most 20000 tensors"));
        assert!(refusal(file(&format!("{}{}", "[".repeat(9000), "]".repeat(9000)), 0)).contains("map"));
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        for (shape, from, to, data) in [
            ("[2]", 0, 4, 4),
            ("[1]", 0, 4, 3),
            ("[1]", 0, 4, 8),
            ("[1]", 4, 0, 4),
            ("[1]", 4, 8, 8),
            ("[18446744073709551615,2]", 0, 4, 4),
            ("[-1]", 0, 4, 4),
        ] {
            let header = format!("{{{}}}", entry("x", shape, from, to));
            let _ = refusal(file(&header, data));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic(at in 0_usize..200, value: u8, cut in 0_usize..200) {
            let header = format!("{{{},{}}}", entry("x", "[2,3]", 0, 24), entry("y", "[]", 24, 28));
            let mut bytes = file(&header, 28);
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            bytes[at] = value;
            for bytes in [bytes.clone(), bytes[..cut].to_vec()] {
                // Either it is refused, or all that it claims to hold can be read.
                if let Ok(file) = WeightsFile::from_bytes("test", bytes) {
                    for name in file.tensors().keys() {
                        let _ = (file.floats::<f32>(name), file.integers(name));
                    }
                    let _ = file.check_finite(file.tensors().keys().map(String::as_str));
                }
            }
        }
    }
}
