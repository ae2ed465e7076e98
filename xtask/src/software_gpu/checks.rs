//! What is compared, one function each.

use std::{
    collections::BTreeSet,
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
const SMALL: [&str; 9] = [
    "batch=2",
    "replicas=1",
    "objective.adversarial.heads=ProjectedHead(virtual_batch: 2)",
    "objective.generator.cool_down=0",
    "preview.prompts=[]",
    "evaluation.samples_after_training=0",
    "run.log_every=1",
    "run.checkpoint_every=4",
    "run.keep=10",
];
/// Adapters beside Stable Diffusion 2.1, at a size for a processor that acts as a GPU: a U-Net of two narrow levels, the tiny
/// decoder and small networks around it, pictures of 64 pixels.
const REDUCED: [&str; 13] = [
    "data=ImageFolder(path: \"data/pictures\", size: 64)",
    "batch=2",
    "gradient_accumulation=1",
    "dtype=()",
    "text=Mini()",
    "codec=TinyVae(weights: \"hf://madebyollin/taesd\")",
    "model.backbone=Mini(prediction: Epsilon, latent_channels: 4, channels: [128, 256], layers: 1, attending_levels: 1)",
    "model.adapter=Lora(rank: 8, alpha: 8.0)",
    "objective.adversarial.features=MobileNetV2(blocks: [3, 6, 10, 13])",
    "objective.adversarial.heads=ProjectedHead(virtual_batch: 2)",
    "objective.adversarial.text_encoder=Denoiser",
    "objective.adversarial.image_encoder=Features",
    "objective.distillation.space=Crop(size: 4)",
];
/// Steps of the run.
const STEPS: usize = 20;
/// Steps of the run in two processes: those of the other's first checkpoint.
const RESUMED: usize = 4;
/// Adapters, whose batch is computed in two parts one after the other.
const ADAPTERS: [&str; 3] = ["batch=4", "gradient_accumulation=2", "model.adapter=Lora(rank: 4, alpha: 8.0)"];
const ADAPTER_STEPS: usize = 4;

/// Largest difference of a loss from the processor's, of the loss. Measured: 2.2e-6 in 20 steps on llvmpipe.
const LOSS: f64 = 1e-4;
/// Largest difference of an evaluation's figure from the processor's, of the figure.
const FIGURE: f64 = 1e-2;
/// Largest difference of a colour from the processor's, of 255.
const COLOUR: u8 = 2;
/// Most kernels that a step of the emoji recipe launches. Measured: 9,765 to 9,861.
const LAUNCHES: f64 = 10_000.0;
/// How far from what is planned the memory in use may be at a step's fullest moment, of it.
const MEMORY: f64 = 0.15;
/// How often a step waits for the device at most: for the losses of the heads, for each of the student's two terms with the norm of its gradient,
/// and for both networks' gradient norms, which decide whether a step is taken.
const READINGS: usize = 5;

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

/// The counts of every family, and why rows were skipped.
pub(super) fn parity(stage: &Stage) -> Result<String, String> {
    let families = FAMILIES.iter().flat_map(|family| ["--family", family]);
    let arguments = ["parity", FIXTURES, "--device", &stage.device].into_iter().chain(families);
    let output = stage.call(&arguments.collect::<Vec<_>>(), &[])?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let failed: Vec<&str> = said.lines().filter(|line| line.contains("FAILED")).collect();
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}:\n{}\n{told}", output.status, failed.join("\n")));
    }
    let counts = FAMILIES.iter().map(|family| {
        let line = said.lines().find(|line| line.starts_with(&format!("{family}: ")));
        line.filter(|line| line.contains(" passed, "))
            .ok_or_else(|| format!("no count of {family} in:\n{said}"))
    });
    let mut told: Vec<&str> = counts.collect::<Result<_, _>>()?;
    told.extend(said.lines().last());
    let reasons: BTreeSet<&str> =
        said.lines().filter_map(|line| Some(line.split_once(" skipped: ")?.1)).collect();
    told.extend(reasons);
    Ok(told.join("\n  "))
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

