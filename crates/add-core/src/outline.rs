//! The networks of a recipe's run by the shapes of their parameters; no value is made for it and no file read.

use add_plugin::{Network, parameter_count};
use burn::tensor::Device;

use crate::{
    assemble::{self, Features},
    error::CoreError,
    read::LoadedRecipe,
    recipe::{Objective, TeacherModel},
};

/// What a network is in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The model that is pretrained or sampled.
    Denoiser,
    /// The model that is distilled into.
    Student,
    /// Captions to states.
    Text,
    /// The model that is distilled.
    Teacher,
    /// What the heads look through.
    Features,
    /// The discriminator.
    Heads,
    /// The network of `c_img`.
    ImageEncoder,
    /// Pixels to latents and back.
    Codec,
    /// What decodes for the distillation loss in the codec's place.
    DistillationCodec,
}

impl Role {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Denoiser => "denoiser",
            Self::Student => "student",
            Self::Text => "text encoder",
            Self::Teacher => "teacher",
            Self::Features => "feature network",
            Self::Heads => "heads",
            Self::ImageEncoder => "image encoder",
            Self::Codec => "codec",
            Self::DistillationCodec => "distillation codec",
        }
    }
}

/// One network of a recipe.
#[derive(Debug, Clone)]
pub(crate) struct Outlined {
    pub(crate) role: Role,
    /// Paths and shapes of its parameters and buffers.
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// Whether the run changes them.
    pub(crate) trained: bool,
    /// Whether the run keeps their running average too.
    pub(crate) averaged: bool,
}

impl Outlined {
    fn new(role: Role, network: &(impl Network + ?Sized), trained: bool, averaged: bool) -> Self {
        let mut shapes = Vec::with_capacity(parameter_count(network).min(4096));
        network.for_each_shape(&mut |path, shape| {
            shapes.push((add_plugin::without_variants(path), shape.to_vec()));
        });
        Self { role, shapes, trained, averaged }
    }

    fn frozen(role: Role, network: &(impl Network + ?Sized)) -> Self {
        Self::new(role, network, false, false)
    }

    /// Values in its parameters and buffers.
    pub(crate) fn parameters(&self) -> usize {
        self.shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// The networks of a recipe's run.
pub(crate) struct Outline {
    pub(crate) networks: Vec<Outlined>,
    /// What the heads look through, in an ADD run.
    pub(crate) features: Option<Features>,
}

/// Outlines the networks of `loaded`.
pub(crate) fn outline(loaded: &LoadedRecipe) -> Result<Outline, CoreError> {
    let recipe = &loaded.recipe;
    // A plan can be made on a machine without the recipe's device.
    let device = Device::flex();
    let text_info = recipe.text.info();
    let denoiser = &*recipe.model.backbone.init(text_info, recipe.seed, &device)?;
    let text = &*recipe.text.outline(&device)?;
    let codec = Outlined::frozen(Role::Codec, &*recipe.codec.outline(&device)?);
    let mut features = None;
    let mut networks = match &recipe.objective {
        Objective::Off() => {
            vec![Outlined::frozen(Role::Denoiser, denoiser), Outlined::frozen(Role::Text, text)]
        }
        Objective::Diffusion(_) => {
            let own_text = recipe.text.weights().is_empty();
            vec![
                Outlined::new(Role::Denoiser, denoiser, true, true),
                Outlined::new(Role::Text, text, own_text, own_text),
            ]
        }
        Objective::Add(objective) => {
            let teacher = match &objective.teacher.model {
                TeacherModel::Initial() => Outlined::frozen(Role::Teacher, denoiser),
                TeacherModel::Other(model) => {
                    let teacher = model.backbone.init(text_info, recipe.seed, &device)?;
                    Outlined::frozen(Role::Teacher, &*teacher)
                }
            };
            let looked = assemble::features(objective, |network| network.outline(&device))?;
            let heads = assemble::heads(recipe, objective, &looked, &device)?;
            let looked = features.insert(looked);
            let image_encoder = looked.image_encoder.iter();
            let decoder =
                objective.distillation.space.codec().map(|codec| codec.outline(&device)).transpose()?;
            [
                Outlined::new(Role::Student, denoiser, true, true),
                Outlined::frozen(Role::Text, text),
                teacher,
                Outlined::frozen(Role::Features, &*looked.network),
                Outlined::new(Role::Heads, &*heads, true, false),
            ]
            .into_iter()
            .chain(image_encoder.map(|network| Outlined::frozen(Role::ImageEncoder, &**network)))
            .chain(decoder.map(|network| Outlined::frozen(Role::DistillationCodec, &*network)))
            .collect()
        }
    };
    networks.extend((codec.parameters() > 0).then_some(codec));
    Ok(Outline { networks, features })
}
