//! Every file below a folder of this machine.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

use add_files::is_hidden;

use crate::listing::{HIDDEN, Listing};

/// Lists the files below `root`, by their paths from there, up to `most`.
///
/// Links to folders are followed, each real folder once: so loops end, and of two names for a folder the one without a
/// link counts, else the first in the order of the alphabet. A link that leads nowhere is listed as a file, whose reading
/// then fails.
///
/// # Errors
/// Where a folder cannot be read, with its path.
pub(crate) fn walk(root: &Path, most: usize) -> Result<Listing, (PathBuf, io::Error)> {
    let mut found = Listing::default();
    let mut seen = BTreeSet::new();
    // Folders of their own go first, so that a link to one of them finds it listed.
    let (mut folders, mut links) = (VecDeque::from([PathBuf::new()]), BTreeSet::new());
    loop {
        let (below, is_link) = match folders.pop_front() {
            Some(folder) => (folder, false),
            None => match links.pop_first() {
                Some(link) => (link, true),
                None => break,
            },
        };
        let folder = root.join(&below);
        let failed = |error| (folder.clone(), error);
        if !seen.insert(folder.canonicalize().map_err(failed)?) {
            if is_link {
                found.passed_over.add("linked to a folder that is listed already", &below.to_string_lossy());
            }
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = below.join(entry.file_name());
            let Some(name) = path.to_str() else {
                found.passed_over.add("with a name outside of UTF-8", &path.to_string_lossy());
                continue;
            };
            if is_hidden(&entry.file_name().to_string_lossy()) {
                found.passed_over.add(HIDDEN, name);
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            let leads_to_folder = kind.is_symlink() && entry.path().is_dir();
            if leads_to_folder {
                links.insert(path);
            } else if kind.is_dir() {
                folders.push_back(path);
            } else if found.names.len() < most {
                found.names.push(name.to_owned());
            } else {
                let error = io::Error::other(format!("expected at most {most} files, found more"));
                return Err((root.to_path_buf(), error));
            }
        }
    }
    Ok(found)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt as _, fs::symlink},
    };

    use super::*;

    #[test]
    fn links_are_followed_once_and_loops_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("far.png"), "").expect("written");
        fs::create_dir(at("own")).expect("made");
        fs::write(at("own/a.png"), "").expect("written");
        for (to, link) in [
            (Path::new("own"), "aaa"),
            (Path::new(".."), "own/loop"),
            (Path::new("no/such/file"), "lost.png"),
            (outside.path(), "other"),
            (outside.path(), "others"),
        ] {
            symlink(to, at(link)).expect("linked");
        }
        let found = walk(folder.path(), 9).expect("a folder");
        let mut names = found.names;
        names.sort();
        assert_eq!(names, ["lost.png", "other/far.png", "own/a.png"]);
        let said = found.passed_over.to_string();
        assert_eq!(said, "3 linked to a folder that is listed already (such as aaa)");
    }

    #[test]
    fn hidden_files_and_odd_names_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at(".ipynb_checkpoints")).expect("made");
        for name in ["._a.png", ".ipynb_checkpoints/a.png", "tab\tand\nline.png", "a.png"] {
            fs::write(at(name), "").expect("written");
        }
        fs::write(folder.path().join(OsStr::from_bytes(b"\xFF.png")), "").expect("written");
        let found = walk(folder.path(), 9).expect("a folder");
        let mut names = found.names;
        names.sort();
        assert_eq!(names, ["a.png", "tab\tand\nline.png"]);
        let said = found.passed_over.to_string();
        assert!(
            said.starts_with("2 hidden (such as ") && said.contains("1 with a name outside of UTF-8"),
            "{said}"
        );
        assert!(walk(folder.path(), 1).is_err());
    }
}
