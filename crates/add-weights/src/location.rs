//! Where weights are: a local file or folder, or a place on the Hugging Face hub.
//!
//! `hf://owner/repo[@revision][/path]` names a repository, or a folder or file in it. Whatever names a folder is turned
//! into a file by [`Location::named`], and [`Location::fetch`] gives the local path, from the disk, from the hub's
//! cache, or over the network. In a recipe a location is one string, and a relative path begins at the recipe's folder.

use std::{
    cell::RefCell,
    fmt, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::WeightsError,
    hub::{Fetched, Hub, Progress},
    hub_place::{HubPlace, MAIN, SCHEME},
    pytorch::ENDINGS,
    shards,
    variants::{is_index, variants},
};

/// A place of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Location {
    /// On this machine; relative to the current folder.
    Local(PathBuf),
    /// The second path, which is relative, as a file in the first folder names it: there, or else in the current folder.
    Beside(Arc<Path>, PathBuf),
    /// On the hub.
    Hub(HubPlace),
}

thread_local! {
    /// The folder where the relative places begin that are being read.
    static BASE: RefCell<Option<Arc<Path>>> = const { RefCell::new(None) };
}

/// Does `read`, in which every relative place that is parsed begins at `folder`: that of the recipe that names it. A plugin
/// reads its own fields and knows nothing of the recipe's file, which is why this is said beside it.
pub fn beside<T>(folder: &Path, read: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<Path>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            BASE.set(self.0.take());
        }
    }
    let base = (!folder.as_os_str().is_empty()).then(|| folder.into());
    let _restore = Restore(BASE.replace(base));
    read()
}

/// What a file of weights, or an index of several, ends in, beside PyTorch's.
const FILES: [&str; 3] = ["safetensors", "sft", "json"];

impl Location {
    /// Reads `hf://owner/repo[@revision][/path]`, or else a local path.
    ///
    /// # Errors
    /// When the text names nothing that a hub can have.
    pub fn parse(text: &str) -> Result<Self, WeightsError> {
        let wrong = |reason: String| WeightsError::Location { text: text.to_owned(), reason };
        let Some(rest) = text.strip_prefix(SCHEME) else {
            if text.is_empty() || text.contains("://") {
                return Err(wrong("expected a path, or hf://owner/repo/path".to_owned()));
            }
            let (path, base) = (PathBuf::from(text), BASE.with_borrow(Clone::clone));
            return Ok(match base.filter(|_| path.is_relative()) {
                Some(base) => Self::Beside(base, path),
                None => Self::Local(path),
            });
        };
        let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        let [owner, name, path @ ..] = parts.as_slice() else {
            return Err(wrong("expected hf://owner/repo, perhaps with @revision and /path".to_owned()));
        };
        let (name, revision) = name.split_once('@').unwrap_or((name, MAIN));
        for part in [owner, &name, &revision].into_iter().chain(path) {
            if !is_plain(part) {
                return Err(wrong(format!(
                    "expected letters, digits, `-`, `_` and `.` between the slashes, got {part:?}"
                )));
            }
        }
        let (repository, revision) = (format!("{owner}/{name}"), revision.to_owned());
        Ok(Self::Hub(HubPlace { repository, revision, path: path.join("/") }))
    }

    /// What lies at `path` (with `/` between its parts) below this location.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        match self {
            Self::Local(folder) => Self::Local(folder.join(path)),
            Self::Beside(base, folder) => Self::Beside(base.clone(), folder.join(path)),
            Self::Hub(place) if place.path.is_empty() => {
                Self::Hub(HubPlace { path: path.to_owned(), ..place.clone() })
            }
            Self::Hub(place) => {
                Self::Hub(HubPlace { path: format!("{}/{path}", place.path), ..place.clone() })
            }
        }
    }

    /// This location where it names a file, otherwise the file `name` below it.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        if self.is_file() { self.clone() } else { self.join(name) }
    }

    /// The path of a place on this machine, whether or not something is there.
    pub fn local(&self) -> Option<PathBuf> {
        self.path_or_hub().ok()
    }

    /// The path on this machine, or else the place on the hub.
    fn path_or_hub(&self) -> Result<PathBuf, &HubPlace> {
        match self {
            Self::Local(path) => Ok(path.clone()),
            Self::Beside(base, path) => {
                let there =
                    |path: &Path| variants(&path.to_string_lossy()).iter().any(|v| Path::new(v).exists());
                let beside: PathBuf = base.join(path).components().collect();
                Ok(if there(&beside) || !there(path) { beside } else { path.clone() })
            }
            Self::Hub(place) => Err(place),
        }
    }

    /// The same place from whatever folder.
    ///
    /// # Errors
    /// When the current folder is not to be had.
    pub fn absolute(self) -> io::Result<Self> {
        self.local().map_or(Ok(self), |path| std::path::absolute(path).map(Self::Local))
    }

    /// Whether it names a file of weights or an index of several.
    pub fn is_file(&self) -> bool {
        let path = match self.path_or_hub() {
            Ok(path) if path.is_dir() => return false,
            Ok(path) => path,
            Err(place) => PathBuf::from(&place.path),
        };
        path.extension().is_some_and(|e| FILES.iter().chain(&ENDINGS).any(|f| e.eq_ignore_ascii_case(f)))
    }

    /// The local path of a file, which is fetched from the hub if need be. Where there is no such file, its
    /// sharded index, a variant in half precision or PyTorch's file serves: `x.safetensors.index.json`,
    /// `x.fp16.safetensors`, `x.bf16.safetensors`, their indices, `pytorch_model.bin` and its index.
    ///
    /// # Errors
    /// When none of them is there; the message says how to provide the first.
    pub fn fetch(&self, progress: &mut dyn Progress) -> Result<PathBuf, WeightsError> {
        match self.path_or_hub() {
            Ok(path) => local(&path),
            Err(place) => from_hub(place, &Hub::from_env(), progress),
        }
    }

    /// The local path, if no network is needed for it.
    pub fn cached(&self) -> Option<PathBuf> {
        match self.path_or_hub() {
            Ok(path) => local(&path).ok(),
            Err(place) => variants(&place.path)
                .into_iter()
                .find_map(|path| Hub::from_env().cached(&HubPlace { path, ..place.clone() })),
        }
    }
}

