//! Source files that no module names: nothing compiles them, so nobody notices that they are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Files that cargo takes by their place.
const ROOTS: [&str; 4] = ["lib", "main", "mod", "build"];
/// Folders whose files are programs of their own, or what `new` writes.
const PROGRAMS: [&str; 5] = ["examples", "benches", "bin", "tests", "skeletons"];

/// The files of `sources` that are no module and no program.
pub(crate) fn orphans(sources: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut named: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for path in sources {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // A module's files lie beside `lib.rs`, `main.rs` and `mod.rs`, and below the folder of every other file's name.
        let beside = path.with_extension("");
        let below =
            if ROOTS.iter().any(|root| beside.ends_with(root)) { beside.parent() } else { Some(&*beside) };
        let modules = text.lines().filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod "));
        let modules = modules.map(|(_, name)| name.to_owned());
        named.entry(below.unwrap_or(Path::new("")).to_path_buf()).or_default().extend(modules);
        // A program's modules lie beside it.
        if let Some(folder) = path.parent().filter(|folder| is_programs(folder)) {
            let modules: Vec<String> = named[&beside].iter().cloned().collect();
            named.entry(folder.to_path_buf()).or_default().extend(modules);
        }
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
        ];
        assert_eq!(orphans(&sources).unwrap(), [sources[3].clone(), sources[6].clone()]);
    }
}
