//! A folder of files, here or far away, for callers that wait.
//!
//! One small runtime of `tokio` serves every store of the process: whichever thread waits drives it. Server errors,
//! refused connections and cut answers are asked again by `object_store`, with growing pauses.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    io::Read,
    ops::Range,
    path::PathBuf,
    rc::Rc,
    sync::{Once, OnceLock},
    time::Duration,
};

use add_files::is_hidden;
use futures_util::{TryStreamExt as _, future::BoxFuture, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetResult, ObjectMeta, ObjectStore, RetryConfig,
    aws::AmazonS3Builder, http::HttpBuilder, path::Path,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Place, StoreError,
    listing::{HIDDEN, Listing},
    local::Local,
    place::At,
    walk::walk,
    window::Window,
};

/// Times that a request is repeated. With one in five failing, 21 in a row are one case in 10^14.
const RETRIES: usize = 20;
/// Longest time of a request with all of its repetitions; below the life of credentials.
const RETRY_TIMEOUT: Duration = Duration::from_mins(4);
/// Most names that a folder may list.
const MOST_NAMES: usize = 20_000_000;
/// Longest answer of a server that is quoted, in characters.
const QUOTED: usize = 400;

/// A folder of files.
#[derive(Debug)]
pub struct Store {
    place: Place,
    root: Root,
}

/// What is asked of an `ObjectStore`. A table of all that one can do would link its writing too, with 0.7 MB of checksums.
trait Objects: fmt::Debug + Send + Sync {
    fn get<'a>(
        &'a self,
        location: &'a Path,
        options: GetOptions,
    ) -> BoxFuture<'a, object_store::Result<GetResult>>;

    fn list(&self, prefix: &Path) -> BoxStream<'static, object_store::Result<ObjectMeta>>;
}

impl<S: ObjectStore> Objects for S {
    fn get<'a>(
        &'a self,
        location: &'a Path,
        options: GetOptions,
    ) -> BoxFuture<'a, object_store::Result<GetResult>> {
        self.get_opts(location, options)
    }

    fn list(&self, prefix: &Path) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        ObjectStore::list(self, Some(prefix))
    }
}

/// Where the names of a store begin.
#[derive(Debug)]
enum Root {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// Behind the prefix of a bucket or web server.
    Far(Path, Box<dyn Objects>),
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Number of bytes.
    pub length: u64,
    /// Differs when the file does: its ETag, or when it was last changed.
    pub tag: String,
}

impl From<&ObjectMeta> for Stat {
    fn from(meta: &ObjectMeta) -> Self {
        let tag = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.timestamp_millis().to_string());
        Self { length: meta.size, tag }
    }
}

