//! `add sample`: pictures from captions.

mod notes;
mod places;
mod wanted;

use std::path::{Path, PathBuf};

use add_core::{
    assemble, device,
    error::CoreError,
    made_with::FileUsed,
    many::{Many, Shard},
    recipe::{Dimensions, LongPrompt, SampleRequest},
    request::{InputFiles, Inputs, MAX_PICTURES, check_request, check_size, write_latents},
};
use add_data::{Grid, PictureFormat, pictures, read_prompts};
use clap::{Args, ValueEnum};

use self::{places::Places, wanted::Wanted};
use super::{check_folder, sampled_model, seed};
use crate::{Outcome, progress::Counter, terminal::say};

/// Arguments of `sample`.
#[derive(Debug, Args)]
pub(crate) struct Sample {
    /// The recipe, a RON file such as configs/emoji.ron; with --from it takes the place of the picture's.
    #[arg(required_unless_present = "from")]
    recipe: Option<PathBuf>,
    /// Override a field, such as --set sampling.guidance=3; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Make pictures again that `sample` made: prompt, seed and all else that is not stated are read from this file.
    #[arg(long, value_name = "PICTURE", conflicts_with = "prompts")]
    from: Option<PathBuf>,
    /// What the pictures should show; may be repeated. Weights such as (red:1.3) are not supported.
    #[arg(long, required_unless_present_any = ["prompts", "from"], conflicts_with = "prompts")]
    prompt: Vec<String>,
    /// A list of prompts, .txt, .jsonl or .csv: one picture each, 000000.png and so on, into --out. Pictures that exist
    /// are not made again.
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["grid", "init", "count", "index", "latents", "save_latents"])]
    prompts: Option<PathBuf>,
    /// Which share of --prompts to make, such as 0/4, 1/4, 2/4 and 3/4 in four processes.
    #[arg(long, value_name = "I/N", requires = "prompts")]
    shard: Option<Shard>,
    /// What the pictures should not show; used by guidance above 1.
    #[arg(long)]
    negative: Option<String>,
    /// Denoiser calls [default: the recipe's].
    #[arg(long, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Guidance scale; 1 is none, and 0 is taken as 1 [default: the recipe's].
    #[arg(long, allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// Width and height in pixels, such as 768x512 [default: a square of the recipe's size].
    #[arg(long, value_name = "WxH")]
    size: Option<Dimensions>,
    /// Seed of the noise; the same seed gives the same pictures [default: 0].
    #[arg(long, value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Index of the first picture: those of one seed differ by their index, so `--count 8` makes 0 to 7 [default: 0].
    #[arg(long, allow_negative_numbers = true)]
    index: Option<u64>,
    /// A picture to start from, with noise added, cut to the shape of --size; or clean latents, a .safetensors file.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// How much of --init is changed: the fraction of the steps that is done, above 0 and at most 1 [default: 0.8].
    #[arg(long, allow_negative_numbers = true)]
    strength: Option<f64>,
    /// A picture of the size of --init: what is white there is made anew, what is black is kept.
    #[arg(long, value_name = "PICTURE")]
    mask: Option<PathBuf>,
    /// Noise to start from in place of the seed's: a .safetensors file with `latents` [N, C, h, w], a row for each index.
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,
    /// What becomes of a prompt with more tokens than the text encoder takes [default: the recipe's].
    #[arg(long, value_enum, ignore_case = true)]
    long_prompt: Option<Long>,
    /// A LoRA, LoHa or LoKr that is merged into the model, with how much it counts [default: 1]; may be repeated.
    #[arg(long, value_name = "PLACE[:SCALE]")]
    lora: Vec<String>,
    /// Pictures per prompt [default: 1].
    #[arg(long, allow_negative_numbers = true)]
    count: Option<usize>,
    /// Write all pictures as one grid, a .png, .jpg or .webp file.
    #[arg(long, value_name = "FILE")]
    grid: Option<PathBuf>,
    /// Write every picture as a file into this folder, with the next free numbers; or one picture as this .png, .jpg or .webp
    /// file.
    #[arg(long, value_name = "FOLDER|FILE")]
    out: Option<PathBuf>,
    /// Format of the files in the folder --out [default: png].
    #[arg(long, value_enum, ignore_case = true, requires = "out")]
    format: Option<Format>,
    /// Write the clean latents [N, C, h, w] of all pictures into a .safetensors file, which --init can read.
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    /// Replace files that exist; the numbers in --out begin at 0.
    #[arg(long, conflicts_with = "prompts")]
    overwrite: bool,
    /// The model: a file of this project, a diffusers folder, a single file of Stable Diffusion, or hf://owner/repo. Text
    /// encoder and codec come from there too, unless --set states them [default: that of the recipe's run, else the one
    /// shipped with or named by the recipe].
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

/// A format of picture files.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Without loss.
    Png,
    /// JPEG, with loss.
    #[value(alias = "jpeg")]
    Jpg,
    /// Without loss.
    Webp,
}

impl From<Format> for PictureFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Png => Self::Png,
            Format::Jpg => Self::Jpeg,
            Format::Webp => Self::WebP,
        }
    }
}

