//! What a recipe needs before it runs: memory, arithmetic, communication.
//!
//! Everything follows from the shapes of the recipe's networks (`cost`), from what a step does with them (`step`) and
//! from what is assumed of the numbers' types and of what is kept ([`Measures`]). Nothing is measured and no value made.

mod cost;
mod geometry;
mod held;
mod measures;
mod network;
mod shares;
mod step;

pub use cost::{Cost, KernelKind};
pub use held::{Held, Work};
pub use measures::{Average, Decoder, KeptStates, Measures, States, Trained, Types, ladder};
pub use step::Plan;

use add_recipe::{DeviceChoice, Dtype, OptimizerStates, Passes, Recipe, slot::ADAPTERS};
use add_train::{ema::Home, networks::Role};
use geometry::Geometry;

use crate::{
    device,
    error::CoreError,
    outline::{Input, Keeps, Outlined, outline},
    read::LoadedRecipe,
    train::check_trains,
};

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
    /// Where its running average lies, if there is one.
    pub(crate) average: Option<Home>,
    /// Whether another network follows that average, so that ranks do not share it.
    pub(crate) is_followed: bool,
    /// Values of each tensor, for a network that is trained.
    pub(crate) tensors: Vec<usize>,
    /// Whether its values are another network's.
    pub(crate) shared: bool,
    /// What its tape keeps.
    pub(crate) keeps: Keeps,
    /// What it computes in, and is held in where it is frozen.
    pub(crate) dtype: Dtype,
    /// What the whole network costs; for a codec, its decoder.
    pub(crate) cost: Cost,
    /// What a codec's encoder costs.
    pub(crate) encoder: Cost,
    /// Layer by layer, for a network that is trained.
    pub(crate) profile: Vec<(f64, f64)>,
    /// Parameters under adapters of rank one.
    pub(crate) adapters: f64,
    /// Values of the hooked features of one picture, of a network that heads look through.
    pub(crate) hooked: f64,
    pub(crate) kind: Kind,
}

/// What a measure can do about a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A denoiser: it may be trained by adapters.
    Denoiser,
    /// Discriminator heads: they have no blocks and compute in f32.
    Heads,
    /// Any other.
    Other,
}

/// How a recipe's step is computed, beside what its method does with its networks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Computation {
    /// What the method does with its networks.
    pub(crate) passes: Passes,
    /// Parts of a batch that are computed side by side.
    pub(crate) replicas: usize,
    /// Parts of a batch that are computed one after the other, on all ranks together.
    pub(crate) accumulation: usize,
    /// Who keeps the optimisers' states.
    pub(crate) states: OptimizerStates,
    /// The processor's compute in f32 whatever the type, with copies of what they read and write.
    pub(crate) kernels: KernelKind,
}

/// The kernels that run on a recipe's device.
pub fn kernels(recipe: &Recipe) -> KernelKind {
    match device::resolve(recipe.device) {
        DeviceChoice::Flex() => KernelKind::Fused,
        _ => KernelKind::Pure,
    }
}

/// The plan of `loaded` with `kernels`, for one rank alone; see [`Plan::among`].
///
/// # Errors
/// When the recipe cannot be assembled, trains nothing, or has a network whose layers' positions are not known.
pub fn plan(loaded: &LoadedRecipe, kernels: KernelKind) -> Result<Plan, CoreError> {
    let recipe = &loaded.recipe;
    check_trains(recipe)?;
    let networks = outline(loaded)?;
    let mut costed = Vec::new();
    for network in &networks {
        let geometry = geometry(&networks, network)?;
        costed.push(Costed::new(network, &geometry, kernels));
    }
    let computation = Computation {
        passes: recipe.objective.passes(recipe),
        replicas: recipe.replicas,
        accumulation: recipe.gradient_accumulation,
        states: recipe.optimizer_states,
        kernels,
    };
    Ok(Plan::new(costed, computation))
}