impl Store {
    /// The store at `place`. Credentials and settings of `s3://` are the environment's `AWS_…`, such as
    /// `AWS_ENDPOINT_URL` for a server that is not Amazon's.
    ///
    /// # Errors
    /// When there is no such folder, or the settings do not make a store.
    pub fn open(place: &Place) -> Result<Self, StoreError> {
        let failed = |problem: String| StoreError::Failed { place: place.to_string(), problem };
        let unfit = |error: object_store::Error| failed(error.to_string());
        let root = match place.at() {
            At::Path(folder) if folder.is_dir() => Root::Folder(folder.clone()),
            At::Path(_) => return Err(failed("expected a folder, found none".to_owned())),
            At::S3(url) => {
                choose_cryptography();
                let builder = AmazonS3Builder::from_env()
                    .with_bucket_name(url.host_str().unwrap_or_default())
                    .with_retry(retries());
                Root::Far(prefix(place, url.path())?, Box::new(builder.build().map_err(unfit)?))
            }
            At::Http(url) => {
                choose_cryptography();
                let builder = HttpBuilder::new()
                    .with_url(&url[..url::Position::BeforePath])
                    .with_retry(retries())
                    .with_client_options(ClientOptions::new().with_allow_http(url.scheme() == "http"));
                Root::Far(prefix(place, url.path())?, Box::new(builder.build().map_err(unfit)?))
            }
        };
        Ok(Self { place: place.clone(), root })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How a file of this store is named in messages.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.place.to_string().trim_end_matches('/'))
    }

    /// The names of all files in it and below, in the order of the alphabet, without the hidden ones. Links to folders are
    /// followed.
    ///
    /// # Errors
    /// When the store cannot be listed, as most web servers cannot.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = match &self.root {
            Root::Folder(folder) => walk(folder, MOST_NAMES)
                .map_err(|(folder, error)| Self::failed(&folder.display().to_string(), &error.to_string()))?,
            Root::Far(prefix, objects) => self.list_far(prefix, &**objects)?,
        };
        // The order in which a folder is listed differs from machine to machine.
        listing.names.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        Ok(listing)
    }

    fn list_far(&self, prefix: &Path, objects: &dyn Objects) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let names = async {
            let mut objects = objects.list(prefix);
            while let Some(object) = objects.try_next().await?
                && listing.names.len() <= MOST_NAMES
            {
                let below = object.location.as_ref().strip_prefix(prefix.as_ref()).unwrap_or_default();
                let name = below.trim_start_matches('/');
                if is_hidden(name) {
                    listing.passed_over.add(HIDDEN, name);
                } else {
                    listing.names.push(name.to_owned());
                }
            }
            Ok::<_, object_store::Error>(())
        };
        let place = self.place.to_string();
        let hint = "most web servers do not list their files: name them in a list instead";
        self.wait(names)?
            .map_err(|error| Self::failed(&place, &format!("cannot be listed ({hint}): {error}")))?;
        // What a server does not list, it answers with 404, which reads as a folder of nothing.
        if listing.names.is_empty() && matches!(self.place.at(), At::Http(_)) {
            return Err(Self::failed(&place, &format!("lists no file ({hint})")));
        }
        if listing.names.len() > MOST_NAMES {
            let problem = format!("expected at most {MOST_NAMES} files, found more");
            return Err(Self::failed(&place, &problem));
        }
        Ok(listing)
    }

    /// Length and tag of a file.
    ///
    /// # Errors
    /// When it is missing or the store fails.
    pub fn stat(&self, name: &str) -> Result<Stat, StoreError> {
        let (prefix, objects) = match &self.root {
            Root::Folder(folder) => return Local::below(folder, name, &self.name(name))?.stat(),
            Root::Far(prefix, objects) => (prefix, objects),
        };
        let location = self.location(prefix, name)?;
        let head = objects.get(&location, GetOptions { head: true, ..GetOptions::default() });
        Ok(Stat::from(&self.wait(head)?.map_err(|error| self.refusal(name, &error))?.meta))
    }

    /// All bytes of a file.
    ///
    /// # Errors
    /// When it is missing, holds more than `most` bytes, or the store fails.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, StoreError> {
        let (prefix, objects) = match &self.root {
            Root::Folder(folder) => return Local::below(folder, name, &self.name(name))?.read(most),
            Root::Far(prefix, objects) => (prefix, objects),
        };
        let location = self.location(prefix, name)?;
        let reading = async {
            let found = objects.get(&location, GetOptions::default()).await;
            let found = found.map_err(|error| self.refusal(name, &error))?;
            if found.meta.size > most {
                return Err(StoreError::TooLarge { place: self.name(name), most, found: found.meta.size });
            }
            self.bytes(name, found).await
        };
        self.wait(reading)?
    }

    /// The bytes `range` of a file, which must still be the one of `stat`.
    ///
    /// # Errors
    /// When it has changed or the store fails.
    pub fn range(&self, name: &str, stat: &Stat, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let (prefix, objects) = match &self.root {
            Root::Folder(folder) => {
                return Local::below(folder, name, &self.name(name))?.range(stat, range);
            }
            Root::Far(prefix, objects) => (prefix, objects),
        };
        let location = self.location(prefix, name)?;
        let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
        let reading = async {
            let found = objects.get(&location, options).await;
            let found = found.map_err(|error| self.refusal(name, &error))?;
            if Stat::from(&found.meta) != *stat {
                return Err(StoreError::Changed { place: self.name(name) });
            }
            // A range that leads beyond the end is cut to it.
            if found.range != range {
                let problem = format!("expected bytes {range:?}, found {:?}", found.range);
                return Err(Self::failed(&self.name(name), &problem));
            }
            self.bytes(name, found).await
        };
        self.wait(reading)?
    }

    /// A file from its beginning, fetched in blocks, of which one is kept.
    ///
    /// # Errors
    /// When it is missing or the store fails.
    pub fn reader<'a>(&'a self, name: &'a str) -> Result<impl Read + 'a, StoreError> {
        let stat = self.stat(name)?;
        let length = stat.length;
        let fetch = move |range| self.range(name, &stat, range);
        Ok(Window::new(Box::new(fetch), length, Rc::new(Cell::new(u64::MAX))))
    }

    /// The bytes of an answer, as many as it promised.
    async fn bytes(&self, name: &str, found: GetResult) -> Result<Vec<u8>, StoreError> {
        let expected = found.range.end - found.range.start;
        let mut bytes = Vec::with_capacity(expected as usize);
        let mut stream = found.into_stream();
        while let Some(part) = stream.try_next().await.map_err(|error| self.refusal(name, &error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > expected {
                break;
            }
        }
        if bytes.len() as u64 == expected {
            return Ok(bytes);
        }
        Err(Self::failed(&self.name(name), &format!("expected {expected} bytes, found {}", bytes.len())))
    }

    fn location(&self, prefix: &Path, name: &str) -> Result<Path, StoreError> {
        let full =
            if prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", prefix.as_ref()) };
        Path::parse(&full)
            .map_err(|error| StoreError::Place { text: self.name(name), problem: error.to_string() })
    }

    fn refusal(&self, name: &str, error: &object_store::Error) -> StoreError {
        match error {
            object_store::Error::NotFound { .. } => StoreError::Missing { place: self.name(name) },
            other => Self::failed(&self.name(name), &other.to_string()),
        }
    }

    fn failed(place: &str, problem: &str) -> StoreError {
        StoreError::Failed { place: place.to_owned(), problem: problem.chars().take(QUOTED).collect() }
    }

    /// Waits for an answer on the process's one runtime.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, StoreError> {
        static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
        let make =
            || Builder::new_current_thread().enable_io().enable_time().build().map_err(|e| e.to_string());
        match RUNTIME.get_or_init(make) {
            Ok(runtime) => Ok(runtime.block_on(answer)),
            Err(problem) => Err(Self::failed(&self.place.to_string(), problem)),
        }
    }
}

