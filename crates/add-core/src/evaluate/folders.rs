//! Folders of pictures that were made by anything, measured against a folder of real ones or against their statistics.

use std::path::{Path, PathBuf};

use add_data::{DataError, Keep, Prompt, captions_of, picture_files, read_picture, read_prompts};
use add_eval::Row;
use add_plugin::{Knowledge, Metric, Picture, Plugin};
use add_recipe::{DeviceChoice, problems::check_prompt};

use super::{
    Captions, Evaluation, EvaluationObserver,
    compared::Compared,
    enough, hash, heads,
    panel::{CHUNK, Known, Panel, knowledge, needs_captions},
    references::{self, picture},
    rows::figure,
};
use crate::{device, error::CoreError};

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
    let prompts = request.captions.as_deref().map(read_prompts).transpose().map_err(refused)?;
    let folders: Vec<Folder> =
        request.images.iter().map(|images| folder(images, prompts.as_deref())).collect::<Result<_, _>>()?;
    let real = request.references.as_deref().filter(|path| path.is_dir()).map(files).transpose()?;
    check(request, &folders, real.as_deref())?;
    heads::check(&folders.iter().map(|f| (&*f.name, &*f.files)).collect::<Vec<_>>(), real.as_deref())?;
    if needs_captions(&request.metrics) && prompts.is_none() {
        return refuse("--captions: expected a list of captions, as the CLIP score compares with them");
    }
    let knowledge = knowledge(&request.metrics);
    if request.references.is_none() && knowledge > Knowledge::Nothing {
        return refuse("--references: expected a folder of real pictures, or an .npz of their statistics");
    }
    let file = request.references.as_deref().filter(|path| !path.is_dir());
    let statistics = file.map(|path| references::of_file(path, knowledge)).transpose()?;
    if let (Some(statistics), Some(path)) = (&statistics, file) {
        references::check_width(&request.metrics, statistics, path)?;
    }
    let mut panel = Panel::new(&request.metrics, &device::device(request.device)?)?;
    if statistics.is_some() || request.save_references.is_some() {
        references::one_look(&panel)?;
    }
    if let Some(statistics) = statistics {
        panel.set_reference(&Known::Statistics(vec![statistics]))?;
    }
    if let Some(files) = real.filter(|_| knowledge > Knowledge::Nothing) {
        let mut get =
            |index: usize| read_picture(&files[index]).map_err(refused).map(|decoded| Some(picture(decoded)));
        let cache = request.cache.cache();
        let seen = references::seen(&panel, files.len(), &mut get, &cache, observer)?;
        if let Some(path) = &request.save_references {
            references::write(&panel, &seen, path)?;
        }
        panel.set_reference(&Known::Features(seen))?;
    }
    let (mut rows, mut compared) = (Vec::new(), Compared::default());
    for folder in &folders {
        rows.extend(measure(folder, &mut panel, request.resamples, &mut compared, observer)?);
    }
    Ok(Evaluation { rows, compared: compared.draw()? })
}

/// Refuses folders with fewer pictures than a metric needs.
fn check(request: &Folders, folders: &[Folder], real: Option<&[PathBuf]>) -> Result<(), CoreError> {
    let of_folders =
        request.images.iter().zip(folders).find_map(|(path, folder)| {
            Some((path, enough::generated(&request.metrics, folder.files.len())?))
        });
    let of_real = request
        .references
        .iter()
        .zip(real)
        .find_map(|(path, files)| Some((path, enough::real(&request.metrics, files.len())?)));
    match of_folders.or(of_real) {
        Some((path, problem)) => Err(CoreError::Request(format!("{}: {problem}", path.display()))),
        None => Ok(()),
    }
}

fn measure(
    folder: &Folder,
    panel: &mut Panel,
    resamples: usize,
    compared: &mut Compared,
    observer: &mut dyn EvaluationObserver,
) -> Result<Vec<Row>, CoreError> {
    let (all, mut seeing) = (panel.all(), panel.unseen());
    let Captions { texts, labels, .. } = &folder.captions;
    // Pictures are shown beside their captions, or else beside their names.
    let shown: Vec<String> = if texts.is_empty() {
        folder.files.iter().map(|file| file_name(file)).collect()
    } else {
        texts.clone()
    };
    let column = compared.column(&folder.name);
    for (i, part) in folder.files.chunks(CHUNK).enumerate() {
        let mut pictures: Vec<Picture> = Vec::new();
        for (at, file) in (i * CHUNK..).zip(part) {
            let decoded = read_picture(file).map_err(refused)?;
            compared.add(column, at, &shown, &decoded);
            pictures.push(picture(decoded));
        }
        panel.look(&pictures, &all, &mut seeing)?;
        observer.progress(&folder.name, i * CHUNK + part.len(), folder.files.len());
    }
    let values = panel.measure(&seeing.seen(), texts, labels, &[], resamples)?;
    let row = |value| Row { model: folder.name.clone(), guidance: 1.0, ..figure(value, &folder.captions) };
    Ok(values.into_iter().map(row).collect())
}

/// A folder with the captions of its pictures.
fn folder(path: &Path, prompts: Option<&[Prompt]>) -> Result<Folder, CoreError> {
    let files = files(path)?;
    let captions = |prompts: &[Prompt]| captions_of(path, &files, prompts).map_err(refused);
    let texts = prompts.map(captions).transpose()?.unwrap_or_default();
    for text in &texts {
        check_prompt(text).map_err(|problem| CoreError::Request(format!("--captions: {problem}")))?;
    }
    let hash = if texts.is_empty() { String::new() } else { hash(&texts) };
    let captions = Captions { split: "folder".to_owned(), labels: Vec::new(), texts, hash };
    let name = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    Ok(Folder { name: file_name(&name), files, captions })
}

/// The pictures of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, CoreError> {
    picture_files(folder).map_err(refused)
}

/// What is wrong with the user's files, as an error of a request.
pub(super) fn refused(error: DataError) -> CoreError {
    match error {
        DataError::Read { path, source } => CoreError::Io { path, source },
        error => CoreError::Request(error.to_string()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
