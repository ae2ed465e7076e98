//! The Hugging Face hub: its cache on this machine, and what is not yet there over the network.
//!
//! The crate `hf-hub` does both. `HF_HOME` and `HF_HUB_CACHE` say where the cache is, `HF_TOKEN` opens gated
//! repositories, `HF_ENDPOINT` names a mirror, `HF_HUB_OFFLINE=1` or `TRANSFORMERS_OFFLINE=1` forbids the network.

use std::{env, fmt, path::PathBuf};

use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{ApiBuilder, ApiError},
};

use crate::{
    error::{HUB, WeightsError},
    hub_place::HubPlace,
};

/// How often a broken transfer is taken up again.
const RETRIES: usize = 3;

/// Most bytes of a file that says at which commit a branch is.
const LONGEST_REFERENCE: u64 = 1024;

/// Told how far a transfer is.
pub trait Progress {
    /// A file of `bytes` begins; again from its start when the transfer broke.
    fn begin(&mut self, file: &str, bytes: u64);

    /// `bytes` more are there.
    fn advance(&mut self, bytes: u64);
}

/// Tells nobody.
impl Progress for () {
    fn begin(&mut self, _file: &str, _bytes: u64) {}
    fn advance(&mut self, _bytes: u64) {}
}

/// How the hub is reached.
#[derive(Clone)]
pub(crate) struct Hub {
    /// The folder `hub` of the cache.
    pub(crate) cache: PathBuf,
    pub(crate) endpoint: String,
    pub(crate) token: Option<String>,
    pub(crate) offline: bool,
}

/// What became of a wish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// It is here now.
    At(PathBuf),
    /// The repository has no such file.
    Absent,
}

impl Hub {
    /// As the environment says.
    pub(crate) fn from_env() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let in_cache = || {
            let user = env::home_dir().unwrap_or_default();
            set("XDG_CACHE_HOME").map_or_else(|| user.join(".cache"), PathBuf::from).join("huggingface")
        };
        let home = set("HF_HOME").map_or_else(in_cache, PathBuf::from);
        let cache = set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let from_file = || std::fs::read_to_string(home.join("token")).ok();
        let token = set("HF_TOKEN").or_else(from_file).map(|token| token.trim().to_owned());
        Self {
            cache,
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()),
            token: token.filter(|token| !token.is_empty()),
            offline: set("HF_HUB_OFFLINE")
                .or_else(|| set("TRANSFORMERS_OFFLINE"))
                .is_some_and(|value| is_true(&value)),
        }
    }

    /// The file in the cache.
    pub(crate) fn cached(&self, place: &HubPlace) -> Option<PathBuf> {
        let repo = repo(place);
        let branch = self.cache.join(repo.folder_name()).join("refs").join(repo.revision());
        // What was written by hand ends with its line, which the crate would take for a part of the commit.
        let pointed =
            add_files::read_text(&branch, LONGEST_REFERENCE).ok().map(|text| text.trim().to_owned());
        let is_commit = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let cache = Cache::new(self.cache.clone());
        // A commit needs no branch to point at it.
        let commits = pointed.filter(is_commit).into_iter().chain([place.revision.clone()]);
        commits
            .map(|commit| cache.repo(repo.clone()).pointer_path(&commit).join(&place.path))
            .find(|file| file.is_file())
    }

    /// Brings the file into the cache.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses; the message says how to provide the file by hand.
    pub(crate) fn fetch(
        &self,
        place: &HubPlace,
        progress: &mut dyn Progress,
    ) -> Result<Fetched, WeightsError> {
        let failed = |reason: String| WeightsError::Hub {
            place: place.to_string(),
            reason,
            repository: place.repository.clone(),
            file: place.path.clone(),
            cache: self.cache.clone(),
        };
        if self.offline {
            return Err(failed("HF_HUB_OFFLINE forbids to fetch it".to_owned()));
        }
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_retries(RETRIES)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        match api.repo(repo(place)).download_with_progress(&place.path, Told(progress)) {
            Ok(path) => Ok(Fetched::At(path)),
            Err(error) => match status(&error) {
                Some(404) => Ok(Fetched::Absent),
                Some(401 | 403) => Err(failed(
                    "access denied by the hub: the repository does not exist, or its licence must be accepted on its page and HF_TOKEN set"
                        .to_owned(),
                )),
                _ => Err(failed(format!("the hub cannot give it: {error}"))),
            },
        }
    }
}

/// A token must not reach a log.
impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

fn repo(place: &HubPlace) -> Repo {
    Repo::with_revision(place.repository.clone(), RepoType::Model, place.revision.clone())
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// The hub's answer, if it gave one.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        ApiError::TooManyRetries(error) => status(error),
        _ => None,
    }
}

/// Our observer as the crate's.
struct Told<'a>(&'a mut dyn Progress);

