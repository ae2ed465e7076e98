//! The networks of a recipe's run by the shapes of their parameters; no value is made for it and no file read.

use std::collections::BTreeMap;

use add_plugin::{FeatureExtractor, Network, is_adapter, parameter_count};
use add_recipe::{Dtype, Hooks, Recipe, Slot, Source, slot::ADAPTERS};
use add_train::{
    ema::Home,
    networks::{Change, Role},
};
use burn::tensor::Device;

use crate::{assemble::heads, error::CoreError, read::LoadedRecipe};

/// One network of a recipe.
#[derive(Debug, Clone)]
pub(crate) struct Outlined {
    pub(crate) role: Role,
    /// Paths and shapes of its parameters and buffers.
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// Whether an optimiser moves them.
    pub(crate) trained: bool,
    /// Where their running average lies, if the run keeps one.
    pub(crate) average: Option<Home>,
    /// Whether another network follows that average, so that ranks do not share it.
    pub(crate) is_followed: bool,
    /// Whether its values are another network's, which are held once.
    pub(crate) shared: bool,
    /// What its tape keeps.
    pub(crate) keeps: Keeps,
    /// What it computes in, and is held in where it is frozen.
    pub(crate) dtype: Dtype,
    /// What a sample of its input is.
    pub(crate) input: Input,
}

/// What a network's tape keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// The input of every layer.
    Layers,
    /// The inputs of its blocks; what is inside is computed again.
    Blocks,
}

/// What a sample of a network's input is, from which the positions of its layers follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Latents of this side and so many channels, with so many tokens of text.
    Latents { side: usize, channels: usize, text: usize },
    /// A caption of so many tokens.
    Text(usize),
    /// A picture of this side.
    Pixels(usize),
    /// A picture of this side, looked at through the hooks of these names and channels.
    Hooked { side: usize, hooks: Vec<(String, usize)> },
    /// The hooked features of the feature network of this role.
    FeaturesOf(Role),
    /// The states of these blocks of the denoiser of this role.
    StatesOf(Role, Vec<String>),
}

impl Outlined {
    fn new(slot: &Slot<'_>, network: &(impl Network + ?Sized), input: Input) -> Self {
        let mut shapes = Vec::with_capacity(parameter_count(network).min(4096));
        network.for_each_shape(&mut |path, shape| {
            shapes.push((path.to_owned(), shape.to_vec()));
        });
        let training = slot.change.training();
        Self {
            role: slot.role,
            shapes,
            trained: training.is_some(),
            average: training.and_then(|training| training.average).map(|average| average.home),
            is_followed: false,
            shared: false,
            keeps: Keeps::Layers,
            dtype: slot.dtype,
            input,
        }
    }

    fn checkpointed(self, checkpointed: bool) -> Self {
        Self { keeps: if checkpointed { Keeps::Blocks } else { Keeps::Layers }, ..self }
    }

    /// The values that stay as they are, and the adapters that are trained beside them.
    fn beside_adapters(self) -> [Self; 2] {
        let (adapters, base) = self.shapes.iter().cloned().partition(|(path, _)| is_adapter(path));
        let adapters = Self { role: ADAPTERS, shapes: adapters, ..self.clone() };
        [Self { shapes: base, trained: false, average: None, ..self }, adapters]
    }

    /// Values in its parameters and buffers.
    pub(crate) fn parameters(&self) -> usize {
        self.shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// Outlines the networks of `loaded`, in the order of its method's list.
pub(crate) fn outline(loaded: &LoadedRecipe) -> Result<Vec<Outlined>, CoreError> {
    let recipe = &loaded.recipe;
    let slots = recipe.objective.networks(recipe);
    let mut outliner = Outliner {
        recipe,
        slots: &slots,
        // A plan can be made on a machine without the recipe's device.
        device: Device::flex(),
        features: BTreeMap::new(),
        done: Vec::new(),
    };
    for slot in &slots {
        outliner.add(slot)?;
    }
    let mut done = outliner.done;
    // What has no values, such as the codec of pixels, takes nothing.
    done.retain(|network| network.parameters() > 0);
    for slot in &slots {
        if let Change::Follows(role) = slot.change {
            // Adapters stand behind the network that they are beside.
            let at = done.iter().position(|network| network.role == role);
            let both = done.iter_mut().skip(at.unwrap_or(usize::MAX)).take(2);
            both.filter(|network| network.role == role || network.role == ADAPTERS)
                .for_each(|network| network.is_followed = true);
        }
    }
    Ok(done)
}

struct Outliner<'a> {
    recipe: &'a Recipe,
    slots: &'a [Slot<'a>],
    device: Device,
    features: BTreeMap<Role, Box<dyn FeatureExtractor>>,
    done: Vec<Outlined>,
}

