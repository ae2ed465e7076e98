//! What `gpu-check` leaves in the folder of `--keep`: every result as soon as it is there, and what each process said.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use add_core::error::CoreError;

/// A folder of results, or none.
pub(super) struct Kept(Option<PathBuf>);

impl Kept {
    /// The results of this `device`, of an earlier call too.
    pub(super) fn open(folder: Option<&Path>, device: &str) -> Result<Self, CoreError> {
        let Some(folder) = folder else { return Ok(Self(None)) };
        fs::create_dir_all(folder).map_err(CoreError::io(folder))?;
        let path = folder.join("device.txt");
        match fs::read_to_string(&path) {
            Ok(before) if before != device => Err(CoreError::Request(format!(
                "--keep {}: expected a new folder, or results of {device}; it holds those of {before}",
                folder.display()
            ))),
            Ok(_) => Ok(Self(Some(folder.to_path_buf()))),
            Err(_) => {
                fs::write(&path, device).map_err(CoreError::io(&path))?;
                Ok(Self(Some(folder.to_path_buf())))
            }
        }
    }

    /// What is kept under `name`.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.as_ref()?.join(name)).ok()
    }

    /// Keeps `text` under `name`.
    pub(super) fn put(&self, name: &str, text: &str) -> Result<(), CoreError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let path = folder.join(name);
        add_files::replace(&path, |file| file.write_all(text.as_bytes())).map_err(CoreError::io(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_again_and_those_of_another_device_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |device: &str| Kept::open(Some(folder.path()), device);
        let kept = open("Cuda(0), a").expect("new");
        assert_eq!(kept.get("case-0.txt"), None);
        kept.put("case-0.txt", "measured 1 2 3").expect("written");
        assert_eq!(
            open("Cuda(0), a").expect("the same").get("case-0.txt").as_deref(),
            Some("measured 1 2 3")
        );
        let error = open("Cuda(0), b").err().expect("another device").to_string();
        assert!(error.contains("Cuda(0), a") && error.contains("--keep"), "{error}");
        assert!(Kept::open(None, "x").expect("none").get("case-0.txt").is_none());
    }
}
