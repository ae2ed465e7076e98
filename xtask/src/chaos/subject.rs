//! What is tormented: the binary `add` at a very small run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sha2::{Digest, Sha256};

use crate::workspace::{built, root};

/// Steps of the run.
pub(super) const STEPS: u64 = 6;
/// Steps between its checkpoints, of which two are kept.
pub(super) const EVERY: u64 = 2;

/// What makes any shipped recipe of emoji small enough for a checkpoint of about a megabyte.
const TINY: [&str; 11] = [
    "model.backbone=Mini(channels: [16], layers: 1, attending_levels: 0, heads: 1, detail: 1)",
    "model.weights=Random()",
    "text=Mini(layers: 1, width: 16, heads: 1, tokens: 8)",
    "batch=2",
    "replicas=1",
    "preview.prompts=[]",
    "evaluation.samples_after_training=0",
    "run.log_every=1",
    "run.sample_every=1000",
    "run.checkpoint_every=2",
    "run.keep=2",
];

/// A teacher of the student's own beginning, drawn from the same seed.
const TEACHER: &str = "Other(backbone: Mini(channels: [16], layers: 1, attending_levels: 0, heads: 1, detail: 1), \
                       schedule: ZeroTerminalSnr(inner: ScaledLinear()), weights: Random())";

/// A recipe that can be tormented.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tormented {
    /// Its file below the root.
    pub(super) recipe: &'static str,
    /// The field that states its teacher.
    teacher: &'static str,
    /// What makes its method small, beside what makes every recipe small.
    sets: &'static [&'static str],
    /// The files that each of its checkpoints holds, without their ending.
    pub(super) files: &'static [&'static str],
}

/// Every recipe that can be tormented; the first is the main job.
pub(super) const ALL: [Tormented; 2] = [
    Tormented {
        recipe: "configs/emoji.ron",
        teacher: "objective.teacher.model",
        sets: &[
            "objective.adversarial.features=MobileNetV2(blocks: [3])",
            "objective.adversarial.heads=ProjectedHead(kernels: [1], projection_width: 4, virtual_batch: 2)",
            "objective.generator.cool_down=0",
        ],
        files: &["student", "ema", "heads", "optimizer_g", "optimizer_d"],
    },
    Tormented {
        recipe: "configs/methods/emoji-dmd2.ron",
        teacher: "objective.teacher",
        sets: &[
            "objective.gan.heads=ProjectedHead(kernels: [1], projection_width: 4, virtual_batch: 2)",
            "objective.generator.cool_down=0",
        ],
        files: &["student", "ema", "fakes", "heads", "optimizer_g", "optimizer_fakes"],
    },
];

/// mpirun passes a signal on and gives its processes a second unless told otherwise. So long the others wait for one that is
/// dead, too.
const MPIRUN: [&str; 3] = ["--mca", "odls_base_sigkill_timeout", "10"];

/// The built binary.
pub(super) struct Subject {
    binary: PathBuf,
    /// What it is run on.
    pub(super) tormented: Tormented,
    /// Overrides beside those of the tiny recipe.
    more: Vec<String>,
}

/// How a run ended.
pub(super) struct Ended {
    /// As a shell counts it.
    pub(super) code: u8,
    /// Whether it exited; a signal ended it otherwise.
    pub(super) exited: bool,
    /// Its standard error.
    pub(super) said: String,
}

impl Subject {
    /// Builds the binary, for runs of this recipe.
    pub(super) fn build(tormented: Tormented) -> Result<Self, String> {
        Self::build_with(tormented, &[], &[])
    }

    /// Builds the binary with cargo's `flags` too, for runs with `more` overrides.
    pub(super) fn build_with(tormented: Tormented, flags: &[&str], more: &[&str]) -> Result<Self, String> {
        let binary = built(&[&["--release"], flags].concat())?;
        let more = more.iter().map(|&set| set.to_owned()).collect();
        Ok(Self { binary, tormented, more })
    }

    /// Starts a run of `steps` steps in `out`.
    pub(super) fn start(&self, out: &Path, resume: &str, steps: u64) -> Result<Child, String> {
        self.start_with(out, resume, steps, &[])
    }