fn prefix(place: &Place, path: &str) -> Result<Path, StoreError> {
    let refused = |error: object_store::path::Error| StoreError::Place {
        text: place.to_string(),
        problem: error.to_string(),
    };
    Path::from_url_path(path).map_err(refused)
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(15),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}

/// The implementation of TLS: of the two that `rustls` has, the one that builds without CMake.
fn choose_cryptography() {
    static CHOSEN: Once = Once::new();
    // Whoever came first has chosen; either will do.
    CHOSEN.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path as FilePath};

    use super::*;

    fn here(folder: &FilePath) -> Store {
        Store::open(&Place::parse(folder.to_str().expect("UTF-8")).expect("a path")).expect("a folder")
    }

    #[test]
    fn a_folder_gives_its_files_up_to_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("sub")).expect("made");
        // Object stores have names of which a folder's are many more.
        let odd = "sub/ä b%20#1?\t\u{1}*\\:.txt";
        fs::write(folder.path().join(odd), "seven b").expect("written");
        let store = here(folder.path());
        assert_eq!(store.list().expect("a folder").names, [odd]);
        assert_eq!(store.read(odd, 7).expect("short enough"), b"seven b");
        assert!(matches!(store.read(odd, 6), Err(StoreError::TooLarge { found: 7, .. })));
        for missing in ["none", "sub", "sub/none", "a\0b", &"x".repeat(9999)] {
            assert!(matches!(store.read(missing, 9), Err(StoreError::Missing { .. })), "{missing}");
        }
        assert!(matches!(store.read("../x", 9), Err(StoreError::Place { .. })));
        let missing = Place::parse("no/such/folder").expect("a path");
        assert!(Store::open(&missing).expect_err("none").to_string().contains("no/such/folder"));
    }

    #[test]
    fn a_range_is_that_of_the_file_that_was_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, "0123456789").expect("written");
        let store = here(folder.path());
        let stat = store.stat("a").expect("there");
        assert_eq!((stat.length, store.range("a", &stat, 2..5).expect("inside")), (10, b"234".to_vec()));
        assert!(store.range("a", &stat, 8..12).is_err());
        fs::write(&path, "012345678").expect("written");
        assert!(matches!(store.range("a", &stat, 2..5), Err(StoreError::Changed { .. })));
    }

    #[test]
    fn threads_may_wait_side_by_side() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), "x").expect("written");
        let store = here(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(store.read("a", 1).expect("there"), b"x")));
            }
        });
    }
}
