//! What is compared, one function each.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    compared,
    stage::{
        Side::{self, Gpu, Processor},
        Stage, word_after,
    },
};

/// The families of fixtures that a GPU computes.
const FAMILIES: [&str; 9] = ["unet", "vae", "vit", "text", "openclip", "tokens", "losses", "sched", "train"];
const FIXTURES: &str = "crates/add-parity/tests/fixtures";

/// A denoiser of the main job's layers and a tenth of its values.
const NARROW: &str = "model.backbone=Mini(prediction: V, channels: [16, 32, 32], heads: 2, detail: 8)";
/// The main job on a batch small enough for a processor that acts as a GPU.
const SMALL: [&str; 8] = [
    "batch=2",
    "replicas=1",
    "objective.adversarial.heads=ProjectedHead(virtual_batch: 2)",
    "objective.generator.cool_down=0",
    "preview.prompts=[]",
    "evaluation.samples_after_training=0",
    "run.log_every=1",
    "run.checkpoint_every=10",
];
/// Steps of the run.
const STEPS: usize = 20;
/// Adapters, whose batch is computed in two parts one after the other.
const ADAPTERS: [&str; 3] = ["batch=4", "gradient_accumulation=2", "model.adapter=Lora(rank: 4, alpha: 8.0)"];
const ADAPTER_STEPS: usize = 4;

/// Largest difference of a loss from the processor's, of the loss. Measured: 2.2e-6 in 20 steps on llvmpipe.
const LOSS: f64 = 1e-4;
/// Largest difference of a colour from the processor's, of 255.
const COLOUR: u8 = 2;
/// Most kernels that a step of the emoji recipe launches. Measured: 9,765.
const LAUNCHES: usize = 10_000;
/// How much more than is planned the device's pools may take, of it. Measured: 42 % less.
const MEMORY: f64 = 0.15;
/// How often a step that logs nothing waits for the device.
const READINGS: usize = 4;

/// The first call tests the device; the second must believe it.
pub(super) fn devices(stage: &Stage) -> Result<String, String> {
    let listed = || -> Result<(String, f64), String> {
        let began = Instant::now();
        let said = stage.add(&["devices"])?;
        let name = said.lines().find_map(|line| line.strip_prefix(&stage.device).map(str::trim));
        let name = name.ok_or_else(|| format!("{} is not listed:\n{said}", stage.device))?;
        Ok((name.to_owned(), began.elapsed().as_secs_f64()))
    };
    let ((name, first), (_, again)) = (listed()?, listed()?);
    Ok(format!("{name}; {first:.1} s with the self-test, {again:.1} s without"))
}

