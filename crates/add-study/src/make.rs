//! Makes the folder of a study out of folders of pictures.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use add_data::{
    MAX_SIDE, captions_of, encode_png, picture_files, read_head, read_picture, read_prompts, square,
};
use add_random::SplitMix64;
use rayon::prelude::*;

use crate::{Model, STUDY, Study, StudyError, VOTES, folder::check_models};

/// Pictures between two words about the progress.
const CHUNK: usize = 16;
/// Longest caption, in characters.
const LONGEST_CAPTION: usize = 2000;
/// Smallest side that pictures may be given, in pixels.
const LEAST_SIDE: u32 = 16;

/// What a study is made of.
#[derive(Debug, Clone)]
pub struct Make {
    /// A folder of pictures for each model.
    pub folders: Vec<PathBuf>,
    /// The models' names; those of the folders where there are none.
    pub names: Vec<String>,
    /// Seconds from a caption to its picture, by the model's name.
    pub latencies: Vec<(String, f64)>,
    /// The list of captions.
    pub captions: PathBuf,
    /// Where the study goes: a folder that is new or empty.
    pub out: PathBuf,
    /// The side to which every picture's central square is resized, in pixels; they stay as they are without one.
    pub size: Option<u32>,
    /// Decides names of pictures, orders and sides.
    pub seed: u64,
}

/// Makes a study; `progress` is told how many of how many pictures are done. Returned are the study and what its maker should know.
///
/// # Errors
/// Before anything is written: when numbers of pictures or captions differ, names or latencies do not fit, a picture's header
/// cannot be read, or `out` is in use. Later when a picture is damaged or the disk refuses.
pub fn make(
    request: &Make,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Study, Vec<String>), StudyError> {
    let models = models(request)?;
    if let Some(size) = request.size.filter(|size| !(LEAST_SIDE..=MAX_SIDE).contains(size)) {
        let problem = format!("--size: expected {LEAST_SIDE} to {MAX_SIDE} pixels, got {size}");
        return Err(StudyError::Request(problem));
    }
    let (files, captions) = sources(request)?;
    let notes = notes(request, &models, &files)?;
    check_out(&request.out)?;

    // Numbers in random order: neither a name nor the order of the files tells whose a picture is.
    let count = captions.len() * models.len();
    let mut numbers: Vec<usize> = (0..count).collect();
    SplitMix64::new(request.seed).choose(&mut numbers, count);
    let name = |number: &usize| format!("{number:06}.png");
    let pictures = numbers.chunks(models.len()).map(|row| row.iter().map(name).collect()).collect();
    let study = Study::new(request.seed, models, captions, pictures)?;

    let folder = Study::pictures_folder(&request.out);
    fs::create_dir_all(&folder).map_err(StudyError::io(&folder))?;
    let jobs: BTreeMap<&str, &Path> = (0..study.captions.len())
        .flat_map(|row| (0..study.models.len()).map(move |model| (row, model)))
        .map(|(row, model)| (study.pictures[row][model].as_str(), files[model][row].as_path()))
        .collect();
    let jobs: Vec<(&str, &Path)> = jobs.into_iter().collect();
    for (at, part) in jobs.chunks(CHUNK).enumerate() {
        part.par_iter().try_for_each(|(name, file)| copy(file, &folder.join(name), request.size))?;
        progress(at * CHUNK + part.len(), count);
    }
    // The study is there when its pictures are.
    add_files::sync(&folder).map_err(StudyError::io(&folder))?;
    let path = request.out.join(STUDY);
    let text = serde_json::to_string(&study).map_err(|error| StudyError::Request(error.to_string()))? + "\n";
    add_files::replace(&path, |file| file.write_all(text.as_bytes())).map_err(StudyError::io(&path))?;
    Ok((study, notes))
}

/// The models by their names, with their latencies.
fn models(request: &Make) -> Result<Vec<Model>, StudyError> {
    let refuse = |problem: String| Err(StudyError::Request(problem));
    let Make { folders, names, latencies, .. } = request;
    if !names.is_empty() && names.len() != folders.len() {
        return refuse(format!(
            "--names: expected one for each of {} folders, got {}",
            folders.len(),
            names.len()
        ));
    }
    let own = |folder: &PathBuf| {
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        whole
            .file_name()
            .map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    let names: Vec<String> = if names.is_empty() { folders.iter().map(own).collect() } else { names.clone() };
    let mut given: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, seconds) in latencies {
        if !names.contains(name) {
            return refuse(format!("--latency: expected one of {}, got {name}", names.join(", ")));
        }
        if given.insert(name, *seconds).is_some() {
            return refuse(format!("--latency: {name} has two"));
        }
    }
    let model = |name: String| Model { latency: given.get(name.as_str()).copied(), name };
    let models: Vec<Model> = names.into_iter().map(model).collect();
    check_models(&models).map_err(StudyError::Request)?;
    Ok(models)
}

