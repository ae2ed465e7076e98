//! What is timed, and how its figures pass from the measuring process to the one that asks.

use std::path::{Path, PathBuf};

use add_core::{
    error::CoreError,
    plan::{self, Measures},
    read::{self, LoadedRecipe},
    recipe::Dtype,
    rehearsal::{self, Rehearsed},
};

use super::{super::memory, Line};

/// Steps that are timed after the first.
const STEPS: u64 = 3;

/// One timing.
pub(super) struct Case {
    pub(super) title: String,
    /// Cases of one series grow: where one does not run, the next is not tried.
    pub(super) series: String,
    /// What the frozen networks compute in.
    pub(super) dtype: Dtype,
    recipe: PathBuf,
    sets: Vec<String>,
    kind: Kind,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Training steps.
    Steps(usize),
    /// One picture in one step.
    Picture,
}

/// Figures of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// Seconds of a step, or of a picture.
    pub(super) seconds: f64,
    /// Seconds of the first step or picture, with everything that is compiled or tuned on the way.
    pub(super) first: f64,
    /// Bytes at the fullest moment; 0 where nobody says.
    pub(super) memory: f64,
    /// Kernels that a step launches on a GPU; 0 where they were not counted.
    pub(super) launches: usize,
}

/// All cases on the device that a recipe calls `device`.
pub(super) fn all(configs: &Path, device: &str, small: bool) -> Vec<Case> {
    let of = |dtype: Dtype, name: &str, file: &str, kind: Kind| {
        let series = format!("{name}, {}", dtype.name());
        let mut sets = vec![format!("device={device}")];
        // The tiny text encoder is part of its model, and stays in f32.
        let frozen = if small { &NETWORKS[..4] } else { &NETWORKS };
        let stated: Vec<String> = frozen.iter().map(|network| format!("{network}: {dtype:?}")).collect();
        sets.push(format!("dtype=({})", stated.join(", ")));
        let title = match kind {
            Kind::Steps(batch) => {
                // The whole batch at once, whatever the recipe does with its own.
                let alone = ["replicas=1", "gradient_accumulation=1"].map(str::to_owned);
                sets.extend([format!("batch={batch}")].into_iter().chain(alone));
                format!("{series}, a training step, batch {batch}")
            }
            Kind::Picture => format!("{series}, caption to picture in one step"),
        };
        Case { title, series, dtype, recipe: configs.join(file), sets, kind }
    };
    let models: &[(&str, &str, &[Kind])] = if small {
        &[("emoji, 32 px", "emoji.ron", &[Kind::Steps(1), Kind::Steps(2), Kind::Picture])]
    } else {
        &[
            ("ADD-M, 512 px", "add-m.ron", &[Kind::Steps(1), Kind::Steps(2), Kind::Steps(4), Kind::Steps(8)]),
            ("ADD-XL, 512 px", "add-xl.ron", &[Kind::Steps(1), Kind::Steps(2), Kind::Steps(4)]),
            ("SD-Turbo, 512 px", "sd-turbo.ron", &[Kind::Picture]),
            ("SDXL-Turbo, 512 px", "sdxl-turbo.ron", &[Kind::Picture]),
        ]
    };
    let each = |dtype: Dtype| {
        models
            .iter()
            .flat_map(move |&(name, file, kinds)| kinds.iter().map(move |&kind| of(dtype, name, file, kind)))
    };
    [Dtype::F32, Dtype::BF16].into_iter().flat_map(each).collect()
}

/// The networks of a recipe whose type can be chosen, as it calls them.
const NETWORKS: [&str; 5] = ["model", "teacher", "codec", "features", "text"];

impl Case {
    /// Measures it here and now.
    pub(super) fn measure(&self) -> Result<Measured, CoreError> {
        let loaded = self.load()?;
        let (first, seconds, account) = match self.kind {
            Kind::Steps(_) => {
                let Rehearsed { first, each, account } = rehearsal::train(&loaded, STEPS)?;
                (first, each, account)
            }
            Kind::Picture => rehearsal::sample(&loaded).map(|(first, seconds)| (first, seconds, None))?,
        };
        let (in_use, launches) = account.map_or((0, 0), |account| (account.in_use, account.launches()));
        // Pools that gave memory back take less than was in use.
        let memory = memory(&loaded)?.unwrap_or(0).max(in_use) as f64;
        Ok(Measured { seconds, first, memory, launches })
    }

    fn load(&self) -> Result<LoadedRecipe, CoreError> {
        read::read(&self.recipe, &self.sets)
    }

    /// The case's line in the table.
    pub(super) fn line(&self, outcome: Result<Measured, String>) -> Line {
        let beside = match self.kind {
            Kind::Steps(batch) => self.planned(batch),
            Kind::Picture => "ADD-M, one step, on an A100: 0.09 s (the paper, Table 2)".to_owned(),
        };
        let (result, memory) = match outcome {
            Ok(Measured { seconds, first, memory, launches }) => {
                let launches = match launches {
                    0 => String::new(),
                    launches => format!("; {launches} launches"),
                };
                (
                    format!("{seconds:.3} s (the first {first:.2} s){launches}"),
                    format!("{:.3} GB", memory / 1e9),
                )
            }
            Err(reason) => (format!("not measured: {reason}"), "-".to_owned()),
        };
        Line { what: self.title.clone(), result, memory, beside }
    }

    /// The case's line where the device does not compute in its type.
    pub(super) fn refused(&self) -> Line {
        let [memory, beside] = ["-", "-"].map(str::to_owned);
        let result = format!("not measured: the device does not compute in {}", self.dtype.name());
        Line { what: self.title.clone(), result, memory, beside }
    }

    /// What `add plan` says of its memory.
    fn planned(&self, batch: usize) -> String {
        let plan = self.load().and_then(|loaded| plan::plan(&loaded, plan::kernels(&loaded.recipe)));
        plan.map_or_else(
            |error| format!("no plan: {error}"),
            |plan| format!("planned {:.3} GB", plan.peak(&Measures::default(), batch) / 1e9),
        )
    }
}

/// What a line of figures begins with.
const MARK: &str = "measured";

impl Measured {
    /// As a line of text.
    pub(super) fn line(self) -> String {
        let Self { seconds, first, memory, launches } = self;
        format!("{MARK} {seconds} {first} {memory} {launches}")
    }

    /// From the text that holds its line.
    pub(super) fn read(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix(MARK))?;
        let [seconds, first, memory, launches] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        let [seconds, first, memory] = [seconds.parse().ok()?, first.parse().ok()?, memory.parse().ok()?];
        Some(Self { seconds, first, memory, launches: launches.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_the_way_between_processes() {
        let measured = Measured { seconds: 0.125, first: 3.5, memory: 1e9, launches: 2140 };
        assert_eq!(Measured::read(&format!("noise\n{}\n", measured.line())), Some(measured));
        assert_eq!(Measured::read("measured 1 2"), None);
    }

    #[test]
    fn every_case_has_a_recipe() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        for small in [true, false] {
            for case in all(&configs, "Flex()", small) {
                case.load().unwrap_or_else(|error| panic!("{}: {error}", case.title));
                assert!(
                    !matches!(case.kind, Kind::Steps(n) if case.planned(n).starts_with("no plan")),
                    "{}",
                    case.title
                );
            }
        }
    }
}
