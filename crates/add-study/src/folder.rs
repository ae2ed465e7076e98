//! The folder of a study: `study.json` says which picture is whose, `pictures/` holds them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::StudyError;

/// The file that makes a folder a study.
pub const STUDY: &str = "study.json";
/// The folder of its pictures.
const PICTURES: &str = "pictures";
/// How this version of the file is numbered.
const FORMAT: u32 = 1;
/// Largest `study.json`, in bytes.
const MAX_STUDY: u64 = 256 << 20;
/// Fewest and most models.
pub const MODELS: std::ops::RangeInclusive<usize> = 2..=64;
/// Longest name of a model, in characters.
const LONGEST_NAME: usize = 80;
/// Most comparisons, all captions together.
const MOST_PAIRS: usize = 1_000_000;

/// A model whose pictures are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What the report calls it; voters do not see it.
    pub name: String,
    /// Seconds from a caption to its picture, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
}

/// What `study.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    format: u32,
    /// Decides names of pictures, orders and sides.
    pub seed: u64,
    /// The models, in the order of the report.
    pub models: Vec<Model>,
    /// What the pictures should show.
    pub captions: Vec<String>,
    /// `[captions, models]`: names under `pictures/`.
    pub pictures: Vec<Vec<String>>,
}

impl Study {
    /// A study of these parts.
    ///
    /// # Errors
    /// Says which of them cannot be.
    pub fn new(
        seed: u64,
        models: Vec<Model>,
        captions: Vec<String>,
        pictures: Vec<Vec<String>>,
    ) -> Result<Self, StudyError> {
        let study = Self { format: FORMAT, seed, models, captions, pictures };
        study.check().map_err(StudyError::Request)?;
        Ok(study)
    }

    /// Reads the study in a folder.
    ///
    /// # Errors
    /// When there is none, it contradicts itself, or a picture is missing.
    pub fn read(folder: &Path) -> Result<Self, StudyError> {
        let path = folder.join(STUDY);
        let text = add_files::read_text(&path, MAX_STUDY).map_err(StudyError::io(&path))?;
        let failed = |problem: String| StudyError::File { path: path.clone(), problem };
        let study: Self = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        study.check().map_err(failed)?;
        let missing = study.files().find(|name| !Self::picture(folder, name).is_file());
        if let Some(missing) = missing {
            return Err(failed(format!("its picture {PICTURES}/{missing} is missing")));
        }
        Ok(study)
    }

    fn check(&self) -> Result<(), String> {
        let Self { format, models, captions, pictures, .. } = self;
        if *format != FORMAT {
            return Err(format!("format: expected {FORMAT}, got {format}; it was made by another version"));
        }
        check_models(models)?;
        if captions.is_empty() || captions.len() != pictures.len() {
            let (captions, rows) = (captions.len(), pictures.len());
            return Err(format!(
                "expected pictures for each caption, got {captions} captions and {rows} rows"
            ));
        }
        if captions.len().saturating_mul(self.pairs().len()) > MOST_PAIRS {
            return Err(format!("expected at most {MOST_PAIRS} comparisons, got {}", self.comparisons()));
        }
        if let Some(row) = pictures.iter().position(|row| row.len() != models.len()) {
            let (models, got) = (models.len(), pictures[row].len());
            return Err(format!("pictures: row {row}: expected one of each of {models} models, got {got}"));
        }
        let mut seen = BTreeSet::new();
        match self.files().find(|name| !is_plain(name) || !seen.insert(*name)) {
            Some(wrong) => {
                Err(format!("pictures: expected names such as 000017.png, each once, got {wrong:?}"))
            }
            None => Ok(()),
        }
    }

