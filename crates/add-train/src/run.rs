//! The loop around an objective: steps, metrics, samples, checkpoints, resume, and a clean stop.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use tracing::{info, info_span, warn};

use crate::{
    TrainError, checkpoint,
    folder::RunFolder,
    health::Alarm,
    networks::NetworkSet,
    ranks::{Collective, Gathered, agree, agree_on_state, from_first, is_first, largest},
    report::StepReport,
    state::State,
};

/// What is trained. It draws its own batches, so that a step is a function of the recipe, the seed and its number.
pub trait Objective {
    /// Does 0-based `step`.
    ///
    /// # Errors
    /// When the data fails.
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError>;

    /// The networks, with what trains them.
    fn networks(&mut self) -> &mut NetworkSet;

    /// Adds what the next step depends on beside the networks.
    fn save(&self, _state: &mut State) {}

    /// Restores what [`save`](Self::save) added.
    ///
    /// # Errors
    /// When something is missing.
    fn load(&mut self, _state: &State) -> Result<(), TrainError> {
        Ok(())
    }

    /// Writes a picture of what the model can do now. The first rank alone does.
    ///
    /// # Errors
    /// When the picture cannot be written.
    fn preview(&mut self, path: &Path) -> Result<(), TrainError>;

    /// Where checkpoints are loaded to.
    fn device(&self) -> Device;
}

/// Length of a run, and intervals of logging, pictures and checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunLength {
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Steps between pictures.
    pub sample_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Number of the newest checkpoints that are kept.
    ///
    /// There is no "best" one to keep besides: a step's losses rank nothing (the student's rise as the heads improve,
    /// and a denoiser's are noise around a slow trend), and no distance is measured while training. `keep_every` keeps
    /// what `eval` can rank later.
    pub keep: usize,
    /// Checkpoints whose step is a multiple of it are kept for good; 0 for none.
    pub keep_every: u64,
}

impl Default for RunLength {
    fn default() -> Self {
        Self { steps: 1000, log_every: 10, sample_every: 200, checkpoint_every: 500, keep: 2, keep_every: 0 }
    }
}

/// From where a run starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// From the beginning; refuses a folder that already has checkpoints.
    Fresh,
    /// From the newest valid checkpoint, which must exist.
    Latest,
    /// From the newest valid checkpoint if there is one.
    Auto,
    /// From this checkpoint.
    At(PathBuf),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was asked to stop after this many steps, and wrote a checkpoint.
    Stopped(u64),
}

/// What the outside sees of a running loop.
pub trait Observer {
    /// Before the first step; `done` steps were resumed.
    fn begin(&mut self, done: u64, steps: u64);

    /// After a step; `done` counts it.
    fn step(&mut self, done: u64, report: &StepReport);

    /// After the last step.
    fn end(&mut self);
}

/// A step that was not finite is left out; so many in a row end the run.
const NON_FINITE_LIMIT: u32 = 3;

/// What a run goes by.
#[derive(Debug, Clone, Copy)]
pub struct RunSetup<'a> {
    /// Length of a run, and intervals of logging, pictures and checkpoints.
    pub length: RunLength,
    /// The hash that a checkpoint must carry to be resumed.
    pub recipe: &'a str,
    /// The hash of all that the ranks must have alike.
    pub agreement: &'a str,
    /// From where it starts.
    pub start: &'a StartFrom,
    /// Set by whoever wants it to stop.
    pub stop: &'a AtomicBool,
    /// The processes that share it.
    pub ranks: &'a dyn Collective,
}

