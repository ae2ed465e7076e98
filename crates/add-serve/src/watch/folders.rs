//! The runs folder and what lies in it. Nothing outside of it is ever read, whatever a name or a link says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use axum::http::StatusCode;

use crate::ApiError;

/// Runs that are listed at most.
const MOST: usize = 1000;

/// The folder of all runs.
#[derive(Debug)]
pub(crate) struct Runs {
    root: PathBuf,
}

/// A run's own folder, found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunPath {
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

impl Runs {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Every folder that holds a recipe or metrics.
    pub(super) fn all(&self) -> Vec<RunPath> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let runs = names.filter_map(|name| self.run(&name).ok());
        runs.filter(|run| {
            ["metrics.jsonl", "recipe.ron"].iter().any(|file| self.inside(&run.folder.join(file)).is_some())
        })
        .take(MOST)
        .collect()
    }

    /// The run of this name.
    ///
    /// # Errors
    /// When there is none, or the name leads out of the folder.
    pub(super) fn run(&self, name: &str) -> Result<RunPath, ApiError> {
        let one_name = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0', ':']);
        let folder = one_name.then(|| self.inside(&self.root.join(name))).flatten();
        folder
            .filter(|folder| folder.is_dir())
            .map(|folder| RunPath { name: name.to_owned(), folder })
            .ok_or_else(|| {
                let shown: String = name.chars().take(80).collect();
                ApiError::new(StatusCode::NOT_FOUND, format!("there is no run {shown:?}"))
            })
    }

    /// A file of a run, if it is there.
    pub(super) fn file(&self, run: &RunPath, name: &str) -> Option<PathBuf> {
        self.inside(&run.folder.join(name)).filter(|path| path.is_file())
    }

    /// All bytes of a run's file, if it is there and not larger than `most`.
    pub(super) fn read(&self, run: &RunPath, name: &str, most: u64) -> Option<Vec<u8>> {
        add_files::read(&self.file(run, name)?, most).ok()
    }

    /// Where `path` really is, if that lies in this folder.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let (root, path) = (self.root.canonicalize().ok()?, path.canonicalize().ok()?);
        path.starts_with(&root).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_folder_is_a_run_or_a_file() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("runs");
        fs::create_dir_all(root.join("a/samples")).unwrap();
        fs::create_dir(outer.path().join("secret")).unwrap();
        fs::write(outer.path().join("secret/metrics.jsonl"), "{\"step\":1}").unwrap();
        fs::write(root.join("a/metrics.jsonl"), "").unwrap();
        let runs = Runs::new(root.clone());
        let names = |runs: &Runs| runs.all().into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(names(&runs), ["a"]);
        for name in
            ["", ".", "..", "../secret", "a/../../secret", "..\\secret", "/etc", "a\0", "C:", "b", ".hidden"]
        {
            assert_eq!(runs.run(name).unwrap_err().status, StatusCode::NOT_FOUND, "{name:?}");
        }
        let a = runs.run("a").unwrap();
        assert!(runs.file(&a, "metrics.jsonl").is_some());
        assert_eq!(runs.file(&a, "../../secret/metrics.jsonl"), None);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(outer.path().join("secret"), root.join("link")).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", root.join("a/recipe.ron")).unwrap();
            assert!(runs.run("link").is_err());
            assert_eq!((runs.file(&a, "recipe.ron"), names(&runs)), (None, vec!["a".to_owned()]));
        }
    }
}
