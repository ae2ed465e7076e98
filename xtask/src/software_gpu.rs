//! `software-gpu`: the path of a GPU, computed by a GPU made of software and compared with the processor's.
//!
//! Mesa's llvmpipe is a Vulkan driver that runs on the processor, so every machine can see this project's GPU path compute:
//! the numbers of the reference libraries, training steps, a resumed run, pictures, an evaluation, and `gpu-check` in small.

mod compared;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use clap::Args;
use tempfile::TempDir;

use crate::workspace::{built, root};

/// Arguments of `software-gpu`.
#[derive(Debug, Args)]
pub(crate) struct SoftwareGpu {
    /// A binary with the feature `wgpu`, instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The device, as a recipe names it: another one than the default is a real GPU.
    #[arg(long, default_value = "WgpuSoftware()")]
    device: String,
}

/// The families of fixtures that a GPU computes.
const FAMILIES: [&str; 9] = ["unet", "vae", "vit", "text", "openclip", "tokens", "losses", "sched", "train"];

/// Where distributions keep the description of Mesa's software driver.
const DRIVERS: &str = "/usr/share/vulkan/icd.d";

/// The main job on a batch small enough for a processor that acts as a GPU.
const SMALL: [&str; 8] = [
    "batch=4",
    "replicas=1",
    "objective.adversarial.heads=ProjectedHead(virtual_batch: 4)",
    "objective.generator.cool_down=0",
    "preview.prompts=[]",
    "evaluation.samples_after_training=0",
    "run.log_every=1",
    "run.checkpoint_every=10",
];
/// Steps of the run.
const STEPS: usize = 20;
/// Largest difference of a loss from the processor's, of the loss.
const LOSS: f64 = 1e-2;
/// Largest difference of a colour from the processor's, of 255.
const COLOUR: u8 = 2;

/// Tells what it found.
type Check = fn(&Stage) -> Result<String, String>;

impl SoftwareGpu {
    pub(crate) fn run(&self) -> Result<(), String> {
        let software = self.device == "WgpuSoftware()";
        if software && env::var_os("VK_DRIVER_FILES").is_none() && driver().is_none() {
            println!(
                "{DRIVERS} has no lvp_icd*.json: the GPU path was not checked (Debian: apt-get install mesa-vulkan-drivers)"
            );
            return Ok(());
        }
        let gpu = match &self.binary {
            Some(binary) => binary.clone(),
            None => built(&["--profile", "software-gpu", "--features", "wgpu"])?,
        };
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let stage = Stage { gpu, cpu: built(&["--release"])?, device: self.device.clone(), folder };
        let checks: [(&str, Check); 7] = [
            ("devices", Stage::devices),
            ("parity", Stage::parity),
            ("training", Stage::training),
            ("resuming", Stage::resuming),
            ("sampling", Stage::sampling),
            ("evaluation", Stage::evaluation),
            ("gpu-check", Stage::gpu_check),
        ];
        let mut failed = Vec::new();
        for (name, check) in checks {
            let began = Instant::now();
            let (verdict, told) = match check(&stage) {
                Ok(told) => ("ok", told),
                Err(problem) => {
                    failed.push(name);
                    ("FAILED", problem)
                }
            };
            println!("{name}: {verdict} after {:.0} s: {told}", began.elapsed().as_secs_f64());
        }
        if failed.is_empty() { Ok(()) } else { Err(format!("software-gpu: {} failed", failed.join(", "))) }
    }
}

/// Mesa's software driver.
fn driver() -> Option<PathBuf> {
    let found = fs::read_dir(DRIVERS).into_iter().flatten().flatten().map(|entry| entry.path());
    found
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
        .find(|path| path.extension().is_some_and(|extension| extension == "json"))
}

struct Stage {
    gpu: PathBuf,
    cpu: PathBuf,
    device: String,
    folder: TempDir,
}

impl Stage {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn on_device(&self) -> [String; 2] {
        ["--set".to_owned(), format!("device={}", self.device)]
    }

