//! Plugins: samplers.
//!
//! All of them work on `x_t = alpha_t x_0 + sigma_t eps` and read the denoiser's two estimates, `x_0` and `eps`, so that
//! a timestep without signal (`alpha = 0`) needs no division. A step from `t` goes to the next timestep of its list,
//! or, at the end of the list, to the clean sample `alpha = 1, sigma = 0`.

mod add_refine;
mod ddim;
mod dpm_solver;
mod euler;
#[cfg(test)]
mod flow_match;
mod lcm;
mod path;
mod spacing;

pub use add_refine::AddRefine;
pub use ddim::{Ddim, Landing};
pub use dpm_solver::{DpmSolver2M, Sigmas};
pub use euler::{Euler, EulerAncestral};
pub use lcm::Lcm;
pub use spacing::Spacing;

#[cfg(test)]
mod testing;