impl Sample {
    pub(crate) fn run(&self) -> Outcome {
        add_kernels::compute_on_this_thread();
        if let (Some(list), Some(folder)) = (&self.prompts, &self.out) {
            return self.list(list, folder);
        }
        let mut wanted = self.wanted()?;
        let made = &wanted.made;
        let pictures_asked = made.prompts.len().saturating_mul(made.count);
        if pictures_asked > MAX_PICTURES {
            return Err(CoreError::Request(format!(
                "--count: expected at most {MAX_PICTURES} pictures of all prompts together, got {} of each",
                made.count
            )));
        }
        let captions: Vec<String> =
            made.prompts.iter().flat_map(|p| std::iter::repeat_n(p.clone(), made.count)).collect();
        check_request(&captions, &made.negative, made.steps, made.guidance)?;
        let places = self.places(captions.len())?;
        check_size(&wanted.loaded.recipe, made.size)?;
        let Some(end) = made.index.checked_add(captions.len() as u64) else {
            return Err(CoreError::Argument { name: "index", problem: "expected less".to_owned() });
        };
        let files = InputFiles {
            init: wanted.init.as_deref(),
            strength: made.strength.unwrap_or_default(),
            mask: wanted.mask.as_deref(),
            latents: wanted.latents.as_deref(),
        };
        let inputs = Inputs::read(&files, &wanted.loaded.recipe, made.size, made.steps, made.index..end)?;
        for format in places.formats() {
            let said = if places.grid.is_some() { made } else { &made.one(0) };
            said.check_fits(format)?;
        }
        let (model, weights) =
            sampled_model(&mut wanted.loaded, wanted.weights.as_deref(), wanted.made.kept)?;
        wanted.made.weights = weights.map(|place| FileUsed::of(&place)).transpose()?;
        let Wanted { loaded, made, .. } = &wanted;
        notes::say_all(self, made, &loaded.recipe, &model);
        let codec = assemble::codec(&loaded.recipe, &device::of(&loaded.recipe)?)?;
        let request = SampleRequest {
            captions: &captions,
            negative: &made.negative,
            sampler: &*loaded.recipe.sampling.sampler,
            steps: made.steps,
            guidance: made.guidance,
            seed: made.seed,
            first: made.index,
            size: made.size,
            beginning: inputs.beginning(&loaded.recipe, &*codec)?,
        };
        let (pixels, latents) = model.generate_both(&loaded.recipe, &*codec, &request);
        let all = pictures(&pixels);
        if let Some(path) = &places.latents {
            write_latents(path, &latents)?;
            say(&format!("{}", path.display()));
        }
        if let Some(target) = &places.pictures {
            target.write(&all, |at| made.one(at))?;
        }
        if let Some(path) = &places.grid {
            let data = |error: add_data::DataError| CoreError::Request(error.to_string());
            let scale = (96 / all.first().map_or(96, |p| p.width().max(1))).max(1);
            let grid =
                Grid::new(all, made.count).map_err(data)?.scale(scale).rows(made.prompts.iter().cloned());
            places::write(path, &grid.draw(), made)?;
            say(&format!("{}", path.display()));
        }
        Ok(0)
    }

    /// Where results go, checked before any work.
    fn places(&self, count: usize) -> Result<Places, CoreError> {
        places::Targets {
            out: self.out.as_deref(),
            grid: self.grid.as_deref(),
            latents: self.save_latents.as_deref(),
            format: self.format.map(Into::into),
            overwrite: self.overwrite,
        }
        .check(count)
    }

    /// A picture for each prompt of `--prompts`.
    fn list(&self, list: &Path, folder: &Path) -> Outcome {
        let prompts = read_prompts(list).map_err(|error| CoreError::Request(error.to_string()))?;
        let prompts: Vec<String> = prompts.into_iter().map(|prompt| prompt.text).collect();
        let mut wanted = self.wanted()?;
        // A list may be longer than what is made at once.
        for part in prompts.chunks(MAX_PICTURES) {
            check_request(part, &wanted.made.negative, wanted.made.steps, wanted.made.guidance)?;
        }
        check_folder(folder)?;
        check_size(&wanted.loaded.recipe, wanted.made.size)?;
        wanted.made.prompts = prompts;
        let format = self.format.map_or(PictureFormat::Png, Into::into);
        wanted.made.one(0).check_fits(format)?;
        let (model, weights) =
            sampled_model(&mut wanted.loaded, wanted.weights.as_deref(), wanted.made.kept)?;
        wanted.made.weights = weights.map(|place| FileUsed::of(&place)).transpose()?;
        let Wanted { loaded, made, .. } = &wanted;
        notes::say_of_list(self, made, &loaded.recipe, &model);
        let codec = assemble::codec(&loaded.recipe, &device::of(&loaded.recipe)?)?;
        let many = Many {
            recipe: &loaded.recipe,
            model: &model,
            codec: &*codec,
            made,
            format,
            shard: self.shard.unwrap_or(Shard { index: 0, of: 1 }),
        };
        let mut counter = Counter::new();
        let count =
            many.make(folder, &mut |done, total| counter.show("pictures", done as u64, total as u64))?;
        let pictures = if count == 1 { "picture" } else { "pictures" };
        say(&format!("{count} {pictures} made in {}", folder.display()));
        Ok(0)
    }
}
