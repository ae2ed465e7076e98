//! The grid that a run draws of itself: prompts side by side, one row for each way of making them.

use std::path::Path;

use add_data::{Grid, RgbImage, pictures, write_png};
use add_plugin::{Autoencoder, Pixels, Sampler};
use add_train::TrainError;

use crate::{Beginning, Dimensions, Recipe, SampleRequest, SampledModel, data_error};

/// One row of a grid.
pub struct PreviewRow {
    /// What made it, such as `4 steps`.
    pub label: String,
    /// One picture a prompt.
    pub pixels: Pixels,
}

/// The recipe's prompts, with noise that stays the same through the run.
pub fn request<'a>(
    recipe: &'a Recipe,
    sampler: &'a dyn Sampler,
    steps: usize,
    guidance: f64,
) -> SampleRequest<'a> {
    SampleRequest {
        captions: &recipe.preview.prompts,
        negative: "",
        sampler,
        steps,
        guidance,
        seed: recipe.seed,
        first: 0,
        size: Dimensions::square(recipe.data.size()),
        beginning: Beginning::default(),
    }
}

/// One row for each of the recipe's numbers of steps, made by a student with a guidance of `guidance`.
pub fn student_rows(
    recipe: &Recipe,
    student: &SampledModel,
    codec: &dyn Autoencoder,
    guidance: f64,
) -> Vec<PreviewRow> {
    let row = |&steps: &usize| {
        let wanted = request(recipe, &*recipe.sampling.sampler, steps, guidance);
        let label = if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") };
        PreviewRow { label, pixels: student.generate(recipe, codec, &wanted) }
    };
    recipe.preview.steps.iter().map(row).collect()
}

/// Writes the rows of a student as a PNG; nothing where the recipe has no prompts.
///
/// # Errors
/// As [`write()`].
pub fn student(
    path: &Path,
    recipe: &Recipe,
    student: &SampledModel,
    codec: &dyn Autoencoder,
    guidance: f64,
) -> Result<(), TrainError> {
    if recipe.preview.prompts.is_empty() {
        return Ok(());
    }
    write(path, &recipe.preview.prompts, student_rows(recipe, student, codec, guidance))
}

/// Writes the rows as a PNG.
///
/// # Errors
/// When a row has another number of pictures than there are prompts, or the disk refuses.
pub fn write(path: &Path, prompts: &[String], rows: Vec<PreviewRow>) -> Result<(), TrainError> {
    let labels: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    let all: Vec<RgbImage> = rows.iter().flat_map(|row| pictures(&row.pixels)).collect();
    let size = all.first().map_or(1, |picture| picture.width().max(1));
    let grid = Grid::new(all, prompts.len()).map_err(data_error)?.scale((96 / size).max(1));
    let picture = grid.rows(labels).columns(prompts.iter().cloned()).draw();
    write_png(path, &picture, &[]).map_err(data_error)
}