impl Outliner<'_> {
    fn add(&mut self, slot: &Slot<'_>) -> Result<(), CoreError> {
        let (recipe, device) = (self.recipe, &self.device);
        match &slot.source {
            Source::Model { model, text, codec } => {
                let info = text.info();
                let side = recipe.data.size() / codec.info().reduction.max(1);
                let channels = model.backbone.info().channels;
                let input = Input::Latents { side, channels, text: info.tokens };
                let by_blocks = model.backbone.is_checkpointed();
                match slot.adapter {
                    None => {
                        let network = model.backbone.init(info, recipe.seed, device)?;
                        self.done.push(Outlined::new(slot, &*network, input).checkpointed(by_blocks));
                    }
                    Some(lora) => {
                        let network = model.backbone.adapted(info, lora, recipe.seed, device)?;
                        let both = Outlined::new(slot, &*network, input).checkpointed(by_blocks);
                        self.done.extend(both.beside_adapters());
                    }
                }
            }
            Source::BeginningOf(role) => {
                let original = self.done.iter().find(|network| network.role == *role);
                let original = original.expect("a copy follows what it is a copy of").clone();
                // Beside adapters the values stay, and a running average is held once with what follows it.
                let stays = self.slots.iter().any(|other| other.role == *role && other.adapter.is_some());
                let shared = match slot.change {
                    Change::Frozen => stays && original.dtype == slot.dtype,
                    Change::Follows(_) => slot.dtype == Dtype::F32 && original.average == Some(Home::Device),
                    _ => false,
                };
                self.done.push(Outlined {
                    role: slot.role,
                    trained: false,
                    average: None,
                    is_followed: false,
                    shared,
                    keeps: Keeps::Layers,
                    dtype: slot.dtype,
                    ..original
                });
            }
            Source::Text { encoder, .. } => {
                let network = encoder.outline(device)?;
                self.done.push(Outlined::new(slot, &*network, Input::Text(encoder.info().tokens)));
            }
            Source::Codec(codec) => {
                let outlined =
                    Outlined::new(slot, &*codec.outline(device)?, Input::Pixels(recipe.data.size()));
                self.done.push(outlined.checkpointed(codec.is_checkpointed()));
            }
            Source::Features(plugin) => {
                let network = plugin.outline(device)?;
                let side = network.input_size();
                let is_looked_through = |other: &Slot<'_>| matches!(&other.source, Source::Heads { on: Hooks::Network(role), .. } if *role == slot.role);
                let input = if self.slots.iter().any(is_looked_through) {
                    Input::Hooked { side, hooks: network.hooks() }
                } else {
                    Input::Pixels(side)
                };
                let outlined = Outlined::new(slot, &*network, input).checkpointed(plugin.is_checkpointed());
                self.done.push(outlined);
                self.features.insert(slot.role, network);
            }
            Source::Heads { on, .. } => {
                let network = heads(recipe, self.slots, slot, &|role| &*self.features[&role], device)?;
                let input = match on {
                    Hooks::Network(role) => Input::FeaturesOf(*role),
                    Hooks::Blocks(role, blocks) => {
                        Input::StatesOf(*role, blocks.iter().map(|(name, _)| name.clone()).collect())
                    }
                };
                self.done.push(Outlined::new(slot, &*network, input));
            }
        }
        Ok(())
    }
}
