//! Source files that no module names: nothing compiles them, so nobody notices that they are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::workspace::read;

/// Files that cargo takes by their place.
const ROOTS: [&str; 4] = ["lib", "main", "mod", "build"];
/// Folders whose files are programs of their own, or what `new` writes.
const PROGRAMS: [&str; 5] = ["examples", "benches", "bin", "tests", "skeletons"];

/// The files of `sources` that are no module and no program.
pub(crate) fn orphans(sources: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut named: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for path in sources {
        let text = read(path)?;
        let modules = text.lines().filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod "));
        let modules = modules.map(|(_, name)| name.to_owned());
        // The files of its modules lie beside a root and a program, and in the folder of every other file's name.
        let own = path.with_extension("");
        let beside = ROOTS.iter().any(|root| own.ends_with(root)) || path.parent().is_some_and(is_programs);
        let folder = if beside { own.parent() } else { Some(&*own) };
        named.entry(folder.unwrap_or(Path::new("")).to_path_buf()).or_default().extend(modules);
    }
    let orphan = |path: &&PathBuf| {
        let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str()))
        else {
            return false;
        };
        let modules = |name: &str, folder: &Path| named.get(folder).is_some_and(|names| names.contains(name));
        let name = if stem == "mod" { folder.file_name().and_then(|name| name.to_str()) } else { Some(stem) };
        let folder = if stem == "mod" { folder.parent().unwrap_or(folder) } else { folder };
        let takes = ["lib", "main", "build"].contains(&stem) || is_programs(folder);
        !takes && name.is_some_and(|name| !modules(name, folder))
    };
    Ok(sources.iter().filter(orphan).cloned().collect())
}

/// Whether the files of `folder` are programs.
fn is_programs(folder: &Path) -> bool {
    PROGRAMS.iter().any(|programs| folder.ends_with(programs))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_no_module_names_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let sources = [
            write("src/lib.rs", "mod a;\npub(crate) mod b;\n"),
            write("src/a.rs", "mod c;\n"),
            write("src/a/c.rs", ""),
            write("src/a/lost.rs", ""),
            write("src/b/mod.rs", "mod d;\n"),
            write("src/b/d.rs", ""),
            write("src/c.rs", ""),
            write("examples/e.rs", "mod f;\n"),
            write("examples/f/mod.rs", ""),
            write("src/bin/main.rs", "mod g;\n"),
            write("src/bin/g.rs", ""),
        ];
        assert_eq!(orphans(&sources).unwrap(), [sources[3].clone(), sources[6].clone()]);
    }
}
