//! What students of a few steps have in common: the timesteps that they know, and what they are asked there.

mod simulation;
mod timesteps;

use add_loss::pure_noise_where;
use add_plugin::{Conditioning, Denoiser, Timesteps};
use add_train::process::Process;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use simulation::Simulation;
pub use timesteps::StudentTimesteps;
pub(crate) use timesteps::draw_timestep;

/// Student timesteps with their noise.
#[derive(Debug, Clone)]
pub struct StudentInput {
    /// `s`.
    pub s: Timesteps,
    /// `eps` `[B, C, H, W]`.
    pub eps: Tensor<4>,
}

/// How the student's input at the last timestep becomes pure noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Terminal {
    /// By the schedule: it must have zero terminal SNR.
    #[default]
    Schedule,
    /// The input is replaced by noise; the schedule's own, leaky `alpha` stays in the formula of `x_0`. The model takes a
    /// part of the noise for signal, so different noise begins as a different picture.
    InputReplacement,
}

/// The end of a student's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// `tau_n`, the largest student timestep, whose input is pure noise.
    pub(crate) last_timestep: usize,
    /// How it becomes that.
    pub(crate) terminal: Terminal,
}

impl End {
    /// Whether a student timestep is `tau_n`.
    pub(crate) fn is_at(self, s: f64) -> bool {
        s >= self.last_timestep as f64
    }

    /// `x_hat_theta(x_s, s)` `[B, C, H, W]` with `x_s = alpha_s x_0 + sigma_s eps`, on the tape of `network`'s parameters.
    pub(crate) fn estimate(
        self,
        process: &Process,
        x_0: &Tensor<4>,
        input: &StudentInput,
        captions: &Conditioning,
        network: &dyn Denoiser,
    ) -> Tensor<4> {
        let x_s = process.diffuse(x_0.clone(), input.eps.clone(), &input.s);
        let x_s = match self.terminal {
            Terminal::Schedule => x_s,
            Terminal::InputReplacement => {
                let last: Vec<bool> = input.s.0.iter().map(|&s| self.is_at(s)).collect();
                pure_noise_where(&last, x_s, input.eps.clone())
            }
        };
        let output = process.predict(network, x_s.clone(), &input.s, captions);
        process.x0(output, x_s, &input.s)
    }
}
