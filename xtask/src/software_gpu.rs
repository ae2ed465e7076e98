//! `software-gpu`: the path of a GPU, computed by a GPU made of software and compared with the processor's.
//!
//! Mesa's llvmpipe is a Vulkan driver that runs on the processor, so every machine can see this project's GPU path compute:
//! the numbers of the reference libraries, training steps, a resumed run, adapters, pictures, an evaluation, an export, what a
//! step asks of the device, and `gpu-check` in small.

mod checks;
mod compared;
mod stage;
mod wrong_driver;

use std::{env, path::PathBuf, thread, time::Instant};

use clap::Args;

use self::stage::Stage;
use crate::workspace::built;

/// Arguments of `software-gpu`.
#[derive(Debug, Args)]
pub(crate) struct SoftwareGpu {
    /// A binary with the feature `wgpu`, instead of the one that is built by default.
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

/// The checks by name, in two lanes that take about as long as each other. Later ones of a lane use what earlier ones left.
const LANES: [&[(&str, Check)]; 2] = [
    &[
        ("devices", checks::devices),
        ("training", checks::training),
        ("resuming", checks::resuming),
        ("adapters", checks::adapters),
        ("readings", checks::readings),
        ("sampling", checks::sampling),
        ("evaluation", checks::evaluation),
        ("all kernels", checks::all_kernels),
    ],
    &[
        ("wrong driver", wrong_driver::check),
        ("refusal", checks::refusal),
        ("parity", checks::parity),
        ("plan of adapters", checks::adapters_plan),
        ("gpu-check", checks::gpu_check),
    ],
];

impl SoftwareGpu {
    pub(crate) fn run(&self) -> Result<(), String> {
        let software = self.device == "WgpuSoftware()";
        if software && env::var_os("VK_DRIVER_FILES").is_none() && stage::driver().is_none() {
            say!(
                "{} has no lvp_icd*.json: the GPU path was not checked (Debian: apt-get install mesa-vulkan-drivers)",
                stage::DRIVERS
            );
            return Ok(());
        }
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => built(&["--release"])?,
        };
        let began = Instant::now();
        // A kernel is compiled by one thread, so two lanes keep two cores busy; each has a folder and caches of its own, but for the
        // kernels that the driver has compiled, which are most of the work.
        let kernels = stage::temporary()?;
        let stages = [
            Stage::new(binary.clone(), &self.device, kernels.path())?,
            Stage::new(binary, &self.device, kernels.path())?,
        ];
        let failed = thread::scope(|scope| {
            let lanes =
                LANES.iter().zip(&stages).map(|(lane, stage)| scope.spawn(move || self.lane(stage, lane)));
            let lanes: Vec<_> = lanes.collect();
            let failed = lanes.into_iter().map(|lane| lane.join().map_err(|_| "a check panicked".to_owned()));
            failed.collect::<Result<Vec<_>, String>>()
        })?;
        let failed = failed.concat();
        say!(
            "software-gpu: {} checks passed, {} failed, in {:.0} s",
            LANES.iter().flat_map(|lane| self.wanted(lane)).count() - failed.len(),
            failed.len(),
            began.elapsed().as_secs_f64()
        );
        if failed.is_empty() { Ok(()) } else { Err(format!("software-gpu: {} failed", failed.join(", "))) }
    }

    /// The checks of a lane that were asked for.
    fn wanted(&self, lane: &'static [(&str, Check)]) -> impl Iterator<Item = &'static (&'static str, Check)> {
        lane.iter().filter(|(name, _)| name.contains(&self.only))
    }

    /// Does the checks of a lane; returns the names of those that failed.
    fn lane(&self, stage: &Stage, lane: &'static [(&str, Check)]) -> Vec<&'static str> {
        let mut failed = Vec::new();
        for (name, check) in self.wanted(lane) {
            let began = Instant::now();
            let (verdict, told) = match check(stage) {
                Ok(told) => ("ok", told),
                Err(problem) => {
                    failed.push(*name);
                    ("FAILED", problem)
                }
            };
            say!("{name}: {verdict} after {:.0} s: {told}", began.elapsed().as_secs_f64());
        }
        failed
    }
}
