//! The equations of Adversarial Diffusion Distillation as pure functions over tensors.
//!
//! Each function is one equation, named in its documentation; `PAPER.md` maps them to recipe fields and tests.
//! Symbols are the paper's: `x_0` real sample, `x_s` student input, `x_hat_theta` student output, `x_hat_psi`
//! the teacher's estimate, `alpha_t` and `sigma_t` the factors of signal and noise.

mod augment;
mod diffusion;
mod distillation;
mod hinge;
mod r1;
mod resize;
mod teacher;

pub use augment::{Augmentation, DiffAugment, augment, augmented_view};
pub use diffusion::{diffuse, epsilon, flow, pure_noise_where, v, x0};
pub use distillation::{PixelReduction, distillation};
pub use hinge::{Reduction, hinge_discriminator, hinge_generator};
pub use r1::{R1, R1Route, input_gradients, r1};
pub use resize::{Window, crop_and_resize, resize};
pub use teacher::{consecutive_estimate, consecutive_timesteps, guide};