    /// The same with `more` arguments.
    pub(super) fn start_with(
        &self,
        out: &Path,
        resume: &str,
        steps: u64,
        more: &[&str],
    ) -> Result<Child, String> {
        self.spawn(Command::new(&self.binary), out, resume, steps, more)
    }

    /// Starts it in so many processes with `more` arguments; mpirun is the child.
    pub(super) fn start_ranks(
        &self,
        ranks: usize,
        out: &Path,
        resume: &str,
        steps: u64,
        more: &[&str],
    ) -> Result<Child, String> {
        let mut mpirun = Command::new("mpirun");
        mpirun.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string()]).args(MPIRUN);
        mpirun.arg(&self.binary).env("RAYON_NUM_THREADS", "1");
        self.spawn(mpirun, out, resume, steps, more)
    }

    fn spawn(
        &self,
        mut command: Command,
        out: &Path,
        resume: &str,
        steps: u64,
        more: &[&str],
    ) -> Result<Child, String> {
        command.args(["train", self.tormented.recipe, "--resume", resume, "--out"]).arg(out);
        command.args(["--set", &format!("{}={TEACHER}", self.tormented.teacher)]);
        command.args(TINY.iter().chain(self.tormented.sets).flat_map(|set| ["--set", set]));
        command.args(self.more.iter().flat_map(|set| ["--set", set]));
        command.args(["--set", &format!("run.steps={steps}")]);
        command.args(more);
        // The log says from which checkpoint a run goes on.
        command.current_dir(root()).env("ADD_LOG", "info").env("NO_COLOR", "1");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        child.map_err(|e| format!("the run cannot be started: {e}"))
    }

    /// Runs to the end.
    pub(super) fn finish(&self, out: &Path, resume: &str, steps: u64) -> Result<Ended, String> {
        ended(self.start(out, resume, steps)?)
    }
}

/// Waits for the end.
pub(super) fn ended(child: Child) -> Result<Ended, String> {
    let output = child.wait_with_output().map_err(|e| format!("a run cannot be waited for: {e}"))?;
    Ok(Ended {
        code: crate::code(output.status),
        exited: output.status.code().is_some(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Where the checkpoint of `step` lies in the run folder `out`.
pub(super) fn checkpoint(out: &Path, step: u64) -> PathBuf {
    out.join(format!("checkpoints/step-{step:07}"))
}

/// Steps of the committed checkpoints in the run folder `out`, ascending.
pub(super) fn checkpoints(out: &Path) -> Vec<u64> {
    let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok();
    files(&out.join("checkpoints")).iter().filter_map(step).collect()
}

/// Whether `out` holds a checkpoint that is, or was, being written.
pub(super) fn is_writing(out: &Path) -> bool {
    files(&out.join("checkpoints")).iter().any(|path| path.extension().is_some_and(|e| e == "tmp"))
}

/// SHA-256 of every file of the last checkpoint and of the metrics, whole: no line of them holds a time of day or a
/// duration.
pub(super) fn traces(out: &Path) -> Result<BTreeMap<String, String>, String> {
    traces_after(out, STEPS)
}

/// The same after `steps` steps.
pub(super) fn traces_after(out: &Path, steps: u64) -> Result<BTreeMap<String, String>, String> {
    let mut paths = files(&checkpoint(out, steps));
    paths.push(out.join("metrics.jsonl"));
    let hashed = paths.into_iter().map(|path| {
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, format!("{:x}", Sha256::digest(bytes))))
    });
    hashed.collect()
}

/// The step of the last line of the metrics; each step writes one.
pub(super) fn steps_logged(out: &Path) -> u64 {
    fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |text| text.lines().count() as u64)
}

/// Sends a signal to a process.
pub(super) fn kill(signal: &str, process: u32) -> Result<(), String> {
    let status = Command::new("kill").args(["-s", signal, &process.to_string()]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("kill -s {signal} failed")),
        Err(error) => Err(format!("kill cannot be started: {error}")),
    }
}

/// What lies in a folder, sorted; nothing where there is none.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