/// Each model's files in the order of their names, and the captions on which all of them agree.
fn sources(request: &Make) -> Result<(Vec<Vec<PathBuf>>, Vec<String>), StudyError> {
    let refuse = |problem: String| Err(StudyError::Request(problem));
    let prompts = read_prompts(&request.captions)?;
    let files = request.folders.iter().map(|folder| picture_files(folder)).collect::<Result<Vec<_>, _>>()?;
    let mut captions: Vec<String> = Vec::new();
    for (folder, files_of) in request.folders.iter().zip(&files) {
        if files_of.len() != files[0].len() {
            let (first, this) = (files[0].len(), files_of.len());
            let (a, b) = (request.folders[0].display(), folder.display());
            return refuse(format!(
                "expected as many pictures of each model, got {first} in {a} and {this} in {b}"
            ));
        }
        let own = captions_of(folder, files_of, &prompts)?;
        if let Some(at) = (0..captions.len()).find(|at| captions[*at] != own[*at]) {
            return refuse(format!(
                "picture {} of {} is of the caption {:?}, that of {} of {:?}: expected the same captions in the same order",
                at + 1,
                request.folders[0].display(),
                captions[at],
                folder.display(),
                own[at]
            ));
        }
        captions = own;
    }
    let long = |caption: &String| caption.chars().count() > LONGEST_CAPTION;
    match captions.iter().position(long) {
        Some(at) => refuse(format!(
            "{}: caption {}: expected at most {LONGEST_CAPTION} characters",
            request.captions.display(),
            at + 1
        )),
        None => Ok((files, captions)),
    }
}

/// What might tell the models apart; every picture's header is looked at.
fn notes(request: &Make, models: &[Model], files: &[Vec<PathBuf>]) -> Result<Vec<String>, StudyError> {
    let sizes: Vec<Vec<(u32, u32)>> = files
        .par_iter()
        .map(|files| files.par_iter().map(|file| size_of(file)).collect::<Result<_, _>>())
        .collect::<Result<_, StudyError>>()?;
    let differs = (0..files[0].len()).find(|row| sizes.iter().any(|of| of[*row] != sizes[0][*row]));
    Ok(match differs {
        Some(row) if request.size.is_none() => {
            let told = |(model, of): (&Model, &Vec<(u32, u32)>)| {
                format!("{} x {} pixels of {}", of[row].0, of[row].1, model.name)
            };
            let told: Vec<String> = models.iter().zip(&sizes).map(told).collect();
            vec![format!(
                "the models' pictures differ in size ({}), which may tell them apart; --size N makes them alike",
                told.join(", ")
            )]
        }
        _ => Vec::new(),
    })
}

/// Width and height by the header, within the limits of decoding.
fn size_of(path: &Path) -> Result<(u32, u32), StudyError> {
    let head = read_head(path)?;
    Ok((head.width, head.height))
}

/// Decodes a picture and writes its pixels alone: what else was in the file could name the model.
fn copy(from: &Path, to: &Path, size: Option<u32>) -> Result<(), StudyError> {
    let picture = read_picture(from)?;
    let picture = match size {
        Some(size) => square(&picture, size),
        None => picture,
    };
    let bytes = encode_png(&picture, &[])?;
    fs::write(to, bytes).and_then(|()| add_files::sync(to)).map_err(StudyError::io(to))
}

