//! `software-gpu`: the path of a GPU, computed by a GPU made of software and compared with the processor's.
//!
//! Mesa's llvmpipe is a Vulkan driver that runs on the processor, so every machine can see this project's GPU path compute:
//! the numbers of the reference libraries, training steps, a resumed run, adapters, pictures, an evaluation, an export, what a
//! step asks of the device, and `gpu-check` in small.

mod checks;
mod compared;
mod stage;
mod wrong_driver;

use std::{env, path::PathBuf, time::Instant};

use clap::Args;

use self::stage::Stage;
use crate::workspace::built;

/// Arguments of `software-gpu`.
#[derive(Debug, Args)]
pub(crate) struct SoftwareGpu {
    /// A binary with the feature `wgpu`, instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The device, as a recipe names it: another one than the default is a real GPU.
    #[arg(long, default_value = "WgpuSoftware()")]
    device: String,
    /// Only the checks whose names contain this.
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    only: String,
}

/// Tells what it found.
type Check = fn(&Stage) -> Result<String, String>;

impl SoftwareGpu {
    pub(crate) fn run(&self) -> Result<(), String> {
        let software = self.device == "WgpuSoftware()";
        if software && env::var_os("VK_DRIVER_FILES").is_none() && stage::driver().is_none() {
            println!(
                "{} has no lvp_icd*.json: the GPU path was not checked (Debian: apt-get install mesa-vulkan-drivers)",
                stage::DRIVERS
            );
            return Ok(());
        }
        let began = Instant::now();
        let gpu = match &self.binary {
            Some(binary) => binary.clone(),
            None => built(&["--profile", "software-gpu", "--features", "wgpu"])?,
        };
        let stage = Stage::new(gpu, built(&["--release"])?, &self.device)?;
        println!("build: {:.0} s", began.elapsed().as_secs_f64());
        let began = Instant::now();
        let checks: [(&str, Check); 12] = [
            ("devices", checks::devices),
            ("wrong driver", wrong_driver::check),
            ("refusal", checks::refusal),
            ("parity", checks::parity),
            ("training", checks::training),
            ("resuming", checks::resuming),
            ("adapters", checks::adapters),
            ("sampling", checks::sampling),
            ("evaluation", checks::evaluation),
            ("plan", checks::plan),
            ("readings", checks::readings),
            ("gpu-check", checks::gpu_check),
        ];
        let mut failed = Vec::new();
        for (name, check) in checks.iter().filter(|(name, _)| name.contains(&self.only)) {
            let began = Instant::now();
            let (verdict, told) = match check(&stage) {
                Ok(told) => ("ok", told),
                Err(problem) => {
                    failed.push(*name);
                    ("FAILED", problem)
                }
            };
            println!("{name}: {verdict} after {:.0} s: {told}", began.elapsed().as_secs_f64());
        }
        println!("software-gpu: {:.0} s without the build", began.elapsed().as_secs_f64());
        if failed.is_empty() { Ok(()) } else { Err(format!("software-gpu: {} failed", failed.join(", "))) }
    }
}
