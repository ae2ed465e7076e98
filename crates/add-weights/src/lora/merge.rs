//! Changes merged into files of released models.
//!
//! It is done tensor by tensor: what no change touches keeps its bytes, what one touches keeps its number type, and the sum is
//! made in single precision. Networks of any shape are merged in diffusers' and transformers' names; a single file of Stable
//! Diffusion, whose names do not tell which layer is which, for the released shapes.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::json;

use super::{
    Change, LoraFile, Part, problem,
    target::{Target, network, single_file},
};
use crate::{Location, Source, WeightsFile, error::WeightsError};

/// The folders of a pipeline that changes may touch, with the file of each.
const FOLDERS: [(&str, Part, &str); 3] = [
    ("unet", Part::Denoiser, "diffusion_pytorch_model.safetensors"),
    ("text_encoder", Part::Text, "model.safetensors"),
    ("text_encoder_2", Part::Text2, "model.safetensors"),
];
/// What in a file's metadata is no longer true of a changed file.
const STALE: [&str; 3] = ["modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash"];
/// What says which changes are in a file.
const MERGED: &str = "add.merged";

/// A file of changes, and by what it is multiplied.
pub type Weighted<'a> = (&'a LoraFile, f64);
/// By the tensor in the file: what is added where in it.
type Edits<'a> = BTreeMap<String, Vec<(Source, Change<'a>, f64)>>;

