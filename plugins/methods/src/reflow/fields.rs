//! The part of a recipe under `objective: Reflow(…)`.

use add_loss::ConsistencyDistance;
use add_plugin::{FeatureNetwork, Plugin, Sampler};
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use crate::student::Terminal;

/// Rectified flow of a text-to-image model: its trajectories are straightened, and the straight ones distilled to one step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reflow {
    /// How often trajectories are straightened. The recipe's model counts as the first flow, so 1 makes the paper's 2-rectified
    /// flow; 0 distils the model as it is.
    #[serde(default = "once")]
    pub reflows: usize,
    /// Each straightening: the student learns to go straight from the noise to the picture of its teacher's pairs.
    pub reflow: Lesson,
    /// The last stage: one step of the student becomes what its teacher, the straightened model, makes in several. `None`
    /// leaves it out, and the run ends with a model of straight trajectories that knows all timesteps.
    #[serde(default)]
    pub distillation: Option<Lesson>,
    /// What solves the teacher's trajectories: a sampler without fresh noise, so that the noise alone decides the picture.
    pub sampler: Plugin<dyn Sampler>,
    /// How pairs are made ahead and used again.
    #[serde(default)]
    pub pool: Pool,
    /// The distance of the last stage between the student's picture and the pair's, of latents.
    #[serde(default = "squared")]
    pub distance: ConsistencyDistance,
    /// A distance between features of both decoded pictures beside it, as LPIPS is in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<Perceptual>,
    /// How the last timestep's input becomes pure noise in the last stage.
    #[serde(default)]
    pub terminal: Terminal,
    /// The student's optimiser, which starts anew in each stage. Within a stage the learning rate falls from `lr` to zero along a
    /// line.
    #[serde(default = "default_optimizer")]
    pub optimizer: AdamWConfig,
    /// Half-life of the student's averaged weights, in images. The average is what becomes the next stage's teacher.
    #[serde(default = "default_half_life")]
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(default, skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

/// What a stage takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lesson {
    /// Training steps.
    pub steps: u64,
    /// Denoiser calls for each pair of the teacher; the paper takes 25.
    pub sampling_steps: usize,
    /// Scale of the teacher's classifier-free guidance, 1 for none.
    #[serde(default = "one")]
    pub guidance: f64,
}

/// Pairs are made in batches ahead of their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Batches of pairs that are kept at the same time.
    pub batches: u64,
    /// How often each is used, at other timesteps, before it is replaced: a step costs so many times less sampling. In the last
    /// stage, where the timestep is always the same, a pair that is used again says nothing new but in a moved student.
    pub uses: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self { batches: 8, uses: 4 }
    }
}

/// A distance between features of pictures.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perceptual {
    /// Its factor, beside 1 for the distance of latents.
    #[serde(default = "one")]
    pub weight: f64,
    /// The network.
    pub features: Plugin<dyn FeatureNetwork>,
}

fn once() -> usize {
    1
}

fn one() -> f64 {
    1.0
}

fn squared() -> ConsistencyDistance {
    ConsistencyDistance::SquaredL2()
}

fn default_optimizer() -> AdamWConfig {
    AdamWConfig { lr: 1e-4, weight_decay: 0.0, warm_up: 0, ..AdamWConfig::default() }
}

fn default_half_life() -> f64 {
    2000.0
}
