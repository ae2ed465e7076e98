//! A model with everything that turns captions into pictures.

use std::{iter::repeat_n, path::Path};

use add_core::{
    assemble, device,
    read::LoadedRecipe,
    recipe::{Dimensions, SampleRequest, SampledModel},
    request::{InputFiles, Inputs, MAX_PICTURES, check_request, check_size},
    weights::{self, Use},
};
use add_data::{RgbImage, pictures};
use add_plugin::Autoencoder;
use add_weights::{Location, Progress};

use crate::{Error, Request, release};

/// A text-to-image model, ready to make pictures.
#[derive(Debug)]
pub struct Pipeline {
    recipe: LoadedRecipe,
    model: SampledModel,
    codec: Box<dyn Autoencoder>,
}

impl Pipeline {
    /// The model that a recipe describes: the released one that a recipe for sampling names, otherwise the trained one that
    /// is shipped with the recipe (`sampling.weights`). A recipe that has neither needs
    /// [`from_trained`](Self::from_trained).
    ///
    /// # Errors
    /// When weights are missing, cannot be fetched or do not fit, or when the device is not there.
    pub fn from_recipe(recipe: LoadedRecipe) -> Result<Self, Error> {
        if !recipe.recipe.objective.trains() {
            return Self::released(recipe, &mut ());
        }
        let Some(shipped) = recipe.recipe.sampling.weights.as_ref().map(|name| recipe.resolve(name)) else {
            let name = &recipe.recipe.name;
            let problem = format!("the recipe {name} names none; train it, then sample the model of its run");
            return Err(Error::Argument { name: "weights", problem });
        };
        Self::from_trained(recipe, &shipped)
    }

    /// The model of a recipe in a file that training has left: `model.safetensors` in the folder of a run.
    ///
    /// # Errors
    /// When the file is missing, is damaged or holds another model.
    pub fn from_trained(recipe: LoadedRecipe, model: impl AsRef<Path>) -> Result<Self, Error> {
        weights::fetch(&recipe, Use::SamplingTrained, &mut ())?;
        let model = assemble::sampled(&recipe, model.as_ref())?;
        Self::assembled(recipe, model)
    }

    /// A Stable Diffusion 1, 2 or XL pipeline of the hub, such as `stabilityai/sd-turbo`; a revision may follow an `@`.
    /// What is not on this machine is fetched; `progress` is told of it (`&mut ()` does nothing).
    ///
    /// # Errors
    /// When there is no such repository, it cannot be fetched, or it holds another kind of model.
    pub fn from_hub(repository: &str, progress: &mut dyn Progress) -> Result<Self, Error> {
        let place = Location::parse(&format!("hf://{}", repository.trim_start_matches("hf://")))?;
        Self::released(release::of_pipeline(&place, progress)?, progress)
    }

    /// A Stable Diffusion 1, 2 or XL pipeline in a folder, as diffusers saves it.
    ///
    /// # Errors
    /// When parts are missing, or it holds another kind of model.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = std::path::absolute(folder.as_ref()).map_err(Error::io(folder.as_ref()))?;
        Self::released(release::of_pipeline(&Location::Local(folder), &mut ())?, &mut ())
    }

    /// A single file of Stable Diffusion 1, 2 or XL, with denoiser, text encoders and autoencoder in it.
    ///
    /// # Errors
    /// When the file is missing, is damaged or holds another kind of model.
    pub fn from_single_file(file: impl AsRef<Path>) -> Result<Self, Error> {
        let file = std::path::absolute(file.as_ref()).map_err(Error::io(file.as_ref()))?;
        Self::released(release::of_single_file(&file)?, &mut ())
    }

    /// What the pipeline is made of, with the sampler, steps and guidance of a [`Request`] that states none.
    pub fn recipe(&self) -> &LoadedRecipe {
        &self.recipe
    }

    /// The pictures of a request: `count` of each caption, caption by caption.
    ///
    /// # Errors
    /// Says which part of the request is out of range, before anything is made; also when the picture to start from cannot
    /// be read.
    pub fn generate(&self, request: &Request) -> Result<Vec<RgbImage>, Error> {
        let recipe = &self.recipe.recipe;
        let steps = request.steps.unwrap_or(recipe.sampling.steps);
        let guidance = request.guidance.unwrap_or(recipe.sampling.guidance);
        if request.captions.len().saturating_mul(request.count) > MAX_PICTURES {
            let problem = format!(
                "expected at most {MAX_PICTURES} pictures of all captions together, got {} of each",
                request.count
            );
            return Err(Error::Argument { name: "count", problem });
        }
        let captions: Vec<String> =
            request.captions.iter().flat_map(|caption| repeat_n(caption.clone(), request.count)).collect();
        check_request(&captions, &request.negative, steps, guidance)?;
        let size = request.size.unwrap_or(Dimensions::square(recipe.data.size()));
        check_size(recipe, size)?;
        let Some(end) = request.index.checked_add(captions.len() as u64) else {
            return Err(Error::Argument { name: "index", problem: "expected less".to_owned() });
        };
        let files = InputFiles {
            init: request.start.as_ref().map(|(path, _)| path.as_path()),
            strength: request.start.as_ref().map_or(1.0, |(_, strength)| *strength),
            mask: request.mask.as_deref(),
            latents: request.noise.as_deref(),
        };
        let inputs = Inputs::read(&files, recipe, size, steps, request.index..end)?;
        let wanted = SampleRequest {
            size,
            captions: &captions,
            negative: &request.negative,
            sampler: &*recipe.sampling.sampler,
            steps,
            guidance,
            seed: request.seed,
            first: request.index,
            beginning: inputs.beginning(recipe, &*self.codec)?,
        };
        Ok(pictures(&self.model.generate(recipe, &*self.codec, &wanted)))
    }

    /// A model with the weights that the recipe itself names.
    fn released(recipe: LoadedRecipe, progress: &mut dyn Progress) -> Result<Self, Error> {
        weights::fetch(&recipe, Use::Sampling, progress)?;
        let student_timesteps = weights::student_timesteps(&recipe)?;
        let model = assemble::untrained(&recipe, &recipe.recipe.model, student_timesteps)?;
        Self::assembled(recipe, model)
    }

    fn assembled(recipe: LoadedRecipe, model: SampledModel) -> Result<Self, Error> {
        let codec = assemble::codec(&recipe.recipe, &device::of(&recipe.recipe)?)?;
        let model = model.in_types(recipe.recipe.dtype);
        Ok(Self { recipe, model, codec })
    }
}