/// The folder must be new or empty, or hold what an interrupted start left.
fn check_out(out: &Path) -> Result<(), StudyError> {
    let refuse = |what: &str| {
        let problem = format!("--out: {} {what}; expected a new or empty folder", out.display());
        Err(StudyError::Request(problem))
    };
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return refuse("is no folder");
    }
    if out.join(STUDY).exists() || out.join(VOTES).exists() {
        return refuse("has a study");
    }
    let pictures = Study::pictures_folder(out);
    for entry in fs::read_dir(out).map_err(StudyError::io(out))? {
        if entry.map_err(StudyError::io(out))?.path() != pictures {
            return refuse("has other files");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use add_data::{RgbImage, png_text, write_png};

    use super::*;

    /// Two models with three pictures each, whose red tells the model and green the caption.
    fn request(root: &Path) -> Make {
        for (model, name) in ["a", "b"].into_iter().enumerate() {
            fs::create_dir_all(root.join(name)).expect("made");
            for at in 0..3 {
                let side = 8 * (model as u32 + 1);
                let colour = image_of(side, [model as u8 * 100, at as u8 * 50, 9]);
                let text = [("recipe", "names the model")];
                write_png(&root.join(name).join(format!("{at}.png")), &colour, &text).expect("written");
            }
        }
        fs::write(root.join("captions.txt"), "one\ntwo\nthree\n").expect("written");
        Make {
            folders: vec![root.join("a"), root.join("b")],
            names: vec!["ADD".into(), "SDXL".into()],
            latencies: vec![("SDXL".into(), 3.5)],
            captions: root.join("captions.txt"),
            out: root.join("study"),
            size: Some(32),
            seed: 5,
        }
    }

    fn image_of(side: u32, colour: [u8; 3]) -> RgbImage {
        RgbImage::from_raw(side, side, colour.repeat((side * side) as usize)).expect("as many bytes")
    }

    #[test]
    fn a_study_holds_the_pixels_and_nothing_that_tells_the_model() {
        let root = tempfile::tempdir().expect("a folder");
        let request = request(root.path());
        let mut told = Vec::new();
        let (study, notes) = make(&request, &mut |done, of| told.push((done, of))).expect("made");
        assert_eq!((notes, told), (vec![], vec![(6, 6)]));
        assert_eq!(Study::read(&request.out).expect("whole"), study);
        assert_eq!(study.captions, ["one", "two", "three"]);
        assert_eq!(study.models[1], Model { name: "SDXL".into(), latency: Some(3.5) });
        for (row, names) in study.pictures.iter().enumerate() {
            for (model, name) in names.iter().enumerate() {
                let path = Study::picture(&request.out, name);
                let picture = read_picture(&path).expect("a picture");
                assert_eq!(picture.dimensions(), (32, 32));
                assert_eq!(picture.get_pixel(3, 3).0, [model as u8 * 100, row as u8 * 50, 9]);
                assert!(png_text(&fs::read(path).expect("there")).expect("a PNG").is_empty());
            }
        }
        // In the order of the folders the names would be 0, 3, 1, 4, 2, 5.
        assert_ne!(study.pictures.concat(), [0, 3, 1, 4, 2, 5].map(|n| format!("{n:06}.png")));
    }

    #[test]
    fn sizes_that_differ_are_told_unless_made_alike() {
        let root = tempfile::tempdir().expect("a folder");
        let request = Make { size: None, ..request(root.path()) };
        let (_, notes) = make(&request, &mut |_, _| {}).expect("made");
        assert!(notes[0].contains("8 x 8 pixels of ADD, 16 x 16 pixels of SDXL"), "{notes:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        type Change = fn(&mut Make, &Path);
        let changes: [(Change, &str); 12] = [
            (|r, _| r.names.truncate(1), "--names: expected one for each of 2 folders, got 1"),
            (|r, _| r.names[0] = "SDXL".into(), "two models are called SDXL"),
            (|r, _| drop((r.folders.pop(), r.names.pop(), r.latencies.pop())), "2 to 64 models, got 1"),
            (|r, _| r.latencies[0].0 = "SD".into(), "--latency: expected one of ADD, SDXL, got SD"),
            (|r, _| r.latencies[0].1 = 0.0, "seconds above 0, got 0"),
            (|r, _| r.latencies.push(("SDXL".into(), 1.0)), "SDXL has two"),
            (|r, _| r.size = Some(0), "--size: expected 16 to 8192"),
            (
                |r, root| fs::write(&r.captions, "one\ntwo").unwrap_or_else(|_| panic!("{root:?}")),
                "3 pictures, got 2 captions",
            ),
            (|_, root| fs::remove_file(root.join("b/2.png")).expect("removed"), "got 3 in"),
            (|_, root| fs::write(root.join("b/1.png"), "no picture").expect("written"), "1.png"),
            (|r, _| r.folders[1] = "no/such/folder".into(), "no/such/folder"),
            (
                |r, _| {
                    fs::create_dir(&r.out).expect("made");
                    fs::write(r.out.join("mine"), "").expect("written");
                },
                "has other files",
            ),
        ];
        for (change, part) in changes {
            let root = tempfile::tempdir().expect("a folder");
            let mut request = request(root.path());
            change(&mut request, root.path());
            let error = make(&request, &mut |_, _| panic!("{part}: it has begun")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!Study::pictures_folder(&request.out).exists(), "{part}");
        }
    }

    #[test]
    fn captions_by_name_must_agree() {
        let root = tempfile::tempdir().expect("a folder");
        let mut request = request(root.path());
        let list = ["2.png", "1.png", "0.png", "3.png"]
            .map(|f| format!("{{\"caption\":\"of {f}\",\"file\":\"{f}\"}}"));
        request.captions = root.path().join("list.jsonl");
        fs::write(&request.captions, list.join("\n")).expect("written");
        fs::rename(root.path().join("b/2.png"), root.path().join("b/3.png")).expect("renamed");
        let error = make(&request, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("picture 3 of") && error.contains("\"of 3.png\""), "{error}");
        fs::rename(root.path().join("b/3.png"), root.path().join("b/2.png")).expect("renamed");
        let (study, _) = make(&request, &mut |_, _| {}).expect("made");
        assert_eq!(study.captions, ["of 0.png", "of 1.png", "of 2.png"]);
        let error = make(&request, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("has a study"), "{error}");
    }
}