/// Writes to `out` the model at `model`, a diffusers pipeline's folder or a file, with `loras` merged into it.
///
/// # Errors
/// When `out` is there already, `model` is none that is known, a change does not fit it whole, or the disk refuses; nothing is
/// then left at `out`.
pub fn merge(model: &Path, loras: &[Weighted<'_>], out: &Path) -> Result<(), WeightsError> {
    if out.symlink_metadata().is_ok() {
        return Err(problem(out.to_path_buf(), "it is there already; name a new place".to_owned()));
    }
    add_files::check_writable(out.parent().unwrap_or(out)).map_err(io_error(out))?;
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = if model.is_dir() {
        merge_folder(model, loras, &partial)
    } else {
        merge_file(model, loras, &partial)
    };
    let renamed = written.and_then(|()| add_files::rename(&partial, out).map_err(io_error(out)));
    renamed.inspect_err(|_| {
        // The reason matters more than whether its traces could be removed.
        let _ = if partial.is_dir() { fs::remove_dir_all(&partial) } else { fs::remove_file(&partial) };
    })
}

/// A pipeline: the networks with their changes, everything else as it is.
fn merge_folder(model: &Path, loras: &[Weighted<'_>], out: &Path) -> Result<(), WeightsError> {
    let mut files = Vec::new();
    for (folder, part, name) in FOLDERS {
        if loras.iter().any(|(lora, _)| lora.changes_part(part)) {
            let path = Location::Local(model.join(folder).join(name)).fetch(&mut ())?;
            files.push((folder, part, name, WeightsFile::open(&path)?));
        }
    }
    let mut changed = Vec::new();
    for (folder, part, name, file) in &files {
        let edits = edits(file, vec![network(*part, file)], loras)?;
        changed.push((*folder, *name, file, edits));
    }
    let is_replaced = |path: &Path| {
        let is_weights = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            [".safetensors", ".bin", ".index.json", ".index.fp16.json", ".index.bf16.json"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        is_weights && changed.iter().any(|(folder, ..)| path.parent() == Some(model.join(folder).as_path()))
    };
    copy(model, out, &is_replaced).map_err(io_error(out))?;
    for (folder, name, file, edits) in &changed {
        // A variant keeps its name, by which it is asked for; shards become one file.
        let own = file.path().file_name().map(|name| name.to_string_lossy().into_owned());
        let name = own.filter(|name| name.ends_with(".safetensors")).unwrap_or_else(|| (*name).to_owned());
        write(&out.join(folder).join(name), file, edits, loras)?;
    }
    Ok(())
}

/// A single file of Stable Diffusion, or one network.
fn merge_file(model: &Path, loras: &[Weighted<'_>], out: &Path) -> Result<(), WeightsError> {
    let file = WeightsFile::open(model)?;
    let targets = single_file(&file).map_err(|why| problem(model.to_path_buf(), why))?;
    let edits = edits(&file, targets, loras)?;
    write(out, &file, &edits, loras)
}

/// All that `loras` do to the networks of `file`; each must find all its layers in them.
fn edits<'a>(
    file: &WeightsFile,
    targets: Vec<Target>,
    loras: &[Weighted<'a>],
) -> Result<Edits<'a>, WeightsError> {
    let is_whole_model = targets.len() > 1 || targets.iter().all(|target| target.is_in_single_file);
    let mut edits = Edits::new();
    for (lora, scale) in loras {
        for part in [Part::Denoiser, Part::Text, Part::Text2] {
            if !lora.changes_part(part) {
                continue;
            }
            let Some(target) = targets.iter().find(|target| target.part == part) else {
                if is_whole_model {
                    let why = format!("it changes the {part}, which {} does not hold", file.path().display());
                    return Err(problem(lora.path().to_path_buf(), why));
                }
                // The other folders of a pipeline have their turn.
                continue;
            };
            for change in lora.changes(part, &target.layers)? {
                let source = (target.source)(&change.parameter);
                let shape = target.layers.shape(&change.parameter).unwrap_or(&[]);
                let found = source.taken(&file.info(source.name())?.shape);
                if found.iter().product::<usize>() != shape.iter().product::<usize>() {
                    let why = format!("`{}`: expected {shape:?}, found {found:?}", source.name());
                    return Err(problem(file.path().to_path_buf(), why));
                }
                edits.entry(source.name().to_owned()).or_default().push((source, change, *scale));
            }
        }
    }
    Ok(edits)
}

/// Writes `file` with its edits.
fn write(
    path: &Path,
    file: &WeightsFile,
    edits: &Edits<'_>,
    loras: &[Weighted<'_>],
) -> Result<(), WeightsError> {
    let mut metadata = file.metadata().clone();
    metadata.retain(|key, _| !STALE.contains(&key.as_str()));
    let merged = loras.iter().map(|(lora, scale)| {
        let name = lora.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{name}:{scale}")
    });
    let before = metadata.get(MERGED).cloned();
    let merged: Vec<String> = before.into_iter().chain(merged).collect();
    metadata.insert(MERGED.to_owned(), merged.join(", "));
    let mut header = BTreeMap::from([("__metadata__".to_owned(), json!(metadata))]);
    let mut start = 0;
    for (name, info) in file.tensors() {
        let end = start + file.bytes_of(info).len();
        let entry = json!({ "dtype": info.dtype, "shape": info.shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
        start = end;
    }
    let mut header = json!(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut failure = None;
    let written = add_files::replace(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for (name, info) in file.tensors() {
            match edits.get(name) {
                None => out.write_all(file.bytes_of(info))?,
                Some(edits) => match changed(file, name, edits) {
                    Ok(bytes) => out.write_all(&bytes)?,
                    Err(error) => {
                        failure = Some(error);
                        return Err(io::Error::other("a change that cannot be merged"));
                    }
                },
            }
        }
        Ok(())
    });
    match (failure, written) {
        (Some(error), _) => Err(error),
        (None, written) => written.map_err(io_error(path)),
    }
}

/// A tensor's bytes with its edits, in its own number type.
fn changed(
    file: &WeightsFile,
    name: &str,
    edits: &[(Source, Change<'_>, f64)],
) -> Result<Vec<u8>, WeightsError> {
    let mut values = file.floats::<f32>(name)?;
    for (source, change, scale) in edits {
        let delta = (change.values(&Device::flex())? * *scale).into_data();
        let delta: Vec<f32> = delta.iter::<f32>().collect();
        match source {
            Source::Whole(_) => values.iter_mut().zip(&delta).for_each(|(value, delta)| *value += delta),
            Source::Rows { part, .. } => {
                let rows = &mut values[part * delta.len()..];
                rows.iter_mut().zip(&delta).for_each(|(value, delta)| *value += delta);
            }
            Source::Transposed(_) => {
                let columns = file.info(name)?.shape[0];
                let rows = delta.len() / columns.max(1);
                for (at, value) in values.iter_mut().enumerate() {
                    *value += delta[(at % rows) * columns + at / rows];
                }
            }
        }
    }
    Ok(match file.info(name)?.dtype {
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        Dtype::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
        // `floats` has refused all other types.
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    })
}

/// Copies a folder but for the files that are `left_out`; links are followed.
fn copy(from: &Path, to: &Path, left_out: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        let hidden = name.to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden {
            copy(&path, &to.join(name), left_out)?;
        } else if path.is_file() && !hidden && !left_out(&path) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> WeightsError + use<> {
    let path = path.to_path_buf();
    move |source| WeightsError::Io { path, source }
}