/// Runs `objective` in `folder`, which the first rank alone has; `alarms` look at the figures of every step.
///
/// # Errors
/// When the data, the disk or the numbers fail, or the ranks do not agree.
pub fn run(
    objective: &mut dyn Objective,
    mut folder: Option<&mut RunFolder>,
    setup: RunSetup<'_>,
    alarms: &mut [Box<dyn Alarm>],
    observer: &mut dyn Observer,
) -> Result<Ending, TrainError> {
    let RunSetup { length, recipe, agreement, ranks, .. } = setup;
    agree(ranks, "the SHA-256 of the recipe", agreement)?;
    let resumed = folder.as_deref().map(|folder| resume(objective, folder, recipe, setup.start));
    let (resumed, device) = (resumed.transpose()?.flatten(), objective.device());
    let networks = objective.networks();
    let resumed = from_first(ranks, resumed, &device, &|group, name| networks.keeps(group, name));
    let mut done = match resumed {
        None => 0,
        Some((step, state)) => {
            objective.networks().load(&state)?;
            objective.load(&state)?;
            step
        }
    };
    agree_on_state(ranks, done, &state_of(objective))?;
    if let Some(folder) = folder.as_deref_mut() {
        checkpoint::rewind(&folder.checkpoints(), done)?;
        folder.rewind(done)?;
    }
    observer.begin(done, length.steps);
    if done == 0 {
        preview(objective, folder.as_deref_mut(), ranks, done)?;
    }
    let mut non_finite = 0;
    while done < length.steps {
        let _span = info_span!("step", step = done).entered();
        let report = objective.step(done)?;
        non_finite = guard(done, &report, non_finite)?;
        for advice in alarms.iter_mut().filter_map(|alarm| alarm.look(done, &report)) {
            warn!(step = done, "{advice}");
        }
        done += 1;
        if let Some(folder) = folder.as_deref_mut()
            && (done % length.log_every == 0 || done == 1)
        {
            folder.append_metrics(&report.to_json(done))?;
        }
        observer.step(done, &report);
        if done % length.sample_every == 0 || done == length.steps {
            preview(objective, folder.as_deref_mut(), ranks, done)?;
        }
        let stopping = largest(ranks, u8::from(setup.stop.load(Ordering::Relaxed))) > 0;
        if done % length.checkpoint_every == 0 || done == length.steps || stopping {
            let state = state_of(objective);
            agree_on_state(ranks, done, &state)?;
            let gathered = Gathered::new(&state, ranks);
            match folder.as_deref().map(RunFolder::checkpoints) {
                None => gathered.send(),
                Some(checkpoints) => {
                    checkpoint::write(&checkpoints, done, recipe, &gathered)?;
                    checkpoint::retain(&checkpoints, length.keep, length.keep_every)?;
                }
            }
        }
        if stopping && done < length.steps {
            observer.end();
            return Ok(Ending::Stopped(done));
        }
    }
    observer.end();
    Ok(Ending::Finished)
}

/// The first rank's picture, for which the others lend what they keep of the averages.
fn preview(
    objective: &mut dyn Objective,
    folder: Option<&mut RunFolder>,
    ranks: &dyn Collective,
    done: u64,
) -> Result<(), TrainError> {
    objective.networks().gather_averages(is_first(ranks));
    if let Some(folder) = folder {
        objective.preview(&folder.sample(done))?;
        folder.log_sample(done)?;
    }
    objective.networks().release_averages();
    Ok(())
}

/// Everything that the next step depends on.
fn state_of(objective: &mut dyn Objective) -> State {
    let mut state = State::default();
    objective.networks().save(&mut state);
    objective.save(&mut state);
    state
}

/// Reads what `start` asks for: the number of steps done and their state; `None` at the beginning.
fn resume(
    objective: &dyn Objective,
    folder: &RunFolder,
    recipe: &str,
    start: &StartFrom,
) -> Result<Option<(u64, State)>, TrainError> {
    let checkpoints = folder.checkpoints();
    let committed = checkpoint::list(&checkpoints);
    let candidates: Vec<PathBuf> = match start {
        StartFrom::Fresh if committed.is_empty() => return Ok(None),
        StartFrom::Fresh => return Err(TrainError::Begun { path: checkpoints }),
        StartFrom::At(path) => vec![path.clone()],
        StartFrom::Latest | StartFrom::Auto => {
            committed.iter().rev().map(|&step| checkpoint::path_of(&checkpoints, step)).collect()
        }
    };
    let mut refusal = None;
    for path in candidates {
        match checkpoint::read(&path, &objective.device()) {
            Ok((manifest, state)) => {
                if manifest.recipe != recipe {
                    let problem =
                        "it was written under another recipe; the run folder's recipe.ron says which"
                            .to_owned();
                    return Err(TrainError::Checkpoint { path, problem });
                }
                info!(step = manifest.step, "resumed from {}", path.display());
                return Ok(Some((manifest.step, state)));
            }
            Err(error) => {
                warn!("{error}; trying the one before");
                refusal = Some(error);
            }
        }
    }
    match (refusal, start) {
        // Every checkpoint is damaged: starting over silently would lose the user's run.
        (Some(error), _) => Err(error),
        (None, StartFrom::Auto) => Ok(None),
        (None, _) => Err(TrainError::NotBegun { path: checkpoints }),
    }
}

/// Counts steps in a row whose losses or gradients were not finite.
fn guard(step: u64, report: &StepReport, before: u32) -> Result<u32, TrainError> {
    let Some(what) = report.non_finite() else { return Ok(0) };
    warn!(step, what, "not finite: this update was left out");
    let times = before + 1;
    if times == NON_FINITE_LIMIT { Err(TrainError::NonFinite { step, what, times }) } else { Ok(times) }
}