impl hf_hub::api::Progress for Told<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        self.0.begin(filename, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.0.advance(size as u64);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
pub(crate) mod testing {
    //! A hub on this machine.

    use std::{
        collections::HashMap,
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
        path::Path,
        thread,
    };

    use super::Hub;

    /// Serves files by path until the test's process ends.
    pub(crate) struct Server(u16);

    impl Server {
        pub(crate) fn start(files: &[(&str, Vec<u8>)]) -> Self {
            let files: HashMap<String, Vec<u8>> =
                files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that goes away is no failure of the test.
                    let _ = answer(stream, &files);
                }
            });
            Self(port)
        }

        pub(crate) fn url(&self) -> String {
            format!("http://127.0.0.1:{}", self.0)
        }
    }

    fn answer(mut stream: TcpStream, files: &HashMap<String, Vec<u8>>) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let mut first = 0;
        let mut allowed = path != "/o/gated/resolve/main/x.safetensors";
        for line in lines.by_ref() {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(range) = line.strip_prefix("range: bytes=") {
                first = range.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                // The first request asks for one byte, to learn the size.
            }
            allowed |= line == "authorization: bearer secret";
        }
        let close = "Connection: close\r\n";
        let Some(bytes) = files.get(path) else {
            return write!(stream, "HTTP/1.1 404 Not Found\r\n{close}Content-Length: 0\r\n\r\n");
        };
        if !allowed {
            return write!(stream, "HTTP/1.1 401 Unauthorized\r\n{close}Content-Length: 0\r\n\r\n");
        }
        let body = &bytes[first..];
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\n{close}etag: \"e{}\"\r\nx-repo-commit: c0ffee\r\n\
             Content-Range: bytes {first}-{}/{}\r\nContent-Length: {}\r\n\r\n",
            path.len() * 1000 + bytes.iter().map(|&b| usize::from(b)).sum::<usize>(),
            bytes.len() - 1,
            bytes.len(),
            body.len()
        )?;
        stream.write_all(body)
    }

    pub(crate) fn hub(cache: &Path, endpoint: &str) -> Hub {
        Hub { cache: cache.to_path_buf(), endpoint: endpoint.to_owned(), token: None, offline: false }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{Server, hub},
        *,
    };

    fn place(repository: &str) -> HubPlace {
        let (repository, revision) = (repository.to_owned(), "main".to_owned());
        HubPlace { repository, revision, path: "x.safetensors".to_owned() }
    }

    #[derive(Default)]
    struct Seen(Vec<(String, u64)>, u64);

    impl Progress for Seen {
        fn begin(&mut self, file: &str, bytes: u64) {
            self.0.push((file.to_owned(), bytes));
            self.1 = 0;
        }
        fn advance(&mut self, bytes: u64) {
            self.1 += bytes;
        }
    }

    #[test]
    fn a_file_comes_with_progress_and_stays_in_the_cache() {
        let server = Server::start(&[("/o/r/resolve/main/x.safetensors", vec![7; 100])]);
        let folder = tempfile::tempdir().expect("a folder");
        let hub = hub(folder.path(), &server.url());
        assert_eq!(hub.cached(&place("o/r")), None);
        let mut seen = Seen::default();
        let Fetched::At(path) = hub.fetch(&place("o/r"), &mut seen).expect("served") else {
            panic!("absent")
        };
        assert_eq!(std::fs::read(&path).expect("there"), [7; 100]);
        assert!(path.starts_with(folder.path().join("models--o--r/snapshots/c0ffee")), "{}", path.display());
        assert_eq!((seen.0.last(), seen.1), (Some(&("x.safetensors".to_owned(), 100)), 100));
        assert_eq!(hub.cached(&place("o/r")), Some(path.clone()));
        let commit = HubPlace { revision: "c0ffee".to_owned(), ..place("o/r") };
        assert_eq!(hub.cached(&commit), Some(path), "a commit is found without a branch");
        assert_eq!(hub.fetch(&place("o/other"), &mut ()).expect("an answer"), Fetched::Absent);
    }

    #[test]
    fn a_gated_file_needs_its_token_and_no_error_shows_one() {
        let server = Server::start(&[("/o/gated/resolve/main/x.safetensors", vec![1; 9])]);
        let folder = tempfile::tempdir().expect("a folder");
        let closed = hub(folder.path(), &server.url());
        let error = closed.fetch(&place("o/gated"), &mut ()).expect_err("refused").to_string();
        assert!(error.contains("HF_TOKEN") && error.contains("o/gated"), "{error}");
        let open = Hub { token: Some("secret".to_owned()), ..closed };
        assert!(!format!("{open:?}").contains("secret"));
        assert!(matches!(open.fetch(&place("o/gated"), &mut ()), Ok(Fetched::At(_))));
    }

    #[test]
    fn without_a_network_the_error_says_how_to_provide_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        // Nothing listens on the port of `discard`.
        let unreachable = hub(folder.path(), "http://127.0.0.1:9");
        let offline = Hub { offline: true, ..unreachable.clone() };
        for (hub, reason) in [(unreachable, "cannot give it"), (offline, "HF_HUB_OFFLINE")] {
            let error = hub.fetch(&place("o/r"), &mut ()).expect_err("no network").to_string();
            for part in
                [reason, "hf://o/r/x.safetensors", "hf download o/r x.safetensors", "huggingface.co/o/r"]
            {
                assert!(error.contains(part), "{part} in {error}");
            }
        }
    }
}
