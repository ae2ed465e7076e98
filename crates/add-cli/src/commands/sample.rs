//! `add sample`: pictures from captions.

use std::{fs, path::PathBuf};

use add_core::{assemble, error::CoreError, sampled::Wanted};
use add_data::{Grid, pictures, write_png};
use clap::Args;

use super::{RecipeArgs, student_file};
use crate::{Outcome, progress::say};

/// Arguments of `sample`.
#[derive(Debug, Args)]
pub(crate) struct Sample {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What the pictures should show; may be repeated.
    #[arg(long, required = true)]
    prompt: Vec<String>,
    /// What guidance should lead away from.
    #[arg(long, default_value = "")]
    negative: String,
    /// Denoiser calls [default: the recipe's].
    #[arg(long)]
    steps: Option<usize>,
    /// Guidance scale, 1 for none [default: the recipe's].
    #[arg(long)]
    guidance: Option<f64>,
    /// Seed of the noise; the same seed gives the same pictures.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures per prompt.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Write all pictures as one grid.
    #[arg(long, value_name = "PNG")]
    grid: Option<PathBuf>,
    /// Write each picture by itself into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The model [default: that of the recipe's run, else the one shipped with the recipe].
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

impl Sample {
    pub(crate) fn run(&self) -> Outcome {
        let loaded = self.recipe.read(&[])?;
        if self.grid.is_none() && self.out.is_none() {
            return Err(CoreError::Request(
                "nowhere to write to: give --grid FILE.png or --out FOLDER".to_owned(),
            ));
        }
        let (steps, count) = (self.steps.unwrap_or(loaded.recipe.sampling.steps), self.count);
        if steps == 0 || count == 0 {
            return Err(CoreError::Request("--steps and --count: expected positive numbers".to_owned()));
        }
        let model = assemble::sampled(&loaded, &student_file(self.weights.as_ref(), None, &loaded)?)?;
        let codec = loaded.recipe.codec.init(&assemble::device(loaded.recipe.device)?)?;
        let captions: Vec<String> =
            self.prompt.iter().flat_map(|p| std::iter::repeat_n(p.clone(), count)).collect();
        let wanted = Wanted {
            captions: &captions,
            negative: &self.negative,
            sampler: &*loaded.recipe.sampling.sampler,
            steps,
            guidance: self.guidance.unwrap_or(loaded.recipe.sampling.guidance),
            seed: self.seed,
            first: 0,
        };
        let made = pictures(&model.generate(&loaded.recipe, &*codec, &wanted));
        let data = |error: add_data::DataError| CoreError::Request(error.to_string());
        let (seed, steps) = (self.seed.to_string(), steps.to_string());
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).map_err(CoreError::io(folder))?;
            for (i, (picture, prompt)) in made.iter().zip(&captions).enumerate() {
                let text = [
                    ("prompt", prompt.as_str()),
                    ("seed", &seed),
                    ("steps", &steps),
                    ("recipe", &loaded.recipe.name),
                ];
                write_png(&folder.join(format!("{i:04}.png")), picture, &text).map_err(data)?;
            }
            say(&format!("{} pictures in {}", made.len(), folder.display()));
        }
        if let Some(path) = &self.grid {
            let scale = (96 / made.first().map_or(96, |p| p.width().max(1))).max(1);
            let grid = Grid::new(made, count).map_err(data)?.scale(scale).rows(self.prompt.iter().cloned());
            let prompts = self.prompt.join("; ");
            let text = [
                ("prompt", prompts.as_str()),
                ("seed", &seed),
                ("steps", &steps),
                ("recipe", &loaded.recipe.name),
            ];
            write_png(path, &grid.draw(), &text).map_err(data)?;
            say(&format!("{}", path.display()));
        }
        Ok(0)
    }
}
