//! Files and folders that are whole or not there.
//!
//! What is new is written beside its place, flushed to the disk and renamed over what was there; then the folder is
//! flushed, because a rename is on the disk only when its folder is. Wherever the program or the machine stops, the
//! place holds either the old content or the whole of the new one.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IntoInnerError},
    path::{Path, PathBuf},
};

/// Writes the file at `path` by way of `path` with `.tmp` behind it. When it fails, the old file is untouched and nothing
/// is left beside it. Two processes must not write the same file at once.
///
/// # Errors
/// When `write` fails or the disk refuses.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    by_way_of(&PathBuf::from(unfinished), path, |unfinished| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(unfinished)?);
        write(&mut file)?;
        file.into_inner().map_err(IntoInnerError::into_error)?.sync_all()
    })?;
    sync(folder_of(path))
}

/// Whether files can be made in `folder`, or in the nearest folder above it where there is none yet; nothing is left there.
///
/// # Errors
/// When the disk refuses, or what is there is no folder.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let here = |folder: &Path| folder.as_os_str().is_empty() || folder.exists();
    let nearest = folder.ancestors().find(|folder| here(folder)).unwrap_or(folder);
    let nearest = if nearest.as_os_str().is_empty() { Path::new(".") } else { nearest };
    let trial = nearest.join(format!(".writable-{}.tmp", std::process::id()));
    let refused = |error: io::Error| {
        let said = format!("nothing can be written into {}: {error}", nearest.display());
        io::Error::new(error.kind(), said)
    };
    File::create_new(&trial).map_err(refused)?;
    fs::remove_file(&trial)
}

/// Renames a finished file or folder, whose content is on the disk, for good.
///
/// # Errors
/// When the disk refuses, or `to` is a folder that is not empty.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(folder_of(to))
}

/// Flushes a file or a folder's list of names to the disk.
///
/// # Errors
/// When there is none, or the disk refuses.
pub fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes `unfinished` and renames it to `path`; nothing is left of it when that fails.
pub(crate) fn by_way_of(
    unfinished: &Path,
    path: &Path,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    write(unfinished).and_then(|()| fs::rename(unfinished, path)).inspect_err(|_| {
        // Half a file is of no use, and when the disk is full its room is. The reason of the failure matters more than
        // whether its traces could be removed.
        let _ = fs::remove_file(unfinished);
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        replace(&path, |file| file.write_all(b"old")).expect("written");
        let error = replace(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(error.expect_err("failed").to_string(), "no more");
        assert_eq!(fs::read(&path).expect("there"), b"old");
        replace(&path, |file| file.write_all(b"new")).expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"new");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_folder_is_tried_before_it_is_needed() {
        let folder = tempfile::tempdir().expect("a folder");
        check_writable(&folder.path().join("not/yet/there")).expect("it can be made");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        check_writable(&file.join("below")).expect_err("below a file");
        check_writable(Path::new("/proc/no/such")).expect_err("no files can be made there");
        check_writable(Path::new("")).expect("here");
    }

    #[test]
    fn a_folder_is_renamed_but_over_no_other_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::create_dir(&from).expect("made");
        fs::create_dir(&to).expect("made");
        fs::write(to.join("a"), "").expect("written");
        rename(&from, &to).expect_err("something is there");
        fs::remove_file(to.join("a")).expect("removed");
        rename(&from, &to).expect("an empty folder gives way");
        assert!(!from.exists() && to.is_dir());
    }
}
