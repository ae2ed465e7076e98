//! A run of a recipe.

use std::{
    fmt,
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use add_core::{
    read::LoadedRecipe,
    train::{check_trains, train},
    weights::{self, Use},
};
use add_train::{
    report::StepReport,
    run::{Ending, Observer, StartFrom},
};

use crate::Error;

/// Trains a recipe in a folder, from which it can be continued.
///
/// The folder then holds `model.safetensors` (for [`Pipeline::from_trained`](crate::Pipeline::from_trained)), checkpoints,
/// `metrics.jsonl` and preview pictures.
pub struct Training<'a> {
    recipe: &'a LoadedRecipe,
    folder: PathBuf,
    start: StartFrom,
    observer: Watcher<'a>,
}

impl fmt::Debug for Training<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, start, .. } = self;
        f.debug_struct("Training").field("folder", folder).field("start", start).finish_non_exhaustive()
    }
}

impl<'a> Training<'a> {
    /// A run of `recipe` in `folder`, from the beginning.
    pub fn new(recipe: &'a LoadedRecipe, folder: impl Into<PathBuf>) -> Self {
        let observer = Box::new(|_, _: &_| ControlFlow::Continue(()));
        Self { recipe, folder: folder.into(), start: StartFrom::Fresh, observer }
    }

    /// Where the run begins. `StartFrom::Auto` continues from the newest checkpoint if there is one.
    #[must_use]
    pub fn start(self, start: StartFrom) -> Self {
        Self { start, ..self }
    }

    /// Calls `observer` after each step with the number of steps done and the step's figures. When it breaks, the run
    /// writes a checkpoint and ends.
    #[must_use]
    pub fn observe(self, observer: impl FnMut(u64, &StepReport) -> ControlFlow<()> + 'a) -> Self {
        Self { observer: Box::new(observer), ..self }
    }

    /// Runs it, fetching the weights that are not on this machine.
    ///
    /// # Errors
    /// When the recipe only samples, weights or data are missing, the folder holds another run, the disk is full, or the
    /// losses stop being finite.
    pub fn run(self) -> Result<Ending, Error> {
        check_trains(&self.recipe.recipe)?;
        weights::fetch(self.recipe, Use::Training, &mut ())?;
        let stop = AtomicBool::new(false);
        let mut observer = Watch { observer: self.observer, stop: &stop };
        train(self.recipe, &self.folder, &self.start, &mut observer, &stop)
    }
}

type Watcher<'a> = Box<dyn FnMut(u64, &StepReport) -> ControlFlow<()> + 'a>;

/// A closure as an observer.
struct Watch<'a, 's> {
    observer: Watcher<'a>,
    stop: &'s AtomicBool,
}

impl Observer for Watch<'_, '_> {
    fn begin(&mut self, _done: u64, _steps: u64) {}

    fn step(&mut self, done: u64, report: &StepReport) {
        if (self.observer)(done, report).is_break() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn end(&mut self) {}
}