/// The self-test once more, with every kernel that is a candidate compiled, timed and compared with the others: elsewhere a software
/// device takes the first that works.
pub(super) fn all_kernels(stage: &Stage) -> Result<String, String> {
    let cache = stage.place("cache-of-all-kernels");
    let environment = [("CUBECL_AUTOTUNE_LEVEL", "full"), ("XDG_CACHE_HOME", cache.as_str())];
    let output = stage.call(&["devices"], &environment)?;
    if output.status.success() {
        return Ok("the self-test passes with the fastest of all kernels".to_owned());
    }
    Err(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A type that the device does not compute in must be an error.
pub(super) fn refusal(stage: &Stage) -> Result<String, String> {
    let device = format!("device={}", stage.device);
    let arguments =
        ["config", "check", "configs/emoji.ron", "--set", &device, "--set", "dtype=(codec: BF16)"];
    let output = stage.call(&arguments, &[])?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(2) && told.contains("bf16") {
        return Ok("bf16 is refused".to_owned());
    }
    Err(format!("expected bf16 to be refused with code 2, got {}:\n{told}", output.status))
}

pub(super) fn parity(stage: &Stage) -> Result<String, String> {
    let families = FAMILIES.iter().flat_map(|family| ["--family", family]);
    let arguments = ["parity", FIXTURES, "--quiet", "--device", &stage.device].into_iter().chain(families);
    let said = stage.add(&arguments.collect::<Vec<_>>())?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn run(stage: &Stage, side: Side, out: &str, steps: usize, more: &[&str]) -> Result<PathBuf, String> {
    let (steps, weights) = (format!("run.steps={steps}"), teacher(stage)?);
    stage.train(side, "configs/emoji.ron", out, &[&SMALL[..], &[NARROW, &weights, &steps], more].concat())
}

/// The weights of a narrow teacher, trained on the processor for two steps, as the main job's recipe names them.
fn teacher(stage: &Stage) -> Result<String, String> {
    let path = stage.at("teacher/model.safetensors");
    if !path.exists() {
        let short = [
            "run.steps=2",
            "batch=4",
            "replicas=1",
            "preview.prompts=[]",
            "evaluation.samples_after_training=0",
        ];
        stage.train(
            Processor,
            "configs/pretrain/emoji-teacher.ron",
            "teacher",
            &[&short, &[NARROW][..]].concat(),
        )?;
    }
    Ok(format!("model.weights=File({:?})", path.to_string_lossy()))
}

pub(super) fn training(stage: &Stage) -> Result<String, String> {
    let gpu = run(stage, Gpu, "whole", STEPS, &[])?;
    let processor = run(stage, Processor, "processor", STEPS, &[])?;
    compared::losses(&gpu, &processor, STEPS, LOSS)
}

/// Half of the steps, and the other half in a new process.
pub(super) fn resuming(stage: &Stage) -> Result<String, String> {
    run(stage, Gpu, "halves", STEPS / 2, &[])?;
    let halves = run(stage, Gpu, "halves", STEPS, &[])?;
    compared::same_checkpoint(&stage.at("whole"), &halves, STEPS)
}

/// Trains adapters, and exports them as if their model were one that other programs know.
pub(super) fn adapters(stage: &Stage) -> Result<String, String> {
    let gpu = run(stage, Gpu, "adapters", ADAPTER_STEPS, &ADAPTERS)?;
    let processor = run(stage, Processor, "adapters-processor", ADAPTER_STEPS, &ADAPTERS)?;
    let told = compared::losses(&gpu, &processor, ADAPTER_STEPS, LOSS)?;
    let (run, out) = (gpu.to_string_lossy(), stage.place("exported"));
    let released = [
        "model.backbone=Sd15(prediction: V)",
        "text=ClipL(weights: \"hf://o/base/text_encoder\")",
        "codec=KlVae(weights: \"hf://o/base/vae\", scaling_factor: 0.18215)",
    ];
    stage.with(Gpu, &["export", &run, &out, "--format", "peft", "--dtype", "f32"], &released)?;
    let exported = Path::new(&out).join("pytorch_lora_weights.safetensors");
    compared::same_values(&gpu.join("pytorch_lora_weights.safetensors"), &exported)?;
    Ok(format!("{told}; exported to the bit"))
}

pub(super) fn sampling(stage: &Stage) -> Result<String, String> {
    let [gpu, processor] = [Gpu, Processor].map(|side| -> Result<String, String> {
        let grid = stage.place(&format!("{side:?}.png"));
        let what = ["sample", "configs/emoji.ron", "--prompt", "a red apple, noto emoji", "--seed", "7"];
        stage.with(side, &[&what[..], &["--count", "2", "--grid", &grid]].concat(), &[])?;
        Ok(grid)
    });
    compared::pictures(Path::new(&gpu?), Path::new(&processor?), COLOUR)
}

pub(super) fn evaluation(stage: &Stage) -> Result<String, String> {
    let sets =
        ["evaluation.rows=[(model: Student, sampler: AddRefine(), steps: 1)]", "evaluation.resamples=0"];
    let [gpu, processor] = [Gpu, Processor].map(|side| {
        let out = stage.place(&format!("evaluation-{side:?}"));
        let said =
            stage.with(side, &["eval", "configs/emoji.ron", "--samples", "16", "--out", &out], &sets)?;
        let row = said.lines().rfind(|line| line.contains("tudent"));
        row.map(|row| row.trim().to_owned()).ok_or_else(|| format!("no row of the student in:\n{said}"))
    });
    Ok(format!("{}; on the processor {}", gpu?, processor?))
}

/// What a step takes, beside what was planned.
pub(super) fn plan(stage: &Stage) -> Result<String, String> {
    let said = stage.with(Gpu, &["plan", "configs/emoji.ron", "--rehearse"], &SMALL[..3])?;
    let off = word_after(&said, " taken, ")?.parse::<f64>().map_err(|error| format!("{error}:\n{said}"))?;
    let launches =
        word_after(&said, "\ntogether ")?.parse::<usize>().map_err(|error| format!("{error}:\n{said}"))?;
    let told = format!("{launches} launches a step, memory {off:+.1} % of the plan");
    if launches > LAUNCHES || off > 100.0 * MEMORY {
        return Err(format!("{told}; expected at most {LAUNCHES}, and {MEMORY} above the plan:\n{said}"));
    }
    Ok(told)
}

/// How often a step waits for the device, from the calls of wgpu that two runs log: the longer one has two steps more.
pub(super) fn readings(stage: &Stage) -> Result<String, String> {
    let weights = teacher(stage)?;
    let of = |steps: usize| -> Result<usize, String> {
        let (out, device) = (stage.place(&format!("readings-{steps}")), format!("device={}", stage.device));
        let steps = format!("run.steps={steps}");
        let quiet = SMALL.into_iter().filter(|set| !set.starts_with("run.log_every"));
        let sets = quiet.chain([NARROW, &weights, "run.log_every=100", steps.as_str(), device.as_str()]);
        let sets = sets.flat_map(|set| ["--set", set]);
        let arguments: Vec<&str> =
            ["train", "configs/emoji.ron", "--out", out.as_str()].into_iter().chain(sets).collect();
        let output = stage.call(&arguments, &[("ADD_LOG", "wgpu_core=trace")])?;
        let told = String::from_utf8_lossy(&output.stderr);
        match (output.status.success(), told.matches("Buffer::map_async").count()) {
            (true, readings) if readings > 0 => Ok(readings),
            _ => Err(format!("expected a run that logs what it reads, got {}:\n{told}", output.status)),
        }
    };
    let (two, four) = (of(2)?, of(4)?);
    let told = format!("{} readings in two steps", four - two);
    if four - two <= 2 * READINGS {
        Ok(told)
    } else {
        Err(format!("{told}, expected at most {}", 2 * READINGS))
    }
}

pub(super) fn gpu_check(stage: &Stage) -> Result<String, String> {
    let table = stage.place("gpu-check.md");
    let fixtures = format!("{FIXTURES}/vit");
    let what = ["gpu-check", "--small", "--device", &stage.device, "--fixtures", &fixtures, "--out", &table];
    stage.add(&what)?;
    let table = fs::read_to_string(&table).map_err(|error| format!("{table}: {error}"))?;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    Ok(format!("{} rows\n{}", rows.len(), rows.join("\n")))
}