#[cfg(test)]
mod tests {
    use add_core::recipe::Beginning;

    use super::*;

    fn shipped() -> Pipeline {
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/emoji.ron");
        Pipeline::from_recipe(crate::read(recipe).unwrap()).unwrap()
    }

    #[test]
    fn a_picture_follows_from_seed_and_place_alone() {
        let pipeline = shipped();
        let two = pipeline.generate(&Request::of(["a red apple", "a dog face"]).seed(3)).unwrap();
        let again = pipeline.generate(&Request::new("a red apple").seed(3).count(2)).unwrap();
        assert_eq!(two[0], again[0]);
        assert_ne!(again[0], again[1]);
        assert_ne!(pipeline.generate(&Request::new("a red apple").seed(4)).unwrap()[0], again[0]);
    }

    #[test]
    fn one_picture_of_many_is_made_alone() {
        let pipeline = shipped();
        let wide = |request: Request| pipeline.generate(&request.size(48, 32).seed(3)).unwrap();
        let all = wide(Request::new("a red apple").count(5));
        assert_eq!(all[0].dimensions(), (48, 32));
        assert_eq!(wide(Request::new("a red apple").index(3))[0], all[3]);
        assert_eq!(wide(Request::new("a red apple").index(1).guidance(0.0))[0], all[1], "0 is no guidance");
    }

    #[test]
    fn a_request_out_of_range_is_an_error_in_words_of_a_library() {
        let pipeline = shipped();
        let cat = || Request::new("a cat");
        for (request, name) in [
            (Request::of(Vec::<String>::new()), "prompt"),
            (cat().count(0), "prompt"),
            (cat().count(usize::MAX), "count"),
            (cat().steps(0), "steps"),
            (cat().guidance(f64::NAN), "guidance"),
            (cat().start("nowhere.png", 0.0), "strength"),
            (Request::new("a".repeat(5000)), "prompt"),
            (cat().size(32, 33), "size"),
            (cat().size(0, 32), "size"),
            (cat().mask("nowhere.png"), "mask"),
            (cat().index(u64::MAX), "index"),
        ] {
            let error = pipeline.generate(&request).unwrap_err();
            assert!(matches!(error, Error::Argument { name: found, .. } if found == name), "{error}");
            assert!(!error.to_string().contains("--"), "{error}");
        }
        let no_picture = pipeline.generate(&cat().noise("Cargo.toml")).unwrap_err().to_string();
        assert!(no_picture.contains(".safetensors"), "{no_picture}");
        let missing = pipeline.generate(&cat().start("nowhere.png", 1.0)).unwrap_err().to_string();
        assert!(missing.contains("nowhere.png"), "{missing}");
    }

    #[test]
    fn no_caption_is_no_picture_and_no_panic() {
        let pipeline = shipped();
        let recipe = &pipeline.recipe.recipe;
        let wanted = SampleRequest {
            size: Dimensions::square(recipe.data.size()),
            captions: &[],
            negative: "",
            sampler: &*recipe.sampling.sampler,
            steps: 1,
            guidance: 1.0,
            seed: 0,
            first: 0,
            beginning: Beginning::default(),
        };
        let made = pipeline.model.generate(recipe, &*pipeline.codec, &wanted);
        assert_eq!(made.0.dims(), [0, 3, 32, 32]);
        assert!(pictures(&made).is_empty());
    }

    #[test]
    fn a_place_without_a_model_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Pipeline::from_folder(folder.path()).unwrap_err().to_string().contains("unet"));
        let file = folder.path().join("model.safetensors");
        assert!(Pipeline::from_single_file(&file).unwrap_err().to_string().contains("model.safetensors"));
        assert!(Pipeline::from_hub("no-owner", &mut ()).unwrap_err().to_string().contains("hf://owner/repo"));
    }
}