    /// Names of all pictures.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.pictures.iter().flatten().map(String::as_str)
    }

    /// Where a picture lies.
    pub(crate) fn picture(folder: &Path, name: &str) -> PathBuf {
        folder.join(PICTURES).join(name)
    }

    /// The folder of the pictures.
    pub(crate) fn pictures_folder(folder: &Path) -> PathBuf {
        folder.join(PICTURES)
    }

    /// Every two models, `first < second`.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let n = self.models.len();
        (0..n).flat_map(|first| (first + 1..n).map(move |second| (first, second))).collect()
    }

    /// Comparisons of all captions.
    pub fn comparisons(&self) -> usize {
        self.captions.len() * self.pairs().len()
    }

    /// The index of a model.
    pub fn model(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|model| model.name == name)
    }
}

/// Whether models can be compared: how many there are, their names and latencies.
pub(crate) fn check_models(models: &[Model]) -> Result<(), String> {
    if !MODELS.contains(&models.len()) {
        let (least, most) = MODELS.into_inner();
        return Err(format!("expected {least} to {most} models, got {}", models.len()));
    }
    for (at, Model { name, latency }) in models.iter().enumerate() {
        let characters = name.chars().count();
        if name.trim().is_empty() || characters > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(format!("a model's name: expected 1 to {LONGEST_NAME} characters, got {name:?}"));
        }
        if models[..at].iter().any(|other| other.name == *name) {
            return Err(format!("two models are called {name}; expected a name of its own for each"));
        }
        if let Some(wrong) = latency.filter(|seconds| !(seconds.is_finite() && *seconds > 0.0)) {
            return Err(format!("the latency of {name}: expected seconds above 0, got {wrong}"));
        }
    }
    Ok(())
}

/// Whether a name is one that [`crate::make`] gives: it can leave no folder.
fn is_plain(name: &str) -> bool {
    let digits = name.strip_suffix(".png").unwrap_or_default();
    (6..=12).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A study of so many models and captions, without files.
    pub(crate) fn study(models: usize, captions: usize) -> Study {
        let model = |i| Model { name: format!("model {i}"), latency: Some(0.1 * (i + 1) as f64) };
        let name = |i: usize| format!("{i:06}.png");
        Study::new(
            7,
            (0..models).map(model).collect(),
            (0..captions).map(|i| format!("caption {i}")).collect(),
            (0..captions).map(|c| (0..models).map(|m| name(c * models + m)).collect()).collect(),
        )
        .expect("a study")
    }

    #[test]
    fn a_study_comes_back_and_misses_no_picture() {
        let folder = tempfile::tempdir().expect("a folder");
        let study = study(3, 2);
        fs::write(folder.path().join(STUDY), serde_json::to_string(&study).expect("JSON")).expect("written");
        let error = Study::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("pictures/000000.png is missing"), "{error}");
        fs::create_dir(Study::pictures_folder(folder.path())).expect("made");
        study.files().for_each(|name| fs::write(Study::picture(folder.path(), name), "").expect("written"));
        assert_eq!(Study::read(folder.path()).expect("whole"), study);
        assert_eq!((study.pairs(), study.comparisons()), (vec![(0, 1), (0, 2), (1, 2)], 6));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let check = |change: fn(&mut Study), part: &str| {
            let mut study = study(2, 2);
            change(&mut study);
            let problem = study.check().expect_err(part);
            assert!(problem.contains(part), "{problem}");
        };
        check(|s| s.format = 2, "expected 1, got 2");
        check(|s| drop(s.models.pop()), "2 to 64 models, got 1");
        check(|s| s.models[1].name = "model 0".into(), "two models are called model 0");
        check(|s| s.models[1].name = " ".into(), "1 to 80 characters");
        check(|s| s.models[0].latency = Some(f64::INFINITY), "seconds above 0");
        check(|s| drop(s.captions.pop()), "1 captions and 2 rows");
        check(|s| drop(s.pictures[1].pop()), "row 1: expected one of each of 2 models, got 1");
        check(|s| s.pictures[1][0] = "../../000001.png".into(), "each once");
        check(|s| s.pictures[1][0] = "000000.png".into(), "each once");
    }
}
