//! `add eval`: measures a model and what it is compared with, or folders of pictures that were made by anything.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use add_core::{
    error::CoreError,
    evaluate::{EvaluatedRows, Evaluation, EvaluationObserver, Folders, evaluate, evaluate_folders},
    read::{self, LoadedRecipe},
    recipe::DeviceChoice,
};
use add_data::{Keep, write_png};
use add_eval::{
    report::{Presentation, write_report},
    to_json, to_markdown,
};
use clap::Args;

use super::{check_folder, print, run_folder, student_file};
use crate::{Outcome, progress::Counter, terminal::say};

/// What a folder is measured by, unless a recipe or --metrics says otherwise.
const METRICS: &str = "[Fid(), Kid(), PrecisionRecall(features: InceptionV3(), look: Inception(Torch)), \
                       DensityCoverage(features: InceptionV3(), look: Inception(Torch))]";
/// Half-samples behind an interval, unless a recipe says otherwise.
const RESAMPLES: usize = 20;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The recipe, a RON file such as configs/emoji.ron; not needed with --images.
    #[arg(required_unless_present = "images")]
    recipe: Option<PathBuf>,
    /// Override a field, such as --set evaluation.samples=500; may be repeated.
    #[arg(long, value_name = "PATH=VALUE", requires = "recipe")]
    set: Vec<String>,
    /// The student [default: that of the recipe's run, else the one shipped with the recipe].
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    weights: Option<PathBuf>,
    /// Folder for evaluation.json, evaluation.png and report.html [default: runs/NAME, and runs/eval with --images].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Pictures per row [default: the recipe's].
    #[arg(long, conflicts_with = "images")]
    samples: Option<usize>,
    /// A folder of pictures to measure instead of the recipe's models; may be repeated, one row each.
    #[arg(long, value_name = "FOLDER")]
    images: Vec<PathBuf>,
    /// The real pictures: a folder, or an .npz of their statistics as pytorch-fid writes it.
    #[arg(long, value_name = "FOLDER|NPZ", requires = "images")]
    references: Option<PathBuf>,
    /// The captions of --images: .txt, .jsonl or .csv, in the order of the pictures' names.
    #[arg(long, value_name = "FILE", requires = "images")]
    captions: Option<PathBuf>,
    /// Metrics of --images, written as in a recipe, such as '[Fid(resize: Clean), ClipScore()]' [default: the
    /// recipe's, else FID, KID, precision, recall, density and coverage on Inception].
    #[arg(long, value_name = "RON", requires = "images")]
    metrics: Option<String>,
    /// Write the statistics of --references to this .npz, for later use and for pytorch-fid.
    #[arg(long, value_name = "NPZ", requires = "references")]
    save_references: Option<PathBuf>,
}

impl Eval {
    pub(crate) fn run(&self) -> Outcome {
        add_kernels::compute_on_this_thread();
        let samples = self.samples.map(|n| format!("evaluation.samples={n}"));
        let sets = [self.set.as_slice(), samples.as_slice()].concat();
        let loaded = self.recipe.as_ref().map(|recipe| read::read(recipe, &sets)).transpose()?;
        match &loaded {
            Some(loaded) if self.images.is_empty() => {
                let student = || student_file(self.weights.as_ref(), self.out.as_ref(), loaded);
                let out = run_folder(self.out.as_ref(), loaded);
                check_folder(&out)?;
                measure(loaded, &student, &out, EvaluatedRows::Full)?;
                report(&out, &loaded.recipe.objective.presentation())?;
            }
            _ => {
                let out = self.out.clone().unwrap_or_else(|| PathBuf::from("runs/eval"));
                check_folder(&out)?;
                let found = evaluate_folders(&self.folders(loaded)?, &mut Counter::new())?;
                tell(&found, &out)?;
                report(&out, &Presentation { title: "Evaluation", ..Presentation::default() })?;
            }
        }
        Ok(0)
    }

    fn folders(&self, loaded: Option<LoadedRecipe>) -> Result<Folders, CoreError> {
        let (mut device, mut cache, mut resamples) = (DeviceChoice::Flex(), Keep::Off(), RESAMPLES);
        let mut metrics = Vec::new();
        if let Some(LoadedRecipe { recipe, .. }) = loaded {
            (device, cache, resamples) = (recipe.device, recipe.cache, recipe.evaluation.resamples);
            metrics = recipe.evaluation.metrics;
        }
        if let Some(stated) = &self.metrics {
            metrics = read::metrics(stated, "--metrics")?;
        } else if metrics.is_empty() {
            metrics = read::metrics(METRICS, "the default metrics")?;
        }
        Ok(Folders {
            metrics,
            device,
            images: self.images.clone(),
            references: self.references.clone(),
            captions: self.captions.clone(),
            cache,
            save_references: self.save_references.clone(),
            resamples,
        })
    }
}

/// Measures, prints the table and writes it into `out`.
pub(crate) fn measure(
    loaded: &LoadedRecipe,
    student: &dyn Fn() -> Result<PathBuf, CoreError>,
    out: &Path,
    extent: EvaluatedRows,
) -> Result<(), CoreError> {
    tell(&evaluate(loaded, student, extent, &mut Counter::new())?, out)
}

/// Prints the table, and writes `evaluation.json` and `evaluation.png` into `out`.
fn tell(found: &Evaluation, out: &Path) -> Result<(), CoreError> {
    fs::create_dir_all(out).map_err(CoreError::io(out))?;
    let path = out.join("evaluation.json");
    let json = to_json(&found.rows).map_err(|e| CoreError::Request(e.to_string()))?;
    add_files::replace(&path, |file| file.write_all(json.as_bytes())).map_err(CoreError::io(&path))?;
    if let Some(compared) = &found.compared {
        write_png(&out.join("evaluation.png"), compared, &[])
            .map_err(|e| CoreError::Request(e.to_string()))?;
    }
    print(&to_markdown(&found.rows));
    Ok(())
}

fn report(out: &Path, presentation: &Presentation) -> Result<(), CoreError> {
    let report = write_report(out, presentation).map_err(|e| CoreError::Request(e.to_string()))?;
    say(&format!("report: {}", report.display()));
    Ok(())
}

impl EvaluationObserver for Counter {
    fn progress(&mut self, what: &str, done: usize, total: usize) {
        self.show(what, done as u64, total as u64);
    }

    fn peak_memory(&mut self) -> Option<u64> {
        add_kernels::peak_resident()
    }
}
