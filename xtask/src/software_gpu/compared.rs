//! What two devices left, side by side.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

/// Every loss of every step must be within `most` of the other run's, of the loss. The largest difference is told.
pub(super) fn losses(run: &Path, other: &Path, steps: usize, most: f64) -> Result<String, String> {
    let (ours, theirs) = (metrics(run)?, metrics(other)?);
    if ours.len() != steps || theirs.len() != steps {
        return Err(format!("expected {steps} lines of metrics, got {} and {}", ours.len(), theirs.len()));
    }
    let mut pairs = Vec::new();
    for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let losses: Vec<_> = theirs.iter().filter(|(name, _)| name.starts_with("loss_")).collect();
        if losses.len() < 3 {
            return Err(format!("step {}: expected the losses of both sides, got {theirs:?}", step + 1));
        }
        for (name, expected) in losses {
            let got = ours.get(name).copied().unwrap_or(f64::NAN);
            pairs.push((format!("{name} of step {}", step + 1), [got, *expected]));
        }
    }
    Ok(format!("{steps} steps, losses {}", largest_difference(&pairs, most)?))
}

/// The largest difference of two numbers that have one name, of the second: more than `most` is an error.
fn largest_difference(pairs: &[(String, [f64; 2])], most: f64) -> Result<String, String> {
    let mut worst = (0.0, String::new());
    for (name, [got, expected]) in pairs {
        // What is near zero is a difference of larger numbers.
        let off = (got - expected).abs() / expected.abs().max(0.1);
        let place = format!("{name}: {got} for {expected}");
        if off.is_nan() || off > most {
            return Err(format!("{place}, more than {most} apart"));
        }
        if off >= worst.0 {
            worst = (off, place);
        }
    }
    Ok(format!("at most {:.1e} apart from the processor's ({})", worst.0, worst.1))
}

/// The numbers of each step.
fn metrics(run: &Path) -> Result<Vec<BTreeMap<String, f64>>, String> {
    let path = run.join("metrics.jsonl");
    let text = crate::workspace::read(&path)?;
    let line = |line: &str| -> Result<BTreeMap<String, f64>, String> {
        let values: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(values.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect())
    };
    text.lines().map(line).collect()
}

/// Every file of the checkpoint of step `steps`, and the metrics up to there, must be equal to the bit.
pub(super) fn same_checkpoint(run: &Path, other: &Path, steps: usize) -> Result<String, String> {
    let inside = |folder: &Path| -> Result<Vec<(String, Vec<u8>)>, String> {
        let checkpoint = folder.join(format!("checkpoints/step-{steps:07}"));
        let entries =
            fs::read_dir(&checkpoint).map_err(|error| format!("{}: {error}", checkpoint.display()))?;
        let metrics = folder.join("metrics.jsonl");
        let paths = entries.flatten().map(|entry| entry.path()).chain([metrics.clone()]);
        let read = |path: PathBuf| {
            let mut bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if path == metrics {
                bytes = bytes.split_inclusive(|byte| *byte == b'\n').take(steps).flatten().copied().collect();
            }
            Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes))
        };
        let mut files = paths.map(read).collect::<Result<Vec<_>, String>>()?;
        files.sort();
        Ok(files)
    };
    let (ours, theirs) = (inside(run)?, inside(other)?);
    let differ: Vec<&str> = ours
        .iter()
        .zip(&theirs)
        .filter(|(ours, theirs)| ours != theirs)
        .map(|(ours, _)| ours.0.as_str())
        .collect();
    if differ.is_empty() && ours.len() == theirs.len() {
        return Ok(format!("{} files are those of the run in one piece, to the bit", ours.len()));
    }
    Err(format!("after {steps} steps in two processes these differ from those in one: {}", differ.join(", ")))
}

/// Two files of safetensors must hold the same values in the same order; what stands in their headers may differ.
pub(super) fn same_values(ours: &Path, theirs: &Path) -> Result<(), String> {
    let values = |path: &Path| -> Result<Vec<u8>, String> {
        let broken = |problem: &str| format!("{}: {problem}", path.display());
        let bytes = fs::read(path).map_err(|error| broken(&error.to_string()))?;
        let (length, rest) = bytes.split_first_chunk().ok_or_else(|| broken("no header"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let values = rest.get(length..).filter(|values| values.iter().any(|byte| *byte != 0));
        values.map(<[u8]>::to_vec).ok_or_else(|| broken("no values, or zeros alone"))
    };
    if values(ours)? == values(theirs)? {
        return Ok(());
    }
    Err(format!("the values of {} and {} differ", ours.display(), theirs.display()))
}

/// No colour of two pictures may differ by more than `most`.
pub(super) fn pictures(ours: &Path, theirs: &Path, most: u8) -> Result<String, String> {
    let ((size, ours), (other, theirs)) = (pixels(ours)?, pixels(theirs)?);
    if size != other || ours.iter().all(|value| *value == ours[0]) {
        return Err(format!(
            "expected two pictures of one size, got {size:?} and {other:?}, or one is empty"
        ));
    }
    let worst = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.abs_diff(*theirs)).max().unwrap_or(0);
    let told = format!("the largest difference of a colour from the processor's is {worst} of 255");
    if worst <= most { Ok(told) } else { Err(told) }
}

/// Every figure of two evaluations must be within `most` of the other's, of the figure.
pub(super) fn figures(ours: &Path, theirs: &Path, most: f64) -> Result<String, String> {
    let read = |path: &Path| -> Result<Vec<(String, f64)>, String> {
        let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| broken(&error))?;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|error| broken(&error))?;
        let figure = |row: &serde_json::Value| {
            let name = [&row["split"], &row["metric"]].map(|part| part.as_str().unwrap_or("?")).join(", ");
            row["value"].as_f64().map(|value| (name, value)).ok_or_else(|| broken(&"a row has no value"))
        };
        rows.iter().map(figure).collect()
    };
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    let names = |figures: &[(String, f64)]| figures.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if ours.is_empty() || names(&ours) != names(&theirs) {
        return Err(format!("expected the same figures, got {ours:?} and {theirs:?}"));
    }
    let pairs = ours.into_iter().zip(theirs).map(|((name, got), (_, expected))| (name, [got, expected]));
    let pairs: Vec<_> = pairs.collect();
    Ok(format!("{} figures, {}", pairs.len(), largest_difference(&pairs, most)?))
}

