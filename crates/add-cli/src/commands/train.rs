//! `add train`: runs a recipe.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use add_core::{
    error::CoreError,
    evaluate::EvaluatedRows,
    read::{LoadedRecipe, show},
    train::{self, model_path, network_sizes},
    weights::{self, Use},
};
use add_eval::report::write_report;
use add_train::{
    ranks::{Collective, is_first, largest},
    run::{Ending, Observer, StartFrom},
};
use clap::Args;
use tracing::{error, info};

use super::{RecipeArgs, check_folder, print, run_folder, seed};
use crate::{
    Outcome,
    progress::{Download, Progress, Quiet},
    ranks, run_log,
    signals::Signals,
    terminal::say,
};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub(crate) struct Train {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The recipe's seed.
    #[arg(long, value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Folder of the run [default: runs/NAME].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Continue from a checkpoint: `latest` (there must be one), `auto` (if there is one), or its folder.
    #[arg(long, value_name = "latest|auto|PATH")]
    resume: Option<String>,
    /// Share the run between this many threads, which divide the recipe's `gradient_accumulation` steps; with GPUs each thread has
    /// its own, the first that of `device`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    ranks: u16,
    /// Print the resolved recipe, parameter counts and a memory estimate, and stop.
    #[arg(long)]
    dry_run: bool,
}

impl Train {
    pub(crate) fn run(&self) -> Outcome {
        // Several ranks are threads of their own.
        if self.ranks == 1 {
            add_kernels::compute_on_this_thread();
        }
        let loaded = self.read()?;
        if self.dry_run {
            print(&show(&loaded.recipe));
            let sizes = network_sizes(&loaded)?;
            for size in &sizes {
                let part = if size.trained { "trained" } else { "frozen" };
                print(&format!("{:<18} {:>13} parameters, {part}", size.name, size.parameters));
            }
            let sharers = loaded.recipe.optimizer_states.sharers(self.ranks.into());
            let bytes: usize = sizes.iter().map(|size| size.bytes(sharers)).sum();
            let mebibytes = bytes as f64 / f64::from(1 << 20);
            for needed in weights::needed(&loaded, Use::Training)? {
                let state = if needed.is_here() { "here" } else { "to be fetched" };
                print(&format!("{:<18} reads {}, {state}", needed.part, needed.location));
            }
            print(&format!(
                "{mebibytes:.0} MiB for values, gradients, moments and averages; activations come on top"
            ));
            return Ok(0);
        }
        train::check_trains(&loaded.recipe)?;
        check_folder(&run_folder(self.out.as_ref(), &loaded))?;
        weights::fetch(&loaded, Use::Training, &mut Download::new())?;
        let start = match self.resume.as_deref() {
            None => StartFrom::Fresh,
            Some("latest") => StartFrom::Latest,
            Some("auto") => StartFrom::Auto,
            Some(path) => StartFrom::At(PathBuf::from(path)),
        };
        let signals = Signals::listen()?;
        ranks::on_each(self.ranks.into(), loaded.recipe.device, |ranks, device| {
            let mut own = self.read()?;
            own.recipe.device = device;
            self.go(&own, ranks, &start, &signals)
        })
    }

    fn read(&self) -> Result<LoadedRecipe, CoreError> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        self.recipe.read(seed.as_slice())
    }

    /// One rank's share of the run.
    fn go(
        &self,
        loaded: &LoadedRecipe,
        ranks: &Rc<dyn Collective>,
        start: &StartFrom,
        signals: &Signals,
    ) -> Outcome {
        let out = run_folder(self.out.as_ref(), loaded);
        let first = is_first(&**ranks);
        let mut observer: Box<dyn Observer> =
            if first { Box::new(Progress::new(out.clone())) } else { Box::new(Quiet) };
        let trained = train::train_among(ranks, loaded, &out, start, &mut *observer, signals.stop());
        match &trained {
            Ok(Ending::Finished) => info!(target: run_log::ALONE, "finished"),
            Ok(Ending::Stopped(step)) => info!(target: run_log::ALONE, step, "stopped by a signal"),
            Err(error) => error!(target: run_log::ALONE, "{error}"),
        }
        let ending = trained?;
        let code = match ending {
            Ending::Finished => 0,
            Ending::Stopped(_) => signals.exit_code(),
        };
        if first {
            tell(loaded, &out, ending)?;
        }
        // A signal may have reached one process alone. None ends before the first has written everything.
        Ok(largest(&**ranks, code))
    }
}

/// What the first process does after the last step.
fn tell(loaded: &LoadedRecipe, out: &Path, ending: Ending) -> Result<(), CoreError> {
    match ending {
        Ending::Finished => {
            say(&format!("trained: {}", model_path(out).display()));
            if loaded.recipe.evaluation.samples_after_training > 0 {
                let model = model_path(out);
                super::eval::measure(loaded, &|| Ok(model.clone()), out, EvaluatedRows::AfterTraining)?;
            }
            let report = write_report(out, &loaded.recipe.objective.presentation())
                .map_err(|e| CoreError::Request(e.to_string()))?;
            say(&format!("report: {}", report.display()));
        }
        Ending::Stopped(step) => say(&format!("stopped after step {step}; continue with --resume latest")),
    }
    Ok(())
}
