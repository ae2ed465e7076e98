//! What a person asks for, checked before anything is made.

use std::{collections::BTreeMap, ops::Range, path::Path};

use add_data::{RgbImage, decode_rgb, filling, to_planes};
use add_plugin::{Autoencoder, Latents, Pixels, Start};
use add_recipe::{
    Beginning, Dimensions, Mask, Recipe, latents_shape,
    problems::{MAX_SAMPLING_STEPS, check_prompt},
};
use add_weights::{NamedTensor, Precision, WeightsFile, save};
use burn::tensor::{DType, Tensor, TensorData};

use crate::{device, error::CoreError, validate::MAX_SIDE};

/// Largest size of an encoded picture, in bytes.
const MAX_PICTURE: u64 = 64 << 20;
/// The tensor in a file of latents.
const LATENTS: &str = "latents";

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

/// Checks how much of a picture to start from is to be changed.
///
/// # Errors
/// When it is no part of the whole, or leaves no step.
pub fn check_strength(strength: f64, steps: usize) -> Result<(), CoreError> {
    if strength > 0.0 && strength <= 1.0 && steps as f64 * strength >= 1.0 {
        return Ok(());
    }
    refuse(
        "strength",
        format!(
            "expected a number above 0 up to 1 that leaves at least one of {steps} steps, got {strength}"
        ),
    )
}

/// Checks that the recipe's model makes pictures of this size.
///
/// # Errors
/// Says which sizes it makes.
pub fn check_size(recipe: &Recipe, size: Dimensions) -> Result<(), CoreError> {
    let multiple = (recipe.codec.info().reduction * recipe.model.backbone.info().multiple_of).max(1);
    let fits = |side: usize| (1..=MAX_SIDE).contains(&side) && side.is_multiple_of(multiple);
    if fits(size.width) && fits(size.height) {
        return Ok(());
    }
    let backbone = recipe.model.backbone.name();
    refuse(
        "size",
        format!("expected multiples of {multiple} up to {MAX_SIDE}, required by {backbone}, got {size}"),
    )
}

fn refuse<T>(name: &'static str, problem: String) -> Result<T, CoreError> {
    Err(CoreError::Argument { name, problem })
}

/// The files that pictures are made from, beside their captions.
#[derive(Debug, Clone, Copy, Default)]
pub struct InputFiles<'a> {
    /// A picture, or latents in a `.safetensors` file, to start from.
    pub init: Option<&'a Path>,
    /// The part of the steps that is done on it.
    pub strength: f64,
    /// A picture of the size of `init`, white where that is made anew.
    pub mask: Option<&'a Path>,
    /// Noise to start from, in a `.safetensors` file.
    pub latents: Option<&'a Path>,
}

/// What was in them.
#[derive(Debug)]
pub struct Inputs {
    init: Option<(Init, f64)>,
    mask: Option<RgbImage>,
    noise: Option<Tensor<4>>,
    size: Dimensions,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
enum Init {
    Picture(RgbImage),
    Latents(Tensor<4>),
}

impl Inputs {
    /// Reads the files for pictures of `size`, those of the indices `range`, and checks that they fit; no model is needed.
    ///
    /// # Errors
    /// When one is missing, damaged or of the wrong size, or the strength leaves no step.
    pub fn read(
        files: &InputFiles<'_>,
        recipe: &Recipe,
        size: Dimensions,
        steps: usize,
        range: Range<u64>,
    ) -> Result<Self, CoreError> {
        let strength = files.strength;
        if files.init.is_some() {
            check_strength(strength, steps)?;
        }
        let (mut init, mut mask) = (None, None);
        if let Some(path) = files.init.filter(|path| is_tensors(path)) {
            init = Some((Init::Latents(latents(path, recipe, size, 0..1)?), strength));
        } else if let Some(path) = files.init {
            init = Some((Init::Picture(picture(path)?), strength));
        }
        if let Some(path) = files.mask {
            let expected = match &init {
                None => {
                    return refuse("mask", "expected a picture to start from beside it, got none".to_owned());
                }
                Some((Init::Picture(picture), _)) => picture.dimensions(),
                Some((Init::Latents(_), _)) => (size.width as u32, size.height as u32),
            };
            let found = picture(path)?;
            if found.dimensions() != expected {
                let ((w, h), (width, height)) = (found.dimensions(), expected);
                return refuse(
                    "mask",
                    format!("expected the size of the picture, {width}x{height}, got {w}x{h}"),
                );
            }
            if !found.pixels().any(|pixel| pixel.0[0] > 0) {
                let problem = "nothing of it is white, so nothing would be made anew".to_owned();
                return refuse("mask", format!("{}: {problem}", path.display()));
            }
            mask = Some(filled(&found, size));
        }
        let noise = files.latents.map(|path| latents(path, recipe, size, range)).transpose()?;
        Ok(Self { init, mask, noise, size })
    }

