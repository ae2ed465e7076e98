//! A model that stays in memory and makes pictures together that differ in caption, seed or beginning.

use std::ops::ControlFlow;

use add_data::{RgbImage, pictures, to_planes};
use add_plugin::{Autoencoder, Conditioning, Pixels, Sampler, Start};
use add_recipe::{
    Beginning, Dimensions, LongPrompt, PIXELS_PER_PASS, Recipe, SampleBatch, SampledModel, guidance_scale,
};
use burn::tensor::{Device, Tensor, TensorData};

use crate::{assemble, device, error::CoreError};

/// A model with its codec.
#[derive(Debug)]
pub struct LoadedModel {
    model: SampledModel,
    codec: Box<dyn Autoencoder>,
    device: Device,
}

/// One picture to be made.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What it should show.
    pub prompt: String,
    /// What guidance leads away from; not looked at without guidance.
    pub negative: String,
    /// Another caption, and how much of its encoding is mixed in, 0 to 1.
    pub blend: Option<(String, f64)>,
    /// The seed of its noise.
    pub seed: u64,
    /// Which of the seed's pictures it is.
    pub index: u64,
    /// A picture of the wished size to begin with instead of noise alone.
    pub init: Option<RgbImage>,
}

/// What pictures that are made together have in common.
pub struct Together<'a> {
    /// The sampler.
    pub sampler: &'a dyn Sampler,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale; 1 is none.
    pub guidance: f64,
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// The part of the steps that is done to pictures that are there before, above 0 and at most 1. All wishes have such a
    /// picture where it is stated, and none has one otherwise.
    pub strength: Option<f64>,
}

/// A call of the denoiser that was made.
pub struct Call<'a> {
    /// Its number, from 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The pictures of the wishes `first..`, as they are estimated now; asking for them costs a pass of the codec.
    pub estimate: &'a dyn Fn() -> Vec<RgbImage>,
    /// The first of the wishes that the call is about.
    pub first: usize,
}

/// How many pictures of this height and width are computed at once; more would not be faster.
pub fn pass_of([height, width]: [usize; 2]) -> usize {
    (PIXELS_PER_PASS / (height * width).max(1)).max(1)
}

impl LoadedModel {
    /// A model of the recipe with the recipe's codec.
    ///
    /// # Errors
    /// When the weights of the codec cannot be had.
    pub fn new(recipe: &Recipe, model: SampledModel) -> Result<Self, CoreError> {
        let device = device::of(recipe)?;
        Ok(Self { model, codec: assemble::codec(recipe, &device)?, device })
    }

    /// The model without its codec.
    pub fn model(&self) -> &SampledModel {
        &self.model
    }

    /// The wished pictures, or nothing where `watch` broke off. Each depends on its own wish alone, whatever the others are.
    ///
    /// # Panics
    /// Panics when some wishes begin with a picture and others do not.
    pub fn make(
        &self,
        recipe: &Recipe,
        together: &Together<'_>,
        wishes: &[Wish],
        watch: &mut dyn FnMut(&Call<'_>) -> ControlFlow<()>,
    ) -> Option<Vec<RgbImage>> {
        let pass = match recipe.sampling.long_prompt {
            LongPrompt::Cut => pass_of(together.size),
            // Captions in windows have different lengths.
            LongPrompt::Chunks => 1,
        };
        let mut made = Vec::with_capacity(wishes.len());
        for wishes in wishes.chunks(pass) {
            made.extend(self.pass(recipe, together, wishes, made.len(), watch)?);
        }
        Some(made)
    }

    fn pass(
        &self,
        recipe: &Recipe,
        together: &Together<'_>,
        wishes: &[Wish],
        first: usize,
        watch: &mut dyn FnMut(&Call<'_>) -> ControlFlow<()>,
    ) -> Option<Vec<RgbImage>> {
        let (conditioning, null) = self.conditioning(recipe, together, wishes);
        let batch = SampleBatch {
            sampler: together.sampler,
            steps: together.steps,
            guidance: together.guidance,
            size: Dimensions { height: together.size[0], width: together.size[1] },
            conditioning,
            null,
            draws: wishes.iter().map(|wish| (wish.seed, wish.index)).collect(),
            beginning: Beginning { start: self.start(together, wishes), ..Beginning::default() },
        };
        let decoded = |latents: Tensor<4>| {
            let pixels = self.codec.decode(add_plugin::Latents(latents)).0;
            pictures(&Pixels(pixels.clamp(-1.0, 1.0)))
        };
        let mut told = |number: usize, of: usize, estimate: &Tensor<4>| {
            watch(&Call { number, of, estimate: &|| decoded(estimate.clone()), first })
        };
        let latents = self.model.sample(recipe.codec.info(), &batch, &mut told)?;
        Some(decoded(latents.0))
    }

    /// What the network is told of each wish, with and without its caption.
    fn conditioning(
        &self,
        recipe: &Recipe,
        together: &Together<'_>,
        wishes: &[Wish],
    ) -> (Conditioning, Conditioning) {
        let encode = |captions: &[String]| match recipe.sampling.long_prompt {
            LongPrompt::Cut => self.model.text.encode(captions),
            LongPrompt::Chunks => self.model.text.encode_windows(&captions[0]),
        };
        let prompts: Vec<String> = wishes.iter().map(|wish| wish.prompt.clone()).collect();
        let mut with = encode(&prompts);
        if wishes.iter().any(|wish| wish.blend.is_some()) {
            let rows: Vec<Conditioning> = wishes
                .iter()
                .enumerate()
                .map(|(row, wish)| match &wish.blend {
                    Some((other, mix)) => {
                        with.slice(row..row + 1).mix(encode(std::slice::from_ref(other)), *mix)
                    }
                    None => with.slice(row..row + 1),
                })
                .collect();
            with = Conditioning::join(&rows.iter().collect::<Vec<_>>());
        }
        // Without guidance it is not looked at.
        if (guidance_scale(together.guidance) - 1.0).abs() < f64::EPSILON {
            return (with.clone(), with);
        }
        let negatives: Vec<String> = wishes.iter().map(|wish| wish.negative.clone()).collect();
        let without = encode(&negatives);
        with.alike(without)
    }

    fn start(&self, together: &Together<'_>, wishes: &[Wish]) -> Start {
        let Some(strength) = together.strength else { return Start::Noise };
        let [height, width] = together.size;
        let planes: Vec<f32> = wishes
            .iter()
            .flat_map(|wish| to_planes(wish.init.as_ref().expect("every wish has a picture, or none has")))
            .collect();
        let pixels =
            Tensor::from_data(TensorData::new(planes, [wishes.len(), 3, height, width]), &self.device);
        Start::Picture { x_0: self.codec.encode(Pixels(pixels)).0, strength }
    }
}