fn local(path: &Path) -> Result<PathBuf, WeightsError> {
    let all = variants(&path.to_string_lossy());
    let found = all.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| WeightsError::Missing { path: path.to_path_buf(), or: all[1..].join(", ") })
}

fn from_hub(place: &HubPlace, hub: &Hub, progress: &mut dyn Progress) -> Result<PathBuf, WeightsError> {
    let places: Vec<HubPlace> =
        variants(&place.path).into_iter().map(|path| HubPlace { path, ..place.clone() }).collect();
    let mut found = places.iter().find_map(|place| Some((place, hub.cached(place)?)));
    if found.is_none() {
        for place in &places {
            if let Fetched::At(path) = hub.fetch(place, progress)? {
                found = Some((place, path));
                break;
            }
        }
    }
    let Some((place, path)) = found else {
        let or: Vec<&str> = places[1..].iter().map(|place| place.path.as_str()).collect();
        return Err(WeightsError::NotOnHub { place: place.to_string(), or: or.join(", ") });
    };
    if is_index(&path) && is_index(Path::new(&place.path)) {
        fetch_shards(place, &path, hub, progress)?;
    }
    Ok(path)
}

/// An index is of use only with its shards beside it.
fn fetch_shards(
    index: &HubPlace,
    path: &Path,
    hub: &Hub,
    progress: &mut dyn Progress,
) -> Result<(), WeightsError> {
    let folder = index.path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    for shard in shards::read_index(path)?.files() {
        let shard = HubPlace { path: format!("{folder}{shard}"), ..index.clone() };
        if hub.cached(&shard).is_none() && hub.fetch(&shard, progress)? == Fetched::Absent {
            return Err(WeightsError::NotOnHub { place: shard.to_string(), or: String::new() });
        }
    }
    Ok(())
}

/// A name that stays a name in a URL and in a path.
fn is_plain(part: &str) -> bool {
    let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
    plain && matches!(Path::new(part).components().collect::<Vec<_>>().as_slice(), [Component::Normal(_)])
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) | Self::Beside(_, path) => path.display().fmt(f),
            Self::Hub(place) => place.fmt(f),
        }
    }
}

impl TryFrom<String> for Location {
    type Error = WeightsError;