/// The first steps once more, half of them in a new process.
pub(super) fn resuming(stage: &Stage) -> Result<String, String> {
    run(stage, Gpu, "halves", RESUMED / 2, &[])?;
    let halves = run(stage, Gpu, "halves", RESUMED, &[])?;
    compared::same_checkpoint(&stage.at("whole"), &halves, RESUMED)
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
        "data=Emoji(size: 64)",
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

/// Every figure of a small evaluation beside the processor's, of metrics that ask for no real pictures: of those there are thousands, at
/// 30 ms each.
pub(super) fn evaluation(stage: &Stage) -> Result<String, String> {
    let sets = [
        "evaluation.rows=[(model: Student, sampler: AddRefine(), steps: 1)]",
        "evaluation.resamples=0",
        "evaluation.metrics=[CaptionAccuracy(judge: EmojiJudge()), Diversity()]",
    ];
    let [gpu, processor] = [Gpu, Processor].map(|side| -> Result<PathBuf, String> {
        let out = stage.place(&format!("evaluation-{side:?}"));
        stage.with(side, &["eval", "configs/emoji.ron", "--samples", "16", "--out", &out], &sets)?;
        Ok(Path::new(&out).join("evaluation.json"))
    });
    compared::figures(&gpu?, &processor?, FIGURE)
}

/// Memory of a step of adapters beside what was planned; `gpu-check` shows that of the main job.
pub(super) fn adapters_plan(stage: &Stage) -> Result<String, String> {
    let said = stage.with(Gpu, &["plan", "configs/add-m-24gb.ron", "--rehearse"], &REDUCED)?;
    let off = word_after(&said, " at the fullest moment, ")?;
    let off: f64 = off.parse().map_err(|error| format!("{error}:\n{said}"))?;
    let told = format!("memory {off:+.1} % of the plan");
    if off.abs() <= 100.0 * MEMORY {
        Ok(told)
    } else {
        Err(format!("{told}, expected {MEMORY} of it:\n{said}"))
    }
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

/// Every row must have figures, and a step's launches and memory must be what is expected of it.
pub(super) fn gpu_check(stage: &Stage) -> Result<String, String> {
    let table = stage.place("gpu-check.md");
    let fixtures = format!("{FIXTURES}/text");
    let what = ["gpu-check", "--small", "--device", &stage.device, "--fixtures", &fixtures, "--out", &table];
    stage.add(&what)?;
    let table = fs::read_to_string(&table).map_err(|error| format!("{table}: {error}"))?;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let problems: Vec<String> = rows.iter().filter_map(|row| figures(row).err()).collect();
    let told = format!("{} rows\n  {}", rows.len(), rows.join("\n  "));
    if problems.is_empty() && rows.len() > 3 {
        return Ok(told);
    }
    Err(format!("{}; {told}", problems.join("; ")))
}

/// Looks at a row of the table.
fn figures(row: &str) -> Result<(), String> {
    if row.contains("the device does not compute in") {
        return Ok(());
    }
    if row.contains("not measured") {
        return Err("a row has no figures".to_owned());
    }
    if !row.contains(", a training step, ") {
        return Ok(());
    }
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let [_, _, result, memory, beside, _] = cells[..] else {
        return Err("a row has not four cells".to_owned());
    };
    let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let launches = result.rsplit("; ").next().and_then(number).ok_or("a step's launches are not told")?;
    let (used, planned) = number(memory).zip(number(beside)).ok_or("a step's memory is not told")?;
    if launches > LAUNCHES {
        return Err(format!("{launches} launches a step, expected at most {LAUNCHES}"));
    }
    if (used / planned - 1.0).abs() > MEMORY {
        return Err(format!("{used} GB in use where {planned} were planned, expected {MEMORY} of it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_figures_or_far_from_the_plan_is_told() {
        let step = |launches: usize, memory: f64| {
            format!(
                "| emoji, f32, a training step, batch 2 | 4.1 s (the first 40.2 s); {launches} launches | {memory} GB | planned 0.172 GB |"
            )
        };
        assert_eq!(figures(&step(9_861, 0.166)), Ok(()));
        assert!(figures(&step(10_001, 0.166)).expect_err("too many").contains("10001 launches"));
        for memory in [0.14, 0.21] {
            assert!(
                figures(&step(9_861, memory)).expect_err("far").contains("0.172 were planned"),
                "{memory}"
            );
        }
        assert!(figures("| emoji | not measured: it panicked | - | - |").is_err());
        assert_eq!(figures("| emoji | not measured: the device does not compute in bf16 | - | - |"), Ok(()));
        assert_eq!(figures("| parity, text | 6 passed, 0 failed, 0 skipped | - | tolerances |"), Ok(()));
    }
}
