//! Family `train`: whole training runs, the production `AddTrainer::step` in f64 (or f32, on a device without it) against the same run in PyTorch.
//!
//! Row `i` of every `in.*` is what step `i` was given; `loss.*`, `norms.*` and `after.*` have a row for each step,
//! `step0.*` looks into the first step, `final.*` are values after the last. `<name>.config.json` holds networks and
//! hyper-parameters, `param_order` of `<name>.json` the parameters' names in the order of `norms.*`. `f32.*` and
//! `f32emb.*` are the losses of the same run in other precisions.

mod compare;
mod networks;
mod recording;
mod run;

#[cfg(test)]
mod pure_noise;
#[cfg(test)]
mod shared_fakes;

use recording::Recording;

use burn::tensor::DType;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, NO_F64},
};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    in_parts(fixture, 1)
}

/// The comparison with a batch in `parts`, each of which is given the fixture's whole batch: all losses are means over
/// the batch, so the run stays the same.
fn in_parts(fixture: &Fixture, parts: usize) -> Result<Vec<ParityRow>, ParityError> {
    let recording = Recording::read(fixture)?;
    let mut rows = Comparison::new(fixture);
    compare::compare(&recording, &mut rows, parts)?;
    Ok(rows.finish(|key| left_out(key).or_else(|| after_the_first(fixture, key))))
}

/// Why a tensor is not compared.
fn left_out(key: &str) -> Option<String> {
    if key.starts_with("f32.") {
        return Some("the same run in single precision".into());
    }
    if key.starts_with("f32emb.") {
        return Some("the same run with the timestep's embedding in single precision".into());
    }
    let of_heads = ["step0.d.after.", "final.heads.", "after.heads."];
    let name = of_heads.iter().find_map(|prefix| key.strip_prefix(prefix))?;
    (!compare::is_trained("heads", name))
        .then(|| "its gradient is rounding, which AdamW divides by itself".into())
}

/// What steps leave is not compared in f32: `AdamW` divides a gradient by itself, so that rounding decides its sign.
fn after_the_first(fixture: &Fixture, key: &str) -> Option<String> {
    let left = ["norms.", "final.", "after.", "step0.d.after."].iter().any(|prefix| key.starts_with(prefix));
    (left && fixture.wide() != DType::F64).then(|| NO_F64.into())
}

/// A fixture of this crate.
#[cfg(test)]
fn shipped(name: &str) -> Fixture {
    opened(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train"), name)
}

#[cfg(test)]
fn opened(folder: &std::path::Path, name: &str) -> Fixture {
    let found = crate::Found {
        family: "train".to_owned(),
        name: name.to_owned(),
        label: name.to_owned(),
        folder: folder.to_path_buf(),
    };
    Fixture::open(&found, &burn::tensor::Device::flex()).expect("a fixture")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::Value;

    use super::*;

    const NAME: &str = "add_exp";

    /// A copy of the fixture, one of whose files is changed.
    fn changed(ending: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
        let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train");
        let folder = tempfile::tempdir().expect("a folder");
        for other in ["config.json", "json", "weights.safetensors", "io.safetensors"] {
            let file = format!("{NAME}.{other}");
            let bytes = fs::read(sound.join(&file)).expect("there");
            let bytes = if other == ending { change(bytes) } else { bytes };
            fs::write(folder.path().join(file), bytes).expect("written");
        }
        folder
    }

    /// Adds to the last value of every tensor of f64 that is expected of us.
    fn off_at_the_end(mut bytes: Vec<u8>) -> Vec<u8> {
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        for (key, entry) in header.as_object().expect("tensors") {
            if entry["dtype"] == "F64" && !key.starts_with("in.") {
                let end = 8 + length + entry["data_offsets"][1].as_u64().expect("an offset") as usize;
                let value = bytes[..end].last_chunk().expect("eight bytes");
                let value = f64::from_le_bytes(*value) + 1e-3;
                bytes[end - 8..end].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn another_number_in_any_expected_tensor_is_a_failed_row() {
        let folder = changed("io.safetensors", off_at_the_end);
        let rows = run(&opened(folder.path(), NAME)).expect("rows");
        let passed: Vec<&ParityRow> = rows.iter().filter(|row| row.passed()).collect();
        assert!(passed.is_empty(), "{passed:#?}");
        assert!(rows.iter().filter(|row| row.failure()).count() > 200, "{}", rows.len());
    }

    #[test]
    fn a_configuration_that_no_run_can_have_is_an_error_that_names_the_field() {
        let text = |from: &str, to: &str| {
            let folder = changed("config.json", |bytes| {
                let text = String::from_utf8(bytes).expect("text");
                assert!(text.contains(from), "{from}");
                text.replace(from, to).into_bytes()
            });
            run(&opened(folder.path(), NAME)).expect_err("no run").to_string()
        };
        for (from, to, field) in [
            ("\"weighting\": \"exp\"", "\"weighting\": \"uniform\"", "`exp`, `sds`, `nfsd`"),
            ("\"teacher_steps\": 1", "\"teacher_steps\": 0", "nonzero"),
            ("\"ema_decay\": 0.9", "\"ema_decay\": 1.0", "ema_decay"),
            ("\"depth\": 4", "\"depth\": 3", "hooks"),
            ("\"steps\": 5", "\"steps\": 4", "in.x0"),
            ("\"cross_attention_dim\": 12", "\"cross_attention_dim\": 13", "in.ctx"),
        ] {
            let text = text(from, to);
            assert!(text.contains(field), "{text}");
        }
    }

    /// Every part is the whole batch of the fixture, so that the heads' groups stay what they are; means do not notice.
    #[test]
    fn a_batch_in_two_parts_takes_the_same_steps() {
        for name in [NAME, "add_sds_cfg_2steps"] {
            let rows = in_parts(&shipped(name), 2).expect("rows");
            let failed: Vec<&ParityRow> = rows.iter().filter(|row| row.failure()).collect();
            assert!(failed.is_empty(), "{name}: {failed:#?}");
            assert!(rows.iter().filter(|row| row.passed()).count() > 200, "{name}: {}", rows.len());
        }
    }
}
