//! The part of a recipe under `objective: Consistency(…)`.

use add_loss::ConsistencyDistance;
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use crate::{Distilled, Guidance};

/// Latent consistency distillation. The defaults are those of the paper and of its public training code for Stable
/// Diffusion.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consistency {
    /// The frozen model whose trajectories are learnt; another one than the student's beginning shares its schedule, too.
    pub teacher: Distilled,
    /// Scale of the teacher's classifier-free guidance, where 1 is none: the paper's `omega` and 1 more. A range asks for a
    /// backbone with a guidance embedding, whose student is told each sample's scale; a student without one learns a single
    /// scale, and is sampled without guidance.
    pub guidance: Guidance,
    /// Timesteps of one step of the teacher's solver, `k`. The student learns every `skip`-th timestep, down from the last:
    /// with 20, of 1000, the fifty of the released scheduler.
    pub skip: usize,
    /// Factor of the timestep in the boundary conditions, as in the sampler `Lcm`.
    pub timestep_scaling: f64,
    /// The distance between the two ends of a solver step.
    pub distance: ConsistencyDistance,
    /// Which network is asked at the end that is nearer to the picture.
    pub target: Target,
    /// Part of the captions that is replaced by the empty one.
    pub caption_dropout: f64,
    /// The student's optimiser.
    pub optimizer: AdamWConfig,
    /// Half-life of the student's averaged weights, in images. The paper keeps 0.95 of them at each step of 72 images, which
    /// is 970.
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

/// Which network is asked at the end of a solver step that is nearer to the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The running average of the student. Song et al. 2023, Eq. (8).
    #[default]
    Average,
    /// The student as it is, without gradient, which takes no further network. Song and Dhariwal 2023, section 3.2; it is
    /// also how adapters are distilled.
    Student,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            teacher: Distilled::Initial(),
            guidance: Guidance::Uniform(3.0, 15.0),
            skip: 20,
            timestep_scaling: 10.0,
            distance: ConsistencyDistance::default(),
            target: Target::default(),
            caption_dropout: 0.0,
            optimizer: AdamWConfig { lr: 8e-6, ..AdamWConfig::default() },
            ema_half_life: 1000.0,
            ema_home: Home::Device,
        }
    }
}
