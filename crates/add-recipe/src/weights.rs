//! Where a model's values come from.

use add_weights::Location;
use serde::{Deserialize, Serialize};

/// Where a model's values come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weights {
    /// Drawn from the recipe's seed.
    Random(),
    /// A file of this project with `denoiser.*`, and `text.*` where the text encoder has no weights of its own;
    /// relative to the recipe.
    File(String),
    /// The denoiser of a diffusers pipeline: its folder, such as `hf://stabilityai/sd-turbo`, or the file itself.
    Diffusers(Location),
    /// The denoiser in a single file of Stable Diffusion's own training code.
    Ldm(Location),
}
