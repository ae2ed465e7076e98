//! What a person asks for, checked before anything is made.

use std::path::Path;

use add_data::{decode_rgb, square, to_planes};
use add_plugin::{Autoencoder, Pixels, Start};
use add_recipe::{
    Recipe,
    problems::{MAX_SAMPLING_STEPS, check_prompt},
};
use burn::tensor::{Tensor, TensorData};

use crate::{device::device, error::CoreError};

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
    let refuse = |problem: String| Err(CoreError::Request(problem));
    if !(1..=MAX_SAMPLING_STEPS).contains(&steps) {
        return refuse(format!("--steps: expected 1 to {MAX_SAMPLING_STEPS}, got {steps}"));
    }
    if !(0.0..=100.0).contains(&guidance) {
        return refuse(format!("--guidance: expected a number from 0 to 100, got {guidance}"));
    }
    if !(1..=MAX_PICTURES).contains(&captions.len()) {
        return refuse(format!("expected 1 to {MAX_PICTURES} pictures, got {}", captions.len()));
    }
    let prompts = captions.iter().map(|caption| ("--prompt", caption.as_str()));
    for (argument, prompt) in prompts.chain([("--negative", negative)]) {
        check_prompt(prompt).map_err(|problem| CoreError::Request(format!("{argument}: {problem}")))?;
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
    let pixels = Tensor::from_data(planes, &device(recipe.device)?);
    Ok(Start::Picture { x_0: codec.encode(Pixels(pixels)).0, strength })
}
