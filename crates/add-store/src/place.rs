//! Where files lie, as a recipe says it: a path, `file://`, `s3://bucket/prefix`, `http://` or `https://`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::StoreError;

/// A folder or a file, here or far away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    text: String,
    at: At,
}

/// Where a place is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// On this machine.
    Path(PathBuf),
    /// In a bucket, below a prefix.
    S3(Url),
    /// On a web server.
    Http(Url),
}

impl Place {
    /// What `text` names.
    ///
    /// # Errors
    /// When it is a URL of another kind, or one with a name, password, query or fragment: a recipe is copied into every
    /// run folder, so that credentials belong into the environment.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let refused = |problem: &str| {
            let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            let text = text.split_once('?').map_or(text, |(rest, _)| rest);
            StoreError::Place { text: text.to_owned(), problem: problem.to_owned() }
        };
        if text.is_empty() {
            return Err(refused("expected a path or a URL, found nothing"));
        }
        if !text.contains("://") {
            return Ok(Self { text: text.to_owned(), at: At::Path(PathBuf::from(text)) });
        }
        let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(refused(
                "expected a URL without name, password, `?` and `#`; credentials for s3:// come from the environment \
                 (AWS_ACCESS_KEY_ID and its like)",
            ));
        }
        let at = match url.scheme() {
            "file" => {
                let path = url.to_file_path();
                At::Path(path.map_err(|()| refused("expected a path of this machine after `file://`"))?)
            }
            "s3" if url.has_host() => At::S3(url),
            "http" | "https" if url.has_host() => At::Http(url),
            _ => return Err(refused("expected a path, file://, s3://bucket/…, http:// or https://")),
        };
        Ok(Self { text: text.to_owned(), at })
    }

    /// The folder of a file, and the file's name in it.
    ///
    /// # Errors
    /// When it has no name.
    pub fn split(&self) -> Result<(Self, String), StoreError> {
        let (folder, name) = match (self.text.rsplit_once('/'), &self.at) {
            (Some(("", name)), At::Path(_)) => ("/", name),
            (Some((folder, name)), _) => (folder, name),
            (None, _) => (".", &*self.text),
        };
        // `s3://bucket` has no file, and neither has `https://host`.
        if name.is_empty() || folder.ends_with('/') && self.is_remote() {
            let problem = "expected the name of a file at its end".to_owned();
            return Err(StoreError::Place { text: self.text.clone(), problem });
        }
        Ok((Self::parse(folder)?, name.to_owned()))
    }

    /// The place that a file in the folder `base` means: a relative path begins there.
    ///
    /// # Errors
    /// When nothing is there, but in the current folder, where such a path began before.
    pub fn beside(&self, base: &Path) -> Result<Self, StoreError> {
        let At::Path(path) = &self.at else { return Ok(self.clone()) };
        if path.is_absolute() || base.as_os_str().is_empty() {
            return Ok(self.clone());
        }
        // Without the `.` that a path may begin with.
        let beside: PathBuf = base.join(path).components().collect();
        if !beside.exists() && path.exists() {
            let problem = format!(
                "a path of data begins at the recipe's folder, and there is no {beside}; there is one in the current \
                 folder, which is not meant: write it as seen from the recipe, or as {absolute}",
                beside = beside.display(),
                absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone()).display()
            );
            return Err(StoreError::Place { text: self.text.clone(), problem });
        }
        Ok(Self { text: beside.display().to_string(), at: At::Path(beside) })
    }

    /// Whether it is on another machine.
    pub fn is_remote(&self) -> bool {
        !matches!(self.at, At::Path(_))
    }

    pub(crate) fn at(&self) -> &At {
        &self.at
    }
}

impl TryFrom<String> for Place {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, StoreError> {
        Self::parse(&text)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.text
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_told_apart_and_split() {
        for (text, folder, name) in [
            ("data/0.tar", "data", "0.tar"),
            ("0.tar", ".", "0.tar"),
            ("/0.tar", "/", "0.tar"),
            ("s3://bucket/a/0.tar", "s3://bucket/a", "0.tar"),
            ("s3://bucket/0.tar", "s3://bucket", "0.tar"),
            ("http://127.0.0.1:80/0.tar", "http://127.0.0.1:80", "0.tar"),
        ] {
            let place = Place::parse(text).expect(text);
            let (found, end) = place.split().expect(text);
            assert_eq!(
                (found.to_string(), &*end, place.is_remote()),
                (folder.to_owned(), name, text.contains(':'))
            );
        }
        let file = Place::parse("file:///a/b%20c").expect("a path");
        assert_eq!(file.at(), &At::Path("/a/b c".into()));
        for text in ["s3://bucket", "s3://bucket/", "https://host/"] {
            assert!(Place::parse(text).expect(text).split().is_err(), "{text}");
        }
    }

    #[test]
    fn a_relative_path_begins_beside_and_its_old_meaning_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let beside = |text: &str| Place::parse(text).expect(text).beside(folder.path());
        let joined = |text: &str| folder.path().join(text).display().to_string();
        assert_eq!(beside("a/b").expect("anywhere").to_string(), joined("a/b"));
        for text in ["/a/b", "s3://bucket/a", "https://host/a"] {
            assert_eq!(beside(text).expect(text).to_string(), text);
        }
        // The tests run in the crate's folder, which has a `src`.
        let error = beside("src").expect_err("the current folder's").to_string();
        assert!(error.contains("begins at the recipe's folder") && error.contains(&joined("src")), "{error}");
        std::fs::create_dir(folder.path().join("src")).expect("made");
        assert_eq!(beside("src").expect("there").to_string(), joined("src"));
    }

    #[test]
    fn other_kinds_and_credentials_are_refused_without_being_repeated() {
        for text in [
            "",
            "gs://bucket/x",
            "http://",
            "https://me:secret@host/x",
            "https://host/x?key=secret",
            "s3:///x",
        ] {
            let error = Place::parse(text).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
