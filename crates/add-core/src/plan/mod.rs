//! What a recipe needs before it runs: memory, arithmetic, communication.
//!
//! Everything follows from the shapes of the recipe's networks ([`cost`]), from what a step does with them ([`step`]) and
//! from what is assumed of the numbers' types and of what is kept ([`Measures`]). Nothing is measured and no value made.

mod cost;
mod measures;
mod place;
mod step;

pub use cost::{Cost, Kernels};
pub use measures::{Average, Decoder, Measures, Tape, Trained, Types, ladder};
pub use step::{Held, Plan, Work};

use crate::{
    error::CoreError,
    outline::{Keeps, Outline, Role, outline},
    read::LoadedRecipe,
    recipe::{AddObjective, DeviceChoice, DistillationSpace, Dtype, Guidance, Objective, Recipe},
    train::check_objective,
};
use add_train::{add_step::ImageCondition, ema::Home};
use place::Ground;

/// The machine that a plan is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// GPUs that share the batch.
    pub gpus: usize,
    /// Bytes of each one's memory.
    pub memory: f64,
    /// Floating-point operations per second that each reaches.
    pub flops: f64,
    /// Bytes per second that each sends while it receives as many.
    pub link: f64,
}

impl Machine {
    /// Part of the memory that a driver, its kernels and the gaps between tensors take.
    pub const RESERVE: f64 = 0.06;

    /// Bytes for tensors.
    pub fn usable(&self) -> f64 {
        self.memory * (1.0 - Self::RESERVE)
    }

    /// Bytes that each GPU sends to add up `bytes` over all by a ring: `2 (n - 1) / n` of them.
    pub fn all_reduce_bytes(&self, bytes: f64) -> f64 {
        let n = self.gpus.max(1) as f64;
        2.0 * (n - 1.0) / n * bytes
    }

    /// Seconds for `flops` on one GPU.
    pub fn seconds(&self, flops: f64) -> f64 {
        flops / self.flops
    }
}

/// A network with what one sample costs it.
#[derive(Debug, Clone)]
pub(crate) struct Costed {
    pub(crate) role: Role,
    pub(crate) parameters: f64,
    pub(crate) trained: bool,
    pub(crate) averaged: bool,
    /// Whether its values are another network's.
    pub(crate) shared: bool,
    /// What its tape keeps.
    pub(crate) keeps: Keeps,
    /// What it computes in, and is held in where it is frozen.
    pub(crate) dtype: Dtype,
    /// Of the whole network; of a codec, of its decoder.
    pub(crate) cost: Cost,
    /// Of a codec's encoder.
    pub(crate) encoder: Cost,
    /// Layer by layer, for a network that is trained.
    pub(crate) profile: Vec<(f64, f64)>,
    /// Parameters under adapters of rank one.
    pub(crate) adapters: f64,
}

/// What a step does beside what its networks cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Habits {
    pub(crate) parts: f64,
    pub(crate) adversarial: bool,
    pub(crate) distills: bool,
    /// Where the running average lies.
    pub(crate) average: Home,
    /// The processor's compute in f32 whatever the type, with copies of what they read and write.
    pub(crate) kernels: Kernels,
    /// Part of a picture that is decoded for the distance; 0 for a distance between latents.
    pub(crate) decoded: f64,
    pub(crate) embeds_pictures: bool,
    /// Passes of the teacher, and samples in each for one of the student's.
    pub(crate) teacher_passes: f64,
    pub(crate) guidance_copies: f64,
    /// Values of the hooked features of one picture.
    pub(crate) hooked: f64,
}

/// The kernels that run on a recipe's device.
pub fn kernels(recipe: &Recipe) -> Kernels {
    match recipe.device {
        DeviceChoice::Flex() => Kernels::Fused,
        DeviceChoice::NdArray() | DeviceChoice::Cuda(_) | DeviceChoice::Vulkan(_) => Kernels::Pure,
    }
}

