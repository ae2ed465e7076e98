//! `add sample`: pictures from captions.

use std::{
    fs,
    path::{Path, PathBuf},
};

use add_core::{
    assemble, device,
    error::CoreError,
    many::{Many, Shard},
    read::{LoadedRecipe, show},
    recipe::{LongPrompt, Recipe, SampleRequest, SampledModel},
    request::{MAX_PICTURES, check_request, picture_start},
};
use add_data::{Grid, pictures, read_prompts, write_png};
use add_plugin::{Autoencoder, Start};
use clap::{Args, ValueEnum};

use super::{RecipeArgs, sampled_model};
use crate::{
    Outcome,
    progress::{Counter, say},
};

/// Longest text that a warning quotes, in characters.
const TOLD: usize = 300;

/// Arguments of `sample`.
#[derive(Debug, Args)]
pub(crate) struct Sample {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What the pictures should show; may be repeated.
    #[arg(long, required_unless_present = "prompts", conflicts_with = "prompts")]
    prompt: Vec<String>,
    /// A list of prompts, .txt, .jsonl or .csv: one picture each, 000000.png and so on, into --out. Pictures that exist
    /// are not made again.
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["grid", "init", "count"])]
    prompts: Option<PathBuf>,
    /// Which share of --prompts to make, such as 0/4, 1/4, 2/4 and 3/4 in four processes.
    #[arg(long, value_name = "I/N", requires = "prompts")]
    shard: Option<Shard>,
    /// What the pictures should not show; used by guidance above 1.
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
    /// A picture to start from, with noise added; it is cropped to its central square and resized.
    #[arg(long, value_name = "PICTURE")]
    init: Option<PathBuf>,
    /// How much of --init is changed: the fraction of the steps that is done, above 0 and at most 1.
    #[arg(long, default_value_t = 0.8, requires = "init")]
    strength: f64,
    /// What becomes of a prompt with more tokens than the text encoder takes [default: the recipe's].
    #[arg(long, value_enum, ignore_case = true)]
    long_prompt: Option<Long>,
    /// Pictures per prompt.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Write all pictures as one grid.
    #[arg(long, value_name = "PNG")]
    grid: Option<PathBuf>,
    /// Write every picture as a file into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The model: a file of this project, a diffusers folder, a single file of Stable Diffusion, or hf://owner/repo
    /// [default: that of the recipe's run, else the one shipped with or named by the recipe].
    #[arg(long, value_name = "PLACE")]
    weights: Option<String>,
}

/// What becomes of a long prompt.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Long {
    /// Its end is left out, as in training.
    Cut,
    /// It is encoded in windows, one after the other, as ComfyUI and A1111's web UI do.
    Chunks,
}

impl From<Long> for LongPrompt {
    fn from(long: Long) -> Self {
        match long {
            Long::Cut => Self::Cut,
            Long::Chunks => Self::Chunks,
        }
    }
}