/// What a network works on, for one sample.
fn geometry(networks: &[Outlined], network: &Outlined) -> Result<Geometry, CoreError> {
    let unknown = || {
        CoreError::Request(format!(
            "plan: the layers of the {} have names that are not known here, so their positions cannot be counted; measure \
             it with `--rehearse`",
            network.role
        ))
    };
    let of = |side: usize, channels: usize, text: usize| {
        // Adapters lie where the layers beside them do.
        let whole = networks.iter().find(|other| network.role == ADAPTERS && other.input == network.input);
        Geometry::of(&whole.unwrap_or(network).shapes, side, channels, text).ok_or_else(unknown)
    };
    // Pictures have three channels.
    let of_pictures = |side: usize| of(side, 3, 0);
    match &network.input {
        Input::Text(tokens) => Ok(Geometry::Sequence(*tokens)),
        Input::Latents { side, channels, text } => of(*side, *channels, *text),
        Input::Pixels(side) => of_pictures(*side),
        Input::Hooked { side, hooks } => {
            let names: Vec<String> = hooks.iter().map(|(name, _)| name.clone()).collect();
            Ok(of_pictures(*side)?.up_to(&names))
        }
        Input::FeaturesOf(role) => {
            let looked = networks.iter().find(|other| other.role == *role).ok_or_else(unknown)?;
            Ok(Geometry::Heads(hook_positions(looked, &geometry(networks, looked)?)))
        }
        Input::StatesOf(role, blocks) => {
            let looked = networks.iter().find(|other| other.role == *role).ok_or_else(unknown)?;
            let geometry = geometry(networks, looked)?;
            Ok(Geometry::Heads(blocks.iter().map(|block| geometry.hook_positions(block)).collect()))
        }
    }
}

/// Positions of each hook of a network that heads look through.
fn hook_positions(network: &Outlined, geometry: &Geometry) -> Vec<usize> {
    match &network.input {
        Input::Hooked { hooks, .. } => hooks.iter().map(|(name, _)| geometry.hook_positions(name)).collect(),
        _ => Vec::new(),
    }
}

impl Costed {
    fn new(network: &Outlined, geometry: &Geometry, kernels: KernelKind) -> Self {
        let whole = |part: &dyn Fn(&str) -> bool| cost::cost(&network.shapes, geometry, kernels, part);
        let encodes = |path: &str| {
            geometry::after(path, "encoder.").is_some() || geometry::after(path, "quant_conv.").is_some()
        };
        let is_codec = matches!(geometry, Geometry::Kl { .. } | Geometry::Tiny { .. });
        let positions = hook_positions(network, geometry);
        let hooked = match &network.input {
            Input::Hooked { hooks, .. } => {
                hooks.iter().zip(positions).map(|((_, c), n)| (c * n) as f64).sum()
            }
            _ => 0.0,
        };
        Self {
            role: network.role,
            parameters: network.parameters() as f64,
            trained: network.trained,
            average: network.average,
            is_followed: network.is_followed,
            tensors: if network.trained {
                network.shapes.iter().map(|(_, shape)| shape.iter().product()).collect()
            } else {
                Vec::new()
            },
            shared: network.shared,
            keeps: network.keeps,
            dtype: network.dtype,
            // What a codec in training keeps, it keeps of both halves.
            cost: match whole(&|path| !is_codec || !encodes(path)) {
                decoder if is_codec && network.trained => Cost { flops: decoder.flops, ..whole(&|_| true) },
                cost => cost,
            },
            encoder: if is_codec { whole(&encodes) } else { Cost::default() },
            profile: if network.trained {
                cost::profile(&network.shapes, geometry, kernels)
            } else {
                Vec::new()
            },
            adapters: measures::adapters(&network.shapes),
            hooked,
            kind: match network.input {
                Input::Latents { .. } => Kind::Denoiser,
                Input::FeaturesOf(_) | Input::StatesOf(..) => Kind::Heads,
                Input::Text(_) | Input::Pixels(_) | Input::Hooked { .. } => Kind::Other,
            },
        }
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
