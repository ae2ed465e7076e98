//! The networks of a recipe's run by the shapes of their parameters; no value is made for it and no file read.

use add_plugin::{Denoiser, Network, is_adapter, parameter_count};
use burn::tensor::Device;

use crate::{
    assemble::{self, Features},
    error::CoreError,
    read::LoadedRecipe,
    recipe::{Adapter, Dtype, Objective, TeacherModel},
};

/// What a network is in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The model that is pretrained or sampled.
    Denoiser,
    /// The model that is distilled into.
    Student,
    /// What is trained of a student beside values that stay as they are.
    Adapters,
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
            Self::Adapters => "adapters",
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
    /// Whether its values are another network's, which are held once.
    pub(crate) shared: bool,
    /// What its tape keeps.
    pub(crate) keeps: Keeps,
    /// What it computes in, and is held in where it is frozen.
    pub(crate) dtype: Dtype,
}

/// What a network's tape keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// The input of every layer.
    Layers,
    /// The inputs of its blocks; what is inside is computed again.
    Blocks,
}

impl Outlined {
    fn new(role: Role, network: &(impl Network + ?Sized), trained: bool, averaged: bool) -> Self {
        let mut shapes = Vec::with_capacity(parameter_count(network).min(4096));
        network.for_each_shape(&mut |path, shape| {
            shapes.push((path.to_owned(), shape.to_vec()));
        });
        Self { role, shapes, trained, averaged, shared: false, keeps: Keeps::Layers, dtype: Dtype::F32 }
    }

    fn checkpointed(self, checkpointed: bool) -> Self {
        Self { keeps: if checkpointed { Keeps::Blocks } else { Keeps::Layers }, ..self }
    }

    /// A student with adapters: its values, which stay as they are, and what is trained.
    fn adapted(network: &dyn Denoiser) -> [Self; 2] {
        let mut base = Self::frozen(Role::Student, network);
        let adapters;
        (adapters, base.shapes) = base.shapes.into_iter().partition(|(path, _)| is_adapter(path));
        [base, Self { shapes: adapters, ..Self::new(Role::Adapters, network, true, true) }]
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
    let codec = Outlined::frozen(Role::Codec, &*recipe.codec.outline(&device)?)
        .checkpointed(recipe.codec.is_checkpointed());
    let by_blocks = recipe.model.backbone.is_checkpointed();
    let mut features = None;
    let mut networks = match &recipe.objective {
        Objective::Off() => {
            vec![Outlined::frozen(Role::Denoiser, denoiser), Outlined::frozen(Role::Text, text)]
        }
        Objective::Diffusion(_) => {
            let own_text = recipe.text.weights().is_empty();
            vec![
                Outlined::new(Role::Denoiser, denoiser, true, true).checkpointed(by_blocks),
                Outlined::new(Role::Text, text, own_text, own_text),
            ]
        }
        Objective::Add(objective) => {
            let teacher = match &objective.teacher.model {
                TeacherModel::Initial() => {
                    let dtypes = recipe.dtype;
                    let shared = !recipe.model.adapter.is_off() && dtypes.teacher == dtypes.model;
                    Outlined { shared, ..Outlined::frozen(Role::Teacher, denoiser) }
                }
                TeacherModel::Other(model) => {
                    let teacher = model.backbone.init(text_info, recipe.seed, &device)?;
                    Outlined::frozen(Role::Teacher, &*teacher)
                }
            };
            let looked = assemble::features(objective, |network| network.outline(&device))?;
            let heads = assemble::heads(recipe, objective, &looked, &device)?;
            let looked = features.insert(looked);
            let image_encoder = looked.image_encoder.iter();
            let decoder = objective.distillation.space.codec();
            let decoder = decoder.map(|codec| {
                let network = Outlined::frozen(Role::DistillationCodec, &*codec.outline(&device)?);
                Ok::<_, CoreError>(network.checkpointed(codec.is_checkpointed()))
            });
            let student = match &recipe.model.adapter {
                Adapter::Off() => vec![Outlined::new(Role::Student, denoiser, true, true)],
                Adapter::Lora(lora) => {
                    let network = recipe.model.backbone.adapted(text_info, lora, recipe.seed, &device)?;
                    Outlined::adapted(&*network).into()
                }
            };
            student
                .into_iter()
                .map(|part| part.checkpointed(by_blocks))
                .chain([
                    Outlined::frozen(Role::Text, text),
                    teacher,
                    Outlined::frozen(Role::Features, &*looked.network)
                        .checkpointed(objective.adversarial.features.is_checkpointed()),
                    Outlined::new(Role::Heads, &*heads, true, false),
                ])
                .chain(image_encoder.map(|network| Outlined::frozen(Role::ImageEncoder, &**network)))
                .chain(decoder.transpose()?)
                .collect()
        }
    };
    networks.extend((codec.parameters() > 0).then_some(codec));
    for network in &mut networks {
        network.dtype = match network.role {
            Role::Denoiser | Role::Student | Role::Adapters => recipe.dtype.model,
            Role::Text => recipe.dtype.text,
            Role::Teacher => recipe.dtype.teacher,
            Role::Features | Role::ImageEncoder => recipe.dtype.features,
            Role::Heads => Dtype::F32,
            Role::Codec | Role::DistillationCodec => recipe.dtype.codec,
        };
    }
    Ok(Outline { networks, features })
}