impl Sample {
    pub(crate) fn run(&self) -> Outcome {
        let mut loaded = self.recipe.read(&[])?;
        if let Some(long) = self.long_prompt {
            loaded.recipe.sampling.long_prompt = long.into();
        }
        if self.grid.is_none() && self.out.is_none() {
            return Err(CoreError::Request(
                "nowhere to write to: give --grid FILE.png or --out FOLDER".to_owned(),
            ));
        }
        let (steps, count) = (self.steps.unwrap_or(loaded.recipe.sampling.steps), self.count);
        if let (Some(list), Some(folder)) = (&self.prompts, &self.out) {
            return self.list(&mut loaded, list, folder, steps);
        }
        if self.prompt.len().saturating_mul(count) > MAX_PICTURES {
            return Err(CoreError::Request(format!(
                "--count: expected at most {MAX_PICTURES} pictures of all prompts together, got {count} of each"
            )));
        }
        let captions: Vec<String> =
            self.prompt.iter().flat_map(|p| std::iter::repeat_n(p.clone(), count)).collect();
        let guidance = self.guidance.unwrap_or(loaded.recipe.sampling.guidance);
        check_request(&captions, &self.negative, steps, guidance)?;
        let model = sampled_model(&mut loaded, self.weights.as_deref())?.in_types(loaded.recipe.dtype);
        self.say_left_out(&loaded.recipe, &model);
        let codec = assemble::codec(&loaded.recipe, &device::of(&loaded.recipe)?)?;
        let request = SampleRequest {
            captions: &captions,
            negative: &self.negative,
            sampler: &*loaded.recipe.sampling.sampler,
            steps,
            guidance,
            seed: self.seed,
            first: 0,
            size: loaded.recipe.data.size(),
            start: self.start(&loaded.recipe, &*codec, steps)?,
        };
        let made = pictures(&model.generate(&loaded.recipe, &*codec, &request));
        let data = |error: add_data::DataError| CoreError::Request(error.to_string());
        let (seed, steps, recipe) = (self.seed.to_string(), steps.to_string(), show(&loaded.recipe));
        let guidance = request.guidance.to_string();
        let made_with = [
            ("negative", self.negative.as_str()),
            ("seed", &seed),
            ("steps", &steps),
            ("guidance", &guidance),
            ("recipe", &recipe),
        ];
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).map_err(CoreError::io(folder))?;
            for (i, (picture, prompt)) in made.iter().zip(&captions).enumerate() {
                let text = [&[("prompt", prompt.as_str())], made_with.as_slice()].concat();
                write_png(&folder.join(format!("{i:04}.png")), picture, &text).map_err(data)?;
            }
            say(&format!("{} pictures in {}", made.len(), folder.display()));
        }
        if let Some(path) = &self.grid {
            let scale = (96 / made.first().map_or(96, |p| p.width().max(1))).max(1);
            let grid = Grid::new(made, count).map_err(data)?.scale(scale).rows(self.prompt.iter().cloned());
            let prompts = self.prompt.join("; ");
            let text = [&[("prompt", prompts.as_str())], made_with.as_slice()].concat();
            write_png(path, &grid.draw(), &text).map_err(data)?;
            say(&format!("{}", path.display()));
        }
        Ok(0)
    }

    /// Names the words that the text encoder does not see.
    fn say_left_out(&self, recipe: &Recipe, model: &SampledModel) {
        if recipe.sampling.long_prompt != LongPrompt::Cut {
            return;
        }
        let prompts = self.prompt.iter().map(|prompt| ("--prompt", prompt));
        for (argument, prompt) in prompts.chain([("--negative", &self.negative)]) {
            if let Some(words) = model.text.left_out(prompt) {
                let count = words.split_whitespace().count();
                let shown: String = words.chars().take(TOLD).collect();
                let more = if shown.len() < words.len() { "…" } else { "" };
                let tokens = recipe.text.info().tokens;
                tracing::warn!(
                    "{argument}: the text encoder takes {tokens} tokens with start and end: its last {count} words are \
                     left out, from \"{shown}{more}\" on; --long-prompt Chunks takes them too"
                );
            }
        }
    }

    /// A picture for each prompt of `--prompts`.
    fn list(&self, loaded: &mut LoadedRecipe, list: &Path, folder: &Path, steps: usize) -> Outcome {
        let prompts = read_prompts(list).map_err(|error| CoreError::Request(error.to_string()))?;
        let prompts: Vec<String> = prompts.into_iter().map(|prompt| prompt.text).collect();
        let guidance = self.guidance.unwrap_or(loaded.recipe.sampling.guidance);
        // A list may be longer than what is made at once.
        for part in prompts.chunks(MAX_PICTURES) {
            check_request(part, &self.negative, steps, guidance)?;
        }
        let model = sampled_model(loaded, self.weights.as_deref())?.in_types(loaded.recipe.dtype);
        say_left_out_of(&prompts, &loaded.recipe, &model);
        let codec = assemble::codec(&loaded.recipe, &device::of(&loaded.recipe)?)?;
        let many = Many {
            recipe: &loaded.recipe,
            model: &model,
            codec: &*codec,
            prompts: &prompts,
            negative: &self.negative,
            sampler: &*loaded.recipe.sampling.sampler,
            steps,
            guidance,
            seed: self.seed,
            shard: self.shard.unwrap_or(Shard { index: 0, of: 1 }),
        };
        let mut counter = Counter::new();
        let made =
            many.make(folder, &mut |done, total| counter.show("pictures", done as u64, total as u64))?;
        say(&format!("{made} pictures made in {}", folder.display()));
        Ok(0)
    }

    /// Noise, or the picture of `--init` as latents.
    fn start(&self, recipe: &Recipe, codec: &dyn Autoencoder, steps: usize) -> Result<Start, CoreError> {
        let Some(path) = &self.init else { return Ok(Start::Noise) };
        let strength = self.strength;
        if !(strength > 0.0 && strength <= 1.0) || steps as f64 * strength < 1.0 {
            return Err(CoreError::Request(format!(
                "--strength: expected a number above 0 up to 1 that leaves at least one of {steps} steps, got {strength}"
            )));
        }
        picture_start(recipe, codec, path, strength)
    }
}

/// Counts the prompts of a list of which the text encoder does not see all words.
fn say_left_out_of(prompts: &[String], recipe: &Recipe, model: &SampledModel) {
    if recipe.sampling.long_prompt != LongPrompt::Cut {
        return;
    }
    let cut = prompts.iter().filter(|prompt| model.text.left_out(prompt).is_some()).count();
    if cut > 0 {
        tracing::warn!(
            "--prompts: {cut} of {} prompts have more than the text encoder's {} tokens, and their last words are left \
             out; --long-prompt Chunks takes them too",
            prompts.len(),
            recipe.text.info().tokens
        );
    }
}
