//! The equations of Adversarial Diffusion Distillation, and of the methods that it is compared with, and of the autoencoders below them, as pure functions over
//! tensors.
//!
//! Each function is one equation, named in its documentation; `PAPER.md` and the maps beside it, one for each other method,
//! lead to recipe fields and tests.
//! Symbols are the paper's: `x_0` real sample, `x_s` student input, `x_hat_theta` student output, `x_hat_psi`
//! the teacher's estimate, `alpha_t` and `sigma_t` the factors of signal and noise.

mod augment;
mod autoencoder;
mod boundary;
mod consistency;
mod diffusion;
mod diffusion_gan;
mod distillation;
mod distribution_matching;
mod hinge;
mod logistic;
mod perceptual;
mod progressive;
mod r1;
mod reflow;
mod resize;
mod teacher;

pub use augment::{Augmentation, DiffAugment, augment, augmented_view};
pub use autoencoder::{absolute_distance, divergence_from_normal, perceptual_distance};
pub use boundary::{Boundary, boundary, consistency_function};
pub use consistency::{ConsistencyDistance, consistency, consistency_timesteps, skipped, solver_step};
pub use diffusion::{diffuse, epsilon, flow, pure_noise_where, v, x0};
pub use diffusion_gan::{jump_ends, reconstruction, reconstruction_weight};
pub use distillation::{PixelReduction, distillation};
pub use distribution_matching::{distribution_matching, distribution_matching_gradient};
pub use hinge::{Reduction, hinge_discriminator, hinge_generator};
pub use logistic::{logistic_discriminator, logistic_generator};
pub use perceptual::perceptual;
pub use progressive::{
    SnrWeighting, StepTimes, ddim_step, one_step_target, snr_plus_one, trailing_timesteps, truncated_snr,
    two_ddim_steps,
};
pub use r1::{R1, R1Route, input_gradients, r1};
pub use reflow::{line_time, straight_flow, timestep_on_line};
pub use resize::{Window, crop_and_resize, resize};
pub use teacher::{consecutive_estimate, consecutive_timesteps, guide};
