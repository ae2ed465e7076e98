//! What a user reads, pinned.

use std::{
    fs,
    path::{Path, PathBuf},
};

use add_core::{error::CoreError, read};
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::root;

/// Every shipped recipe.
fn recipes() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("configs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "ron") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root().join("configs"))
        .unwrap()
        .with_extension("")
        .display()
        .to_string()
        .replace('/', "__")
}

/// The recipe that another one changes.
fn base(path: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(path).unwrap();
    let base = text.lines().find_map(|line| line.trim().strip_prefix("base: \"")?.strip_suffix("\","))?;
    Some(path.parent().unwrap().join(base))
}

/// A recipe with all defaults; of one that changes another, the lines in which they differ.
fn shown(path: &Path) -> String {
    let whole = |path: &Path| read::show(&read::read(path, &[]).unwrap().recipe);
    let Some(base) = base(path) else { return whole(path) };
    let (before, after) = (whole(&base), whole(path));
    similar::TextDiff::from_lines(&before, &after).unified_diff().context_radius(0).to_string()
}

#[test]
fn every_shipped_recipe_resolves_to_its_snapshot() {
    for path in recipes() {
        insta::assert_snapshot!(name(&path), shown(&path));
    }
}

#[test]
fn every_row_of_the_papers_tables_is_one_recipe_that_its_list_names() {
    let folder = root().join("configs/paper");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    for path in recipes().into_iter().filter(|path| path.starts_with(&folder)) {
        let file = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(list.matches(&format!("({file})")).count(), 1, "{file}");
        assert!(base(&path).is_some(), "{file}: a row is another recipe with a field changed");
    }
    for link in list.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
        assert!(link.starts_with("https://") || folder.join(link).is_file(), "{link}");
    }
}

#[test]
fn a_shown_recipe_reads_back_as_itself() {
    for path in recipes() {
        let shown = read::show(&read::read(&path, &[]).unwrap().recipe);
        let again = read::parse(&shown, "shown").unwrap();
        assert_eq!(read::show(&again), shown, "{}", path.display());
    }
}

#[test]
fn the_plugin_table_is_known() {
    let rows = add_plugin::listings();
    // Not the one that this suite adds itself.
    let shipped = rows.iter().filter(|row| row.source != crate::dit::SOURCE);
    let table: Vec<String> =
        shipped.map(|r| format!("{:<16} {:<18} {}", r.family, r.name, r.source)).collect();
    insta::assert_snapshot!("plugins", table.join("\n"));
}

#[test]
fn no_two_plugins_share_a_name() {
    assert!(add_plugin::duplicates().is_empty());
}

/// The main recipe with `from` replaced by `to`, and the report of what is then wrong.
fn report(from: &str, to: &str) -> String {
    let text = fs::read_to_string(root().join("configs/emoji.ron")).unwrap();
    assert!(text.contains(from), "the recipe no longer says {from:?}");
    let error = read::parse(&text.replacen(from, to, 1), "emoji.ron").unwrap_err();
    assert!(error.is_usage());
    rendered(&error)
}

fn rendered(error: &CoreError) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110);
    handler.render_report(&mut out, error).unwrap();
    out
}

#[test]
fn mistakes_are_answered_with_their_place_and_a_way_out() {
    insta::assert_snapshot!("misspelt_plugin", report("Exponential()", "Exponentail()"));
    insta::assert_snapshot!("unknown_field_of_a_plugin", report("Exponential()", "Exponential(powr: 1.0)"));
    insta::assert_snapshot!("unknown_field", report("batch: 16", "bacth: 16"));
    insta::assert_snapshot!("wrong_type", report("batch: 16", "batch: \"sixteen\""));
    insta::assert_snapshot!(
        "several_values_out_of_range",
        report("guidance: Fixed(3.0), steps: 1", "guidance: Fixed(-3.0), steps: 0")
    );
    insta::assert_snapshot!(
        "zero_terminal_snr_with_noise_prediction",
        report("Mini(prediction: V)", "Mini(prediction: Epsilon)")
    );
    insta::assert_snapshot!("missing_bracket", report("codec: Identity()", "codec: Identity("));
}
