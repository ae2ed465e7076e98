//! `add eval`: measures a model and what it is compared with.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use add_core::{
    error::CoreError,
    evaluate::{EvaluationObserver, Extent, evaluate},
    read::LoadedRecipe,
};
use add_eval::{report::write_report, to_json, to_markdown};
use clap::Args;

use super::{RecipeArgs, print, run_folder, student_file};
use crate::{Outcome, progress::Counter};

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The student [default: that of the recipe's run, else the one shipped with the recipe].
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Folder for evaluation.json and report.html [default: runs/NAME].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Pictures per row [default: the recipe's].
    #[arg(long)]
    samples: Option<usize>,
}

impl Eval {
    pub(crate) fn run(&self) -> Outcome {
        let samples = self.samples.map(|n| format!("evaluation.samples={n}"));
        let loaded = self.recipe.read(samples.as_slice())?;
        let student = student_file(self.weights.as_ref(), self.out.as_ref(), &loaded)?;
        let out = run_folder(self.out.as_ref(), &loaded);
        measure(&loaded, &student, &out, Extent::Full)?;
        if out.join("metrics.jsonl").exists() {
            write_report(&out, &loaded.recipe.objective.presentation())
                .map_err(|e| CoreError::Request(e.to_string()))?;
        }
        Ok(0)
    }
}

/// Measures, prints the table and writes `evaluation.json` into `out`.
pub(crate) fn measure(
    loaded: &LoadedRecipe,
    student: &Path,
    out: &Path,
    extent: Extent,
) -> Result<(), CoreError> {
    let rows = evaluate(loaded, student, extent, &mut Counter::new())?;
    fs::create_dir_all(out).map_err(CoreError::io(out))?;
    let path = out.join("evaluation.json");
    let json = to_json(&rows).map_err(|e| CoreError::Request(e.to_string()))?;
    add_files::replace(&path, |file| file.write_all(json.as_bytes())).map_err(CoreError::io(&path))?;
    print(&to_markdown(&rows));
    Ok(())
}

impl EvaluationObserver for Counter {
    fn progress(&mut self, what: &str, done: usize, total: usize) {
        self.show(what, done as u64, total as u64);
    }
}
