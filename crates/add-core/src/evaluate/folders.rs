//! Folders of pictures that were made by anything, measured against a folder of real ones or against their statistics.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use add_data::{Keep, Prompt, RgbImage, decode_rgb, read_prompts};
use add_eval::Row;
use add_plugin::{Knowledge, Metric, Picture, Plugin};
use add_recipe::{DeviceChoice, problems::check_prompt};

use super::{
    Captions, Evaluation, EvaluationObserver,
    compared::Compared,
    hash,
    panel::{CHUNK, Known, Panel},
    references::{self, picture},
    rows::figure,
};
use crate::{device, error::CoreError};

/// Largest size of an encoded picture, in bytes.
const MAX_PICTURE: u64 = 64 << 20;
/// What the names of pictures end in.
const PICTURES: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Which folders are measured, and how.
#[derive(Debug)]
pub struct Folders {
    /// What is measured.
    pub metrics: Vec<Plugin<dyn Metric>>,
    /// Where the networks compute.
    pub device: DeviceChoice,
    /// The folders, a row each.
    pub images: Vec<PathBuf>,
    /// A folder of real pictures, or an `.npz` of their statistics.
    pub references: Option<PathBuf>,
    /// A list of captions: the `i`-th of the `i`-th picture by name, or by the names that it states.
    pub captions: Option<PathBuf>,
    /// Where features of real pictures are kept.
    pub cache: Keep,
    /// Where to write the real pictures' statistics as `.npz`, if anywhere.
    pub save_references: Option<PathBuf>,
    /// Half-samples behind an interval; 0 for none.
    pub resamples: usize,
}

/// A folder's pictures, by name.
struct Folder {
    name: String,
    files: Vec<PathBuf>,
    captions: Captions,
}

/// Measures folders of pictures.
///
/// # Errors
/// When a folder has no pictures, a caption list has another length, a metric needs what is not given, or a picture cannot be
/// decoded.
pub fn evaluate_folders(
    request: &Folders,
    observer: &mut dyn EvaluationObserver,
) -> Result<Evaluation, CoreError> {
    let refuse = |problem: &str| Err(CoreError::Request(problem.to_owned()));
    let prompts = request.captions.as_deref().map(read_prompts).transpose();
    let prompts = prompts.map_err(|error| CoreError::Request(error.to_string()))?;
    let folders: Vec<Folder> =
        request.images.iter().map(|images| folder(images, prompts.as_deref())).collect::<Result<_, _>>()?;
    let real = request.references.as_deref().filter(|path| path.is_dir()).map(files).transpose()?;
    let mut panel = Panel::new(&request.metrics, &device::device(request.device)?)?;
    if panel.needs_captions() && prompts.is_none() {
        return refuse("--captions: expected a list of captions, as the CLIP score compares with them");
    }
    match (&request.references, &real) {
        (None, _) if panel.knowledge() > Knowledge::Nothing => {
            return refuse(
                "--references: expected a folder of real pictures, or an .npz of their statistics",
            );
        }
        (Some(_), Some(files)) if panel.knowledge() > Knowledge::Nothing => {
            let mut get = |index: usize| read(&files[index]).map(|decoded| Some(picture(decoded)));
            let cache = request.cache.cache();
            let seen = references::seen(&panel, files.len(), &mut get, &cache, observer)?;
            if let Some(path) = &request.save_references {
                references::write(&panel, &seen, path)?;
            }
            panel.set_reference(&Known::Features(seen))?;
        }
        (Some(path), None) => references::of_file(&mut panel, path)?,
        _ => {}
    }
    let (mut rows, mut compared) = (Vec::new(), Compared::default());
    for folder in &folders {
        rows.extend(measure(folder, &mut panel, request.resamples, &mut compared, observer)?);
    }
    Ok(Evaluation { rows, compared: compared.draw()? })
}

fn measure(
    folder: &Folder,
    panel: &mut Panel,
    resamples: usize,
    compared: &mut Compared,
    observer: &mut dyn EvaluationObserver,
) -> Result<Vec<Row>, CoreError> {
    let (all, mut seen) = (panel.all(), panel.unseen());
    let Captions { texts, labels, .. } = &folder.captions;
    // Pictures are shown beside their captions, or else beside their names.
    let shown: Vec<String> = if texts.is_empty() {
        folder.files.iter().map(|file| file_name(file)).collect()
    } else {
        texts.clone()
    };
    compared.column(&folder.name);
    for (i, part) in folder.files.chunks(CHUNK).enumerate() {
        let mut pictures: Vec<Picture> = Vec::new();
        for (at, file) in (i * CHUNK..).zip(part) {
            let decoded = read(file)?;
            compared.add(at, &shown, &decoded);
            pictures.push(picture(decoded));
        }
        panel.look(&pictures, &all, &mut seen);
        observer.progress(&folder.name, i * CHUNK + part.len(), folder.files.len());
    }
    let values = panel.measure(&seen, texts, labels, &[], resamples)?;
    let row = |value| Row { model: folder.name.clone(), guidance: 1.0, ..figure(value, &folder.captions) };
    Ok(values.into_iter().map(row).collect())
}

/// A folder with the captions of its pictures.
fn folder(path: &Path, prompts: Option<&[Prompt]>) -> Result<Folder, CoreError> {
    let files = files(path)?;
    let texts = prompts.map_or_else(|| Ok(Vec::new()), |prompts| captions(path, &files, prompts))?;
    for text in &texts {
        check_prompt(text).map_err(|problem| CoreError::Request(format!("--captions: {problem}")))?;
    }
    let hash = if texts.is_empty() { String::new() } else { hash(&texts) };
    let captions = Captions { split: "folder".to_owned(), labels: Vec::new(), texts, hash };
    let name = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    Ok(Folder { name: file_name(&name), files, captions })
}

/// The caption of each file: by the names in the list where it has some, else in order.
fn captions(path: &Path, files: &[PathBuf], prompts: &[Prompt]) -> Result<Vec<String>, CoreError> {
    let refuse = |problem: String| CoreError::Request(format!("{}: {problem}", path.display()));
    if prompts.iter().all(|prompt| prompt.file.is_some()) && !prompts.is_empty() {
        let by_name: BTreeMap<&str, &str> =
            prompts.iter().filter_map(|p| Some((p.file.as_deref()?, p.text.as_str()))).collect();
        let caption = |file: &PathBuf| {
            let name = file_name(file);
            let missing = || refuse(format!("{name} is not in the list of captions"));
            by_name.get(name.as_str()).map(|text| (*text).to_owned()).ok_or_else(missing)
        };
        return files.iter().map(caption).collect();
    }
    if prompts.len() != files.len() {
        let (captions, pictures) = (prompts.len(), files.len());
        return Err(refuse(format!(
            "expected a caption for each of its {pictures} pictures, got {captions} captions"
        )));
    }
    Ok(prompts.iter().map(|prompt| prompt.text.clone()).collect())
}

/// The pictures in a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, CoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(CoreError::io(folder))? {
        let path = entry.map_err(CoreError::io(folder))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|e| PICTURES.iter().any(|known| e.eq_ignore_ascii_case(known))) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let problem = format!("{}: expected pictures (PNG, JPEG, WebP), found none", folder.display());
        return Err(CoreError::Request(problem));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<RgbImage, CoreError> {
    let bytes = add_files::read(path, MAX_PICTURE).map_err(CoreError::io(path))?;
    decode_rgb(&bytes).map_err(|error| CoreError::Request(format!("{}: {error}", path.display())))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