fn pixels(path: &Path) -> Result<((u32, u32), Vec<u8>), String> {
    let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| broken(&error))?;
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().map_err(|error| broken(&error))?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(|| broken(&"too large"))?];
    let info = reader.next_frame(&mut bytes).map_err(|error| broken(&error))?;
    bytes.truncate(info.buffer_size());
    Ok(((info.width, info.height), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("metrics.jsonl"), lines.join("\n")).expect("written");
        folder
    }

    #[test]
    fn a_loss_that_is_far_from_the_other_or_missing_fails() {
        let line = |loss: &str| format!(r#"{{"step":1,"loss_d":{loss},"loss_adv":2.0,"loss_distill":3.0}}"#);
        let expected = run(&[&line("1.0")]);
        let compare = |lines: &[&str]| losses(run(lines).path(), expected.path(), 1, 1e-2);
        assert!(compare(&[&line("1.005")]).expect("near").contains("loss_d of step 1"));
        for wrong in [line("1.02"), line("null"), r#"{"step":1,"loss_d":1.0}"#.to_owned()] {
            assert!(compare(&[&wrong]).is_err(), "{wrong}");
        }
        assert!(compare(&[]).expect_err("no step").contains("got 0 and 1"));
    }

    #[test]
    fn another_bit_in_a_checkpoint_is_named() {
        let folders = [run(&["{}"]), run(&["{}"])];
        for (folder, bytes) in folders.iter().zip([b"same", b"sane"]) {
            let checkpoint = folder.path().join("checkpoints/step-0000020");
            fs::create_dir_all(&checkpoint).expect("a folder");
            fs::write(checkpoint.join("student.safetensors"), bytes).expect("written");
        }
        let [a, b] = folders.each_ref().map(tempfile::TempDir::path);
        assert!(same_checkpoint(a, a, 20).is_ok());
        assert!(same_checkpoint(a, b, 20).expect_err("differs").contains("student.safetensors"));
    }

    #[test]
    fn other_values_below_another_header_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, header: &[u8], values: &[u8]| {
            let path = folder.path().join(name);
            let length = (header.len() as u64).to_le_bytes();
            fs::write(&path, [&length[..], header, values].concat()).expect("written");
            path
        };
        let one = file("one", b"{}", &[1, 2]);
        assert_eq!(same_values(&one, &file("same", b"{\"a\":1}", &[1, 2])), Ok(()));
        assert!(same_values(&one, &file("other", b"{}", &[1, 3])).is_err());
        let zeros = file("zeros", b"{}", &[0, 0]);
        assert!(same_values(&zeros, &zeros).expect_err("nothing was trained").contains("zeros alone"));
    }

    #[test]
    fn a_figure_that_is_off_or_missing_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let evaluation = |name: &str, values: &[f64]| {
            let row = |(i, value): (usize, &f64)| serde_json::json!({ "split": "train", "metric": format!("metric {i}"), "value": value });
            let rows: Vec<_> = values.iter().enumerate().map(row).collect();
            let path = folder.path().join(name);
            fs::write(&path, serde_json::Value::Array(rows).to_string()).expect("written");
            path
        };
        let one = evaluation("one", &[10.0, 0.0]);
        let told = figures(&evaluation("near", &[10.05, 0.0005]), &one, 1e-2).expect("near");
        assert!(told.starts_with("2 figures") && told.contains("metric 0"), "{told}");
        let far = figures(&evaluation("far", &[10.2, 0.0]), &one, 1e-2).expect_err("far");
        assert!(far.starts_with("train, metric 0: 10.2"), "{far}");
        assert!(figures(&evaluation("fewer", &[10.0]), &one, 1e-2).is_err());
        let none = evaluation("none", &[]);
        assert!(figures(&none, &none, 1e-2).is_err());
    }

    #[test]
    fn a_colour_that_is_off_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let picture = |name: &str, bytes: [u8; 6]| {
            let path = folder.path().join(name);
            let mut encoder = png::Encoder::new(File::create(&path).expect("a file"), 2, 1);
            encoder.set_color(png::ColorType::Rgb);
            encoder.write_header().expect("a header").write_image_data(&bytes).expect("pixels");
            path
        };
        let one = picture("one.png", [0, 50, 100, 150, 200, 250]);
        let near = picture("near.png", [2, 50, 100, 150, 200, 249]);
        let far = picture("far.png", [0, 50, 100, 150, 203, 250]);
        assert!(pictures(&one, &near, 2).expect("near").contains("is 2 of 255"));
        assert!(pictures(&one, &far, 2).expect_err("far").contains("is 3 of 255"));
    }
}
