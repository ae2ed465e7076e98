//! One fixture from its files to its rows.

use std::{
    any::Any,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use burn::tensor::Device;

use crate::{
    Fixture, Found, ParityError, ParityRow,
    families::{Comparison, comparison_of},
    fixture::EXPECTED,
    full,
};

/// The name of rows that are about the fixture as a whole.
const WHOLE: &str = "(fixture)";

/// Compares one fixture with what the plain `device` computes: a row for each tensor. Whatever is wrong with its files is a failed row; a family that
/// nothing compares is a skipped one.
pub fn run(found: &Found, device: &Device) -> Vec<ParityRow> {
    if found.family == full::FAMILY {
        let expected = found.folder.join(format!("{}{EXPECTED}", found.name));
        return guarded(|| Ok(full::run(&found.name, &expected, None, device)?.rows));
    }
    let Some(comparison) = comparison_of(&found.family) else {
        let reason = format!("nothing here compares the family `{}`", found.family);
        return vec![ParityRow::skipped(WHOLE, reason)];
    };
    guarded(|| compare(found, comparison, device))
}

/// Numbers that do not fit together make tensor operations panic; the other fixtures go on.
fn guarded(compare: impl FnOnce() -> Result<Vec<ParityRow>, ParityError>) -> Vec<ParityRow> {
    match catch_unwind(AssertUnwindSafe(compare)) {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => vec![ParityRow::failed(WHOLE, error)],
        Err(panic) => {
            vec![ParityRow::failed(WHOLE, format!("the comparison broke off: {}", message(&*panic)))]
        }
    }
}

fn compare(found: &Found, comparison: Comparison, device: &Device) -> Result<Vec<ParityRow>, ParityError> {
    let fixture = Fixture::open(found, device)?;
    let mut rows = comparison(&fixture).unwrap_or_else(|error| vec![ParityRow::failed(WHOLE, error)]);
    if rows.is_empty() {
        rows.push(ParityRow::failed(WHOLE, "it expects nothing, so nothing was compared"));
    }
    let failed: BTreeSet<String> =
        rows.iter().filter(|row| row.failure()).map(|row| row.tensor.clone()).collect();
    rows.extend(fixture.differences_from_table().into_iter().filter(|row| !failed.contains(&row.tensor)));
    Ok(rows)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const NAME: &str = "vit_l_14_quickgelu";

    /// The rows of a sound fixture after something happened to its files.
    fn rows_after(damage: impl Fn(&Path)) -> Vec<ParityRow> {
        let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openclip");
        let folder = tempfile::tempdir().expect("a folder");
        for entry in fs::read_dir(sound).expect("fixtures") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
        }
        damage(folder.path());
        run(
            &Found {
                family: "openclip".to_owned(),
                name: NAME.to_owned(),
                label: NAME.to_owned(),
                folder: folder.path().to_path_buf(),
            },
            &Device::flex(),
        )
    }

    fn edit(folder: &Path, ending: &str, change: impl Fn(&mut Vec<u8>)) {
        let path = folder.join(format!("{NAME}.{ending}"));
        let mut bytes = fs::read(&path).expect("there");
        change(&mut bytes);
        fs::write(path, bytes).expect("written");
    }

    fn replace(bytes: &mut [u8], from: &str, to: &str) {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("there");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }

    /// `tensor: problem` of each failed row.
    fn failures(rows: &[ParityRow]) -> Vec<String> {
        let failed = rows.iter().filter(|row| row.failure());
        failed.map(|row| format!("{}: {:?}", row.tensor, row.outcome)).collect()
    }

    #[test]
    fn a_missing_or_torn_file_is_a_failed_row_that_names_it() {
        for ending in ["io.safetensors", "json", "config.json", "weights.safetensors"] {
            let file = format!("{NAME}.{ending}");
            let missing = rows_after(|folder| fs::remove_file(folder.join(&file)).expect("removed"));
            let [failure] = &failures(&missing)[..] else { panic!("{file}: {missing:?}") };
            assert!(failure.contains(&format!("{file} is missing")), "{failure}");
            let torn = rows_after(|folder| edit(folder, ending, |bytes| bytes.truncate(bytes.len() / 2)));
            let [failure] = &failures(&torn)[..] else { panic!("{file}: {torn:?}") };
            assert!(failure.contains(&file), "{failure}");
        }
    }

    #[test]
    fn a_missing_tensor_fails_and_the_others_are_compared() {
        let rows = rows_after(|folder| {
            edit(folder, "io.safetensors", |bytes| replace(bytes, "out.text_features", "out.text_featureX"));
        });
        let failures = failures(&rows);
        assert_eq!(failures.len(), 2, "{failures:?}");
        assert!(failures[0].starts_with("out.text_features: "), "{failures:?}");
        assert!(failures[1].contains("nothing here computes it"), "{failures:?}");
        assert_eq!(rows.iter().filter(|row| row.passed()).count(), 2);
        let listed = rows_after(|folder| {
            edit(folder, "json", |bytes| {
                // With its type, since another table of the file has the name first.
                replace(bytes, "\"out.text_features\":[\"", "\"out.text_featureX\":[\"");
            });
        });
        let [failure] = &self::failures(&listed)[..] else { panic!("{listed:?}") };
        assert!(failure.contains("missing from the file of tensors"), "{failure}");
    }

    #[test]
    fn another_number_in_any_file_is_noticed() {
        for ending in ["io.safetensors", "weights.safetensors"] {
            let rows = rows_after(|folder| {
                edit(folder, ending, |bytes| {
                    let end = bytes.len() - 4;
                    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
                });
            });
            assert!(!failures(&rows).is_empty(), "{ending}: {rows:?}");
        }
    }

    #[test]
    fn a_configuration_of_another_network_is_a_failed_row() {
        let rows = rows_after(|folder| {
            edit(folder, "config.json", |bytes| replace(bytes, "\"layers\": 3", "\"layers\": 4"));
        });
        let [failure] = &failures(&rows)[..] else { panic!("{rows:?}") };
        assert!(failure.contains("missing"), "{failure}");
    }

    #[test]
    fn numbers_that_no_network_can_take_fail_and_do_not_stop_the_program() {
        // The ids come first in the file.
        let rows = rows_after(|folder| {
            edit(folder, "io.safetensors", |bytes| {
                let header = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
                bytes[8 + header..16 + header].copy_from_slice(&1_000_000_i64.to_le_bytes());
            });
        });
        let [failure] = &failures(&rows)[..] else { panic!("{rows:?}") };
        assert!(failure.contains("broke off"), "{failure}");
    }

    #[test]
    fn a_family_that_nothing_compares_is_skipped() {
        let found = Found {
            family: "tables".to_owned(),
            name: "x".to_owned(),
            label: "tables/x".to_owned(),
            folder: "nowhere".into(),
        };
        let [row] = &run(&found, &Device::flex())[..] else { panic!("one row") };
        assert!(row.was_skipped());
    }
}