    /// What a sampler begins with.
    ///
    /// # Errors
    /// When the recipe's device cannot be had.
    pub fn beginning(&self, recipe: &Recipe, codec: &dyn Autoencoder) -> Result<Beginning, CoreError> {
        let device = device::of(recipe)?;
        let Dimensions { width, height } = self.size;
        let pixels = |picture: &RgbImage| {
            let planes = TensorData::new(to_planes(&filled(picture, self.size)), [1, 3, height, width]);
            Pixels(Tensor::from_data(planes, &device))
        };
        let noise = self.noise.clone();
        let Some((init, strength)) = &self.init else {
            return Ok(Beginning { noise, ..Beginning::default() });
        };
        let (x_0, picture) = match init {
            Init::Picture(picture) => {
                let pixels = pixels(picture);
                (codec.encode(pixels.clone()).0, self.mask.is_some().then_some(pixels))
            }
            Init::Latents(x_0) => {
                let picture = self.mask.is_some().then(|| codec.decode(Latents(x_0.clone())));
                (x_0.clone(), picture)
            }
        };
        let mask = self.mask.as_ref().zip(picture).map(|(mask, picture)| {
            let shares: Vec<f32> = mask.pixels().map(|pixel| f32::from(pixel.0[0]) / 255.0).collect();
            let [_, _, rows, columns] = latents_shape(1, self.size, recipe.codec.info());
            let touched = touched(mask, rows, columns);
            Mask {
                latents: Tensor::from_data(TensorData::new(touched, [1, 1, rows, columns]), &device),
                pixels: Tensor::from_data(TensorData::new(shares, [1, 1, height, width]), &device),
                picture,
            }
        });
        Ok(Beginning { start: Start::Picture { x_0, strength: *strength }, noise, mask })
    }
}

/// 1 for each of `rows` times `columns` cells in which anything is to be made anew: a latent stands for all of its pixels.
fn touched(mask: &RgbImage, rows: usize, columns: usize) -> Vec<f32> {
    let mut cells = vec![0.0; rows * columns];
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    for (x, y, pixel) in mask.enumerate_pixels() {
        if pixel.0[0] > 0 {
            cells[y as usize * rows / height * columns + x as usize * columns / width] = 1.0;
        }
    }
    cells
}

fn filled(picture: &RgbImage, size: Dimensions) -> RgbImage {
    filling(picture, size.width as u32, size.height as u32)
}

fn picture(path: &Path) -> Result<RgbImage, CoreError> {
    let bytes = add_files::read(path, MAX_PICTURE).map_err(CoreError::io(path))?;
    decode_rgb(&bytes).map_err(|error| CoreError::Request(format!("{}: {error}", path.display())))
}

fn is_tensors(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("safetensors"))
}

/// Rows `range` of the latents in a file; a file of one row has it for all.
fn latents(
    path: &Path,
    recipe: &Recipe,
    size: Dimensions,
    range: Range<u64>,
) -> Result<Tensor<4>, CoreError> {
    let failed = |problem: String| CoreError::Request(format!("{}: {problem}", path.display()));
    if !is_tensors(path) {
        return Err(failed("expected latents in a .safetensors file".to_owned()));
    }
    let file = WeightsFile::open(path)?;
    let names: Vec<&String> = file.tensors().keys().collect();
    let name = match names.as_slice() {
        [one] => one.as_str(),
        _ => LATENTS,
    };
    let info = file.info(name).map_err(|_| {
        failed(format!("expected one tensor, or one that is called `{LATENTS}`, found {}", names.len()))
    })?;
    let [_, channels, rows, columns] = latents_shape(1, size, recipe.codec.info());
    let count = match info.shape[..] {
        [count, c, h, w] if count > 0 && [c, h, w] == [channels, rows, columns] => count as u64,
        _ => {
            return Err(failed(format!(
                "expected latents [N, {channels}, {rows}, {columns}] for pictures of {size}, found {:?}",
                info.shape
            )));
        }
    };
    if count > 1 && range.end > count {
        return Err(failed(format!(
            "it has latents of {count} pictures, and picture {} is asked for (they count from 0)",
            range.end - 1
        )));
    }
    file.check_finite([name])?;
    let values = file.tensor(name, DType::F32, &device::of(recipe)?)?;
    let all = values.reshape([count as usize, channels, rows, columns]);
    let wanted = (range.end - range.start) as usize;
    Ok(if count == 1 { all.repeat_dim(0, wanted) } else { all.narrow(0, range.start as usize, wanted) })
}

/// Writes clean latents `[N, C, h, w]`, as [`InputFiles::init`] reads them.
///
/// # Errors
/// When the disk refuses.
pub fn write_latents(path: &Path, latents: &Latents) -> Result<(), CoreError> {
    let tensor = NamedTensor { shape: latents.0.dims().to_vec(), values: latents.0.clone().reshape([-1]) };
    let tensors = BTreeMap::from([(LATENTS.to_owned(), tensor)]);
    Ok(save(path, &tensors, Precision::F32, &BTreeMap::new())?)
}
