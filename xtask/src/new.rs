//! `new`: the skeleton of a plugin, one file and its `mod` line.

use std::{fs, path::Path};

use clap::Args;

/// Arguments of `new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Family: weighting, schedule, sampler or metric.
    family: String,
    /// Name in kebab case, such as min-snr; its RON name is then `MinSnr`.
    name: String,
}

impl New {
    pub(crate) fn run(&self) -> Result<(), String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in the workspace")?;
        let (folder, body) = template(&self.family)?;
        let valid = self.name.starts_with(|c: char| c.is_ascii_lowercase())
            && self.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !valid {
            return Err(format!("expected a name in kebab case such as min-snr, got {:?}", self.name));
        }
        let module = self.name.replace('-', "_");
        let type_name: String = self.name.split('-').map(capitalised).collect();
        let file = root.join("plugins").join(folder).join("src").join(format!("{module}.rs"));
        if file.exists() {
            return Err(format!("{} exists already", file.display()));
        }
        let library = file.with_file_name("lib.rs");
        let text = fs::read_to_string(&library).map_err(|e| format!("{}: {e}", library.display()))?;
        let text = with_module(&text, &module)?;
        fs::write(&file, body.replace("NAME", &type_name)).map_err(|e| format!("{}: {e}", file.display()))?;
        fs::write(&library, text).map_err(|e| format!("{}: {e}", library.display()))?;
        println!("{}: write the formula, then two hand-computed values and one law as tests", file.display());
        Ok(())
    }
}

/// `lib.rs` with one more `mod` line, after the others.
fn with_module(text: &str, module: &str) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines.iter().rposition(|line| line.starts_with("mod "));
    lines.insert(last.ok_or("lib.rs has no `mod` line to stand beside")? + 1, format!("mod {module};"));
    Ok(lines.join("\n") + "\n")
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// Folder and skeleton of a family.
fn template(family: &str) -> Result<(&'static str, &'static str), String> {
    match family {
        "weighting" => Ok(("weightings", WEIGHTING)),
        "schedule" => Ok(("schedules", SCHEDULE)),
        "sampler" => Ok(("samplers", SAMPLER)),
        "metric" => Ok(("metrics", METRIC)),
        other => Err(format!(
            "no skeleton for the family `{other}`; there are weighting, schedule, sampler and metric"
        )),
    }
}

const WEIGHTING: &str = r#"//! `NAME`: the formula of `c(t)`, and its source.

use add_plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// What it does, and when to choose it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NAME {}

impl Weighting for NAME {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        schedule.alpha(t)
    }
}

inventory::submit!(Entry::weighting::<NAME>("NAME", "source"));
"#;

const SCHEDULE: &str = r#"//! `NAME`: the formula of `alpha_bar_t`, and its source.

use add_plugin::{Entry, NoiseSchedule, Schedule, inventory};
use serde::{Deserialize, Serialize};

/// What it does, and which models use it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NAME {
    /// Training timesteps.
    pub steps: usize,
}

impl Default for NAME {
    fn default() -> Self {
        Self { steps: 1000 }
    }
}

impl Schedule for NAME {
    fn tables(&self) -> NoiseSchedule {
        let alpha_bar = |i: usize| 1.0 - i as f64 / (self.steps + 1) as f64;
        NoiseSchedule::from_alphas_cumprod(&(1..=self.steps).map(alpha_bar).collect::<Vec<f64>>())
    }
}

inventory::submit!(Entry::schedule::<NAME>("NAME", "source"));
"#;

const SAMPLER: &str = r#"//! `NAME`: the update rule, and its source.

use add_plugin::{DenoiserCall, Entry, Sampler, SamplerContext, Timesteps, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What it does, and for which models.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NAME {}

impl Sampler for NAME {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let batch = context.noise.dims()[0];
        let mut x = context.noise.clone();
        for t in self.timesteps(context) {
            x = denoiser(x, &Timesteps::same(t, batch)).x0;
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        let last = context.schedule.steps();
        (1..=context.steps).rev().map(|i| (i * last / context.steps - 1) as f64).collect()
    }
}

inventory::submit!(Entry::sampler::<NAME>("NAME", "source"));
"#;

const METRIC: &str = r#"//! `NAME`: the formula, its unit, and its source.

use add_plugin::{Entry, Labels, Measurement, Metric, MetricValue, Pixels, PluginError, inventory};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// What it measures; smaller or larger is better.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NAME {}

impl Metric for NAME {
    fn init(&self, _device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Sums::default()))
    }
}

#[derive(Default)]
struct Sums {
    sum: f64,
    n: usize,
}

impl Measurement for Sums {
    fn add_reference(&mut self, _pictures: &Pixels) {}

    fn add_generated(&mut self, pictures: &Pixels, _labels: &[Labels]) {
        self.sum += pictures.0.clone().into_data().iter::<f64>().sum::<f64>();
        self.n += pictures.0.dims()[0];
    }

    fn finish(&mut self) -> Result<Vec<MetricValue>, PluginError> {
        let Self { sum, n } = std::mem::take(self);
        Ok(vec![MetricValue { name: "name".to_owned(), value: sum / n as f64, n }])
    }
}

inventory::submit!(Entry::metric::<NAME>("NAME", "source"));
"#;
