//! What a person asks for, checked before anything is made.

use std::path::Path;

use add_data::{decode_rgb, square, to_planes};
use add_plugin::{Autoencoder, Pixels, Start};
use add_recipe::{
    Recipe,
    problems::{MAX_SAMPLING_STEPS, check_prompt},
};
use burn::tensor::{Tensor, TensorData};

use crate::{device, error::CoreError};

/// Largest size of an encoded picture, in bytes.
const MAX_PICTURE: u64 = 64 << 20;

/// Most pictures of one request.
pub const MAX_PICTURES: usize = 1 << 16;

/// Checks what a person asked for, before anything is made.
///
/// # Errors
/// Says which argument is out of range.
pub fn check_request(
    captions: &[String],
    negative: &str,
    steps: usize,
    guidance: f64,
) -> Result<(), CoreError> {
    let refuse = |name, problem| Err(CoreError::Argument { name, problem });
    if !(1..=MAX_SAMPLING_STEPS).contains(&steps) {
        return refuse("steps", format!("expected 1 to {MAX_SAMPLING_STEPS}, got {steps}"));
    }
    if !(0.0..=100.0).contains(&guidance) {
        return refuse("guidance", format!("expected a number from 0 to 100, got {guidance}"));
    }
    if !(1..=MAX_PICTURES).contains(&captions.len()) {
        return refuse("prompt", format!("expected 1 to {MAX_PICTURES} pictures, got {}", captions.len()));
    }
    let prompts = captions.iter().map(|caption| ("prompt", caption.as_str()));
    for (name, prompt) in prompts.chain([("negative", negative)]) {
        check_prompt(prompt).map_err(|problem| CoreError::Argument { name, problem })?;
    }
    Ok(())
}

/// A picture as what a sampler begins with: its central square at the recipe's size, encoded.
///
/// # Errors
/// When the file is missing or no picture.
pub fn picture_start(
    recipe: &Recipe,
    codec: &dyn Autoencoder,
    path: &Path,
    strength: f64,
) -> Result<Start, CoreError> {
    let bytes = add_files::read(path, MAX_PICTURE).map_err(CoreError::io(path))?;
    let picture =
        decode_rgb(&bytes).map_err(|error| CoreError::Request(format!("{}: {error}", path.display())))?;
    let size = recipe.data.size();
    let planes = TensorData::new(to_planes(&square(&picture, size as u32)), [1, 3, size, size]);
    let pixels = Tensor::from_data(planes, &device::of(recipe)?);
    Ok(Start::Picture { x_0: codec.encode(Pixels(pixels)).0, strength })
}