    fn try_from(text: String) -> Result<Self, WeightsError> {
        Self::parse(&text)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::file::WeightsFile;
    use crate::hub::testing::{Server, hub};

    fn place(text: &str) -> HubPlace {
        match Location::parse(text).expect("a place") {
            Location::Hub(place) => place,
            local => panic!("{local} is local"),
        }
    }

    #[test]
    fn a_location_reads_and_prints_as_one_string() {
        for text in ["hf://a/b", "hf://a/b/unet/x.safetensors", "hf://a/b.c-d@fp16/unet", "models/x", "/a b"]
        {
            assert_eq!(Location::parse(text).expect(text).to_string(), text);
        }
        let HubPlace { repository, revision, path } = place("hf://a/b@v1/c/d/");
        assert_eq!((repository.as_str(), revision.as_str(), path.as_str()), ("a/b", "v1", "c/d"));
        assert_eq!(place("hf://a/b").revision, "main");
    }

    #[test]
    fn what_no_hub_can_have_is_refused() {
        for text in [
            "",
            "hf://",
            "hf://a",
            "hf://a/",
            "hf://a/../b",
            "hf://a/b/../../c",
            "hf://a/b//c",
            "s3://a/b",
            "hf://a/b/c?d",
            "hf://a/b@/c",
            "hf://a/.",
            "hf://a/b/c%2f",
            "hf://a/b\\c",
        ] {
            let error = Location::parse(text).expect_err(text);
            assert!(error.to_string().contains("not a valid weights location"), "{error}");
        }
    }

    #[test]
    fn a_folder_takes_the_name_and_a_file_keeps_its_own() {
        let named =
            |text: &str| Location::parse(text).expect(text).named("unet/model.safetensors").to_string();
        assert_eq!(named("hf://a/b"), "hf://a/b/unet/model.safetensors");
        assert_eq!(named("hf://a/b/c"), "hf://a/b/c/unet/model.safetensors");
        assert_eq!(named("hf://a/b/x.safetensors"), "hf://a/b/x.safetensors");
        assert_eq!(named("m/x.safetensors.index.json"), "m/x.safetensors.index.json");
        let folder = tempfile::tempdir().expect("a folder");
        let dotted = folder.path().join("strange.json");
        fs::create_dir(&dotted).expect("a folder");
        let found = Location::Local(dotted.clone()).named("x.safetensors");
        assert_eq!(found, Location::Local(dotted.join("x.safetensors")));
    }

    #[test]
    fn a_local_file_may_be_sharded_in_half_precision_or_of_pytorch() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = Location::Local(folder.path().join("x.safetensors"));
        let error = wanted.fetch(&mut ()).expect_err("nothing there").to_string();
        assert!(error.contains("x.safetensors") && error.contains("x.fp16.safetensors"), "{error}");
        for name in [
            "x.fp16.bin",
            "x.bin.index.json",
            "x.bin",
            "x.bf16.safetensors.index.json",
            "x.safetensors.index.bf16.json",
            "x.bf16.safetensors",
            "x.fp16.safetensors.index.json",
            "x.safetensors.index.fp16.json",
            "x.fp16.safetensors",
            "x.safetensors.index.json",
            "x.safetensors",
        ] {
            fs::write(folder.path().join(name), "").expect("written");
            assert_eq!(
                wanted.fetch(&mut ()).expect("there"),
                folder.path().join(name),
                "the first of those there"
            );
        }
    }

    /// One shard of one tensor.
    fn shard(name: &str) -> Vec<u8> {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat()
    }

    #[test]
    fn a_sharded_model_comes_from_the_hub_whole_and_only_once() {
        let index = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
        let server = Server::start(&[
            ("/o/r/resolve/main/unet/m.safetensors.index.json", index.as_bytes().to_vec()),
            ("/o/r/resolve/main/unet/m-1.safetensors", shard("a")),
            ("/o/r/resolve/main/unet/m-2.safetensors", shard("b")),
        ]);
        let cache = tempfile::tempdir().expect("a folder");
        let place = place("hf://o/r/unet/m.safetensors");
        let online = hub(cache.path(), &server.url());
        let path = from_hub(&place, &online, &mut ()).expect("served");
        let file = WeightsFile::open(&path).expect("both shards");
        assert_eq!(file.tensors().keys().collect::<Vec<_>>(), ["a", "b"]);
        let offline = Hub { offline: true, ..hub(cache.path(), "http://127.0.0.1:9") };
        assert_eq!(from_hub(&place, &offline, &mut ()).expect("cached"), path);
    }

    #[test]
    fn a_file_that_the_hub_lacks_is_named_with_what_would_do() {
        let server = Server::start(&[]);
        let cache = tempfile::tempdir().expect("a folder");
        let error = from_hub(&place("hf://o/r/m.safetensors"), &hub(cache.path(), &server.url()), &mut ());
        let error = error.expect_err("not there").to_string();
        assert!(error.contains("hf://o/r/m.safetensors") && error.contains("m.fp16.safetensors"), "{error}");
    }

    #[test]
    fn a_place_in_a_recipe_begins_at_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("m")).expect("made");
        std::fs::write(folder.path().join("m/x.safetensors"), "").expect("written");
        let parse = |text: &str| Location::parse(text).expect("a path");
        let (there, absent, whole) = beside(folder.path(), || {
            (parse("./m/x.safetensors"), parse("Cargo.toml"), parse("/m/x.safetensors"))
        });
        assert_eq!(there.fetch(&mut ()).expect("there"), folder.path().join("m/x.safetensors"));
        assert_eq!((there.to_string(), there.is_file()), ("./m/x.safetensors".to_owned(), true));
        // Tests run in the crate's folder, where there is one.
        assert_eq!(absent.fetch(&mut ()).expect("in the current folder"), Path::new("Cargo.toml"));
        assert_eq!(whole, Location::Local("/m/x.safetensors".into()));
        assert_eq!(parse("m"), Location::Local("m".into()), "the recipe has been read");
        let named = beside(folder.path(), || parse("m")).named("x.safetensors");
        assert_eq!(named.fetch(&mut ()).expect("there"), folder.path().join("m/x.safetensors"));
        let error =
            beside(folder.path(), || parse("m/y")).fetch(&mut ()).expect_err("nothing there").to_string();
        assert!(error.contains(&folder.path().join("m/y").display().to_string()), "{error}");
    }
}