/// The plan of `loaded` with `kernels`.
///
/// # Errors
/// When the recipe cannot be assembled, or trains nothing.
pub fn plan(loaded: &LoadedRecipe, kernels: Kernels) -> Result<Plan, CoreError> {
    let recipe = &loaded.recipe;
    check_objective(recipe)?;
    let Outline { networks, features } = outline(loaded)?;
    let (size, text) = (recipe.data.size(), recipe.text.info().tokens);
    let side = size / recipe.codec.info().reduction;
    let hooks: Vec<String> = features.iter().flat_map(|f| f.network.hooks()).map(|(name, _)| name).collect();
    let mut tokens = Vec::new();
    let mut hooked = 0.0;
    let mut costed = Vec::new();
    for network in &networks {
        let of = |side: usize| Ground::of(&network.shapes, side, text);
        let ground = match (network.role, &features) {
            (Role::Features, Some(features)) => {
                let ground = of(features.network.input_size()).up_to(&hooks);
                tokens = hooks.iter().map(|hook| ground.hook_positions(hook)).collect();
                let channels = features.network.hooks().into_iter().map(|(_, channels)| channels);
                hooked = channels.zip(&tokens).map(|(c, n)| (c * n) as f64).sum();
                ground
            }
            (Role::ImageEncoder, Some(features)) => {
                of(features.image_encoder.as_ref().map_or(size, |encoder| encoder.input_size()))
            }
            (Role::Heads, _) => Ground::Heads(tokens.clone()),
            (Role::Codec | Role::DistillationCodec, _) => of(size),
            // Adapters lie where the student's layers do.
            (Role::Adapters, _) => Ground::of(&networks[0].shapes, side, text),
            (Role::Text, _) => Ground::Sequence(text),
            _ => of(side),
        };
        let whole = |part: &dyn Fn(&str) -> bool| cost::cost(&network.shapes, &ground, kernels, part);
        let encodes = |path: &str| {
            place::after(path, "encoder.").is_some() || place::after(path, "quant_conv.").is_some()
        };
        let is_codec = matches!(network.role, Role::Codec | Role::DistillationCodec);
        costed.push(Costed {
            role: network.role,
            parameters: network.parameters() as f64,
            trained: network.trained,
            averaged: network.averaged,
            shared: network.shared,
            keeps: network.keeps,
            dtype: network.dtype,
            cost: whole(&|path| !is_codec || !encodes(path)),
            encoder: if is_codec { whole(&encodes) } else { Cost::default() },
            profile: if network.trained {
                cost::profile(&network.shapes, &ground, kernels)
            } else {
                Vec::new()
            },
            adapters: measures::adapters(&network.shapes),
        });
    }
    let habits = match &recipe.objective {
        Objective::Add(objective) => add_habits(recipe, objective, kernels, side, hooked),
        Objective::Diffusion(_) | Objective::Off() => Habits {
            parts: recipe.shards as f64 + if recipe.rounds > 1 { 1.0 } else { 0.0 },
            adversarial: false,
            distills: false,
            kernels,
            average: match &recipe.objective {
                Objective::Diffusion(objective) => objective.ema_home,
                Objective::Add(_) | Objective::Off() => Home::Device,
            },
            decoded: 0.0,
            embeds_pictures: false,
            teacher_passes: 0.0,
            guidance_copies: 1.0,
            hooked: 0.0,
        },
    };
    Ok(Plan::new(costed, habits))
}

fn add_habits(
    recipe: &Recipe,
    objective: &AddObjective,
    kernels: Kernels,
    side: usize,
    hooked: f64,
) -> Habits {
    let (adversarial, distillation) = (&objective.adversarial, &objective.distillation);
    let unguided = matches!(objective.teacher.guidance, Guidance::Fixed(w) if (w - 1.0).abs() < f64::EPSILON);
    let distills = distillation.lambda > 0.0;
    Habits {
        parts: recipe.shards as f64 + if recipe.rounds > 1 { 1.0 } else { 0.0 },
        adversarial: adversarial.weight > 0.0,
        distills,
        average: objective.ema_home,
        kernels,
        decoded: match &distillation.space {
            _ if !distills => 0.0,
            DistillationSpace::Pixel | DistillationSpace::PixelBy(_) => 1.0,
            DistillationSpace::Crop { size } => (*size as f64 / side as f64).powi(2),
            DistillationSpace::Latent => 0.0,
        },
        embeds_pictures: adversarial.image_condition != ImageCondition::Off,
        teacher_passes: if distills { objective.teacher.steps as f64 } else { 0.0 },
        guidance_copies: if unguided { 1.0 } else { 2.0 },
        hooked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_sends_almost_twice_what_it_adds() {
        let machine = |gpus| Machine { gpus, memory: 100.0, flops: 10.0, link: 1.0 };
        // SD2.1's gradients in f32 over eight GPUs: 2 x 7 / 8 x 4 x 865,910,724 bytes.
        let sd21 = 4.0 * 865_910_724.0;
        assert!((machine(8).all_reduce_bytes(sd21) - 6_061_375_068.0).abs() < 1.0);
        assert!(machine(1).all_reduce_bytes(sd21).abs() < 1e-9, "one GPU has nobody to talk to");
        assert!((machine(1).usable() - 94.0).abs() < 1e-9);
        assert!((machine(1).seconds(25.0) - 2.5).abs() < 1e-9);
    }
}