    /// What `add` prints, which must succeed.
    fn add(&self, binary: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary);
        // No network at all, and no test of an earlier call.
        command.args(arguments).current_dir(root()).env("NO_COLOR", "1").stdin(Stdio::null());
        command.env("XDG_CACHE_HOME", self.at("cache")).env("XDG_RUNTIME_DIR", self.folder.path());
        if let (None, Some(driver)) = (env::var_os("VK_DRIVER_FILES"), driver()) {
            command.env("VK_DRIVER_FILES", driver);
        }
        let output = command.output().map_err(|error| format!("add cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("add {} ended with {}:\n{said}{told}", arguments.join(" "), output.status))
    }

    fn on_gpu(&self, arguments: &[&str]) -> Result<String, String> {
        let device = self.on_device();
        self.add(&self.gpu, &[arguments, &device.each_ref().map(String::as_str)].concat())
    }

    /// The first call tests the device; the second must believe it.
    fn devices(&self) -> Result<String, String> {
        let listed = |first: Instant| -> Result<(String, f64), String> {
            let said = self.add(&self.gpu, &["devices"])?;
            let name = said.lines().find_map(|line| line.strip_prefix(&self.device).map(str::trim));
            let name = name.ok_or_else(|| format!("{} is not listed:\n{said}", self.device))?;
            Ok((name.to_owned(), first.elapsed().as_secs_f64()))
        };
        let (name, first) = listed(Instant::now())?;
        let (_, again) = listed(Instant::now())?;
        Ok(format!("{name}; {first:.1} s with the self-test, {again:.1} s without"))
    }

    fn parity(&self) -> Result<String, String> {
        let families = FAMILIES.iter().flat_map(|family| ["--family", family]);
        let path = "crates/add-parity/tests/fixtures";
        let arguments: Vec<&str> =
            ["parity", path, "--quiet", "--device", &self.device].into_iter().chain(families).collect();
        let said = self.add(&self.gpu, &arguments)?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    fn train(&self, binary: &Path, device: &str, out: &str, steps: usize) -> Result<PathBuf, String> {
        let (path, device, steps) = (self.at(out), format!("device={device}"), format!("run.steps={steps}"));
        let out = path.to_string_lossy();
        let mut arguments = vec!["train", "configs/emoji.ron", "--out", &out, "--resume", "auto"];
        arguments
            .extend(SMALL.iter().copied().chain([device.as_str(), &steps]).flat_map(|set| ["--set", set]));
        self.add(binary, &arguments)?;
        Ok(path)
    }

    fn training(&self) -> Result<String, String> {
        let gpu = self.train(&self.gpu, &self.device, "whole", STEPS)?;
        let cpu = self.train(&self.cpu, "Flex()", "processor", STEPS)?;
        compared::losses(&gpu, &cpu, STEPS, LOSS)
    }

    /// Half of the steps, and the other half in a new process.
    fn resuming(&self) -> Result<String, String> {
        self.train(&self.gpu, &self.device, "halves", STEPS / 2)?;
        let halves = self.train(&self.gpu, &self.device, "halves", STEPS)?;
        compared::same_checkpoint(&self.at("whole"), &halves, STEPS)
    }

    fn sampling(&self) -> Result<String, String> {
        let [gpu, cpu] = ["gpu.png", "cpu.png"].map(|name| self.at(name));
        let sample = |grid: &Path| {
            let arguments =
                ["sample", "configs/emoji.ron", "--prompt", "a red apple, noto emoji", "--seed", "7"];
            let more = ["--count", "2", "--grid"].map(str::to_owned).into_iter();
            let more = more.chain([grid.to_string_lossy().into_owned()]);
            arguments.map(str::to_owned).into_iter().chain(more).collect::<Vec<_>>()
        };
        let [for_gpu, for_cpu] = [&gpu, &cpu].map(|grid| sample(grid));
        self.on_gpu(&for_gpu.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.add(&self.cpu, &for_cpu.iter().map(String::as_str).collect::<Vec<_>>())?;
        compared::pictures(&gpu, &cpu, COLOUR)
    }

    fn evaluation(&self) -> Result<String, String> {
        let out = self.at("evaluation");
        let out = out.to_string_lossy();
        let one_row = "evaluation.rows=[(model: Student, sampler: AddRefine(), steps: 1)]";
        let said = self.on_gpu(&[
            "eval",
            "configs/emoji.ron",
            "--samples",
            "16",
            "--out",
            &out,
            "--set",
            one_row,
            "--set",
            "evaluation.resamples=0",
        ])?;
        Ok(said.lines().rfind(|line| line.contains("tudent")).unwrap_or_default().trim().to_owned())
    }

    fn gpu_check(&self) -> Result<String, String> {
        let table = self.at("gpu-check.md");
        let path = table.to_string_lossy();
        let fixtures = "crates/add-parity/tests/fixtures/vit";
        self.add(
            &self.gpu,
            &["gpu-check", "--small", "--device", &self.device, "--fixtures", fixtures, "--out", &path],
        )?;
        let table = fs::read_to_string(&table).map_err(|error| format!("{path}: {error}"))?;
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        Ok(format!("{} rows\n{}", rows.len(), rows.join("\n")))
    }
}
