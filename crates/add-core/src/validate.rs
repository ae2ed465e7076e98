//! Checks that types cannot make: ranges, and parts that must fit together. All problems are collected.

use add_recipe::{DeviceChoice, Dtype, Problems, Recipe, Source, problems::MAX_SAMPLING_STEPS};

use crate::evaluate::enough;

/// Most pictures per step, and parts of a batch.
const MAX_BATCH: usize = 1 << 16;
const MAX_REPLICAS: usize = 256;
/// Most pictures of one evaluation; the papers take 50,000.
const MAX_SAMPLES: usize = 1_000_000;
/// Most half-samples of a figure, and most pictures that are timed.
const MAX_REPEATS: usize = 10_000;
/// Most preview prompts, each a column of the grid.
const MAX_PREVIEWS: usize = 64;
/// Largest side of a picture, in pixels.
pub(crate) const MAX_SIDE: usize = 4096;
/// Most threads that load batches.
const MAX_WORKERS: usize = 256;

/// Path and message of each problem.
pub(crate) fn check(recipe: &Recipe) -> Vec<(String, String)> {
    let mut problems = Problems::default();
    let p = &mut problems;
    let good_name = !recipe.name.is_empty()
        && recipe.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    p.require(good_name && !recipe.name.starts_with('.'), "name", || {
        format!("expected letters, digits, `-`, `_` and `.`, since it names a folder; got {:?}", recipe.name)
    });
    p.size("batch", recipe.batch, MAX_BATCH);
    p.size("replicas", recipe.replicas, MAX_REPLICAS);
    let parts = recipe.replicas.saturating_mul(recipe.gradient_accumulation);
    p.require(parts > 0 && recipe.batch.is_multiple_of(parts), "replicas", || {
        let Recipe { batch, replicas, gradient_accumulation, .. } = recipe;
        format!(
            "expected `replicas` times `gradient_accumulation` to divide the batch, {batch}, got {replicas} and \
             {gradient_accumulation}"
        )
    });
    p.require(recipe.workers <= MAX_WORKERS, "workers", || {
        format!("expected at most {MAX_WORKERS} threads, got {}", recipe.workers)
    });
    for (field, value) in [
        ("run.log_every", recipe.run.log_every),
        ("run.sample_every", recipe.run.sample_every),
        ("run.checkpoint_every", recipe.run.checkpoint_every),
        ("run.keep", recipe.run.keep as u64),
    ] {
        p.positive(field, value as usize);
    }
    p.size("sampling.steps", recipe.sampling.steps, MAX_SAMPLING_STEPS);
    pictures(p, recipe);
    p.range("sampling.guidance", recipe.sampling.guidance, 0.0, 100.0);
    p.size("data.size", recipe.data.size(), MAX_SIDE);
    p.fits("model", &recipe.model, &recipe.text, &recipe.codec, recipe.data.size());
    let takes_adapters = recipe.objective.takes_adapters();
    p.require(recipe.model.adapter.is_off() || takes_adapters, "model.adapter", || {
        format!(
            "expected Off(): `objective: {}` trains the values themselves; adapters are for methods whose student begins \
             as a trained model",
            recipe.objective.name()
        )
    });
    p.require(
        recipe.model.text_weights.is_none() || recipe.text_is_the_models(),
        "model.text_weights",
        || format!("expected none: {} has weights of its own", recipe.text.name()),
    );
    dtypes(p, recipe);
    codecs(p, recipe);
    recipe.objective.check(recipe, p);
    problems.into_list()
}

/// Types that the device and the networks' parts in the run allow.
fn dtypes(p: &mut Problems, recipe: &Recipe) {
    let dtype = recipe.dtype;
    p.require(dtype.are_f32() || recipe.device != DeviceChoice::NdArray(), "dtype", || {
        "expected F32 everywhere: the ndarray backend does not support bf16".to_owned()
    });
    let speaks_wgsl = matches!(recipe.device, DeviceChoice::Wgpu(_) | DeviceChoice::WgpuSoftware());
    p.require(dtype.are_f32() || !speaks_wgsl, "dtype", || {
        "expected F32 everywhere: WGSL, the language of wgpu's kernels, has no bf16; Flex() and Cuda(0) have"
            .to_owned()
    });
    p.require(dtype.text == Dtype::F32 || !recipe.text_is_the_models(), "dtype.text", || {
        "expected F32: this text encoder's values are part of the model that is trained".to_owned()
    });
}

/// A codec without values is there to be trained.
fn codecs(p: &mut Problems, recipe: &Recipe) {
    for slot in recipe.objective.networks(recipe) {
        let Source::Codec(codec) = slot.source else { continue };
        p.require(slot.change.training().is_some() || !codec.is_drawn(), "codec", || {
            format!(
                "expected weights: {} has none as it is stated, and `objective: {}` does not train it",
                codec.name(),
                recipe.objective.name()
            )
        });
    }
}

/// The pictures that show and measure a run.
fn pictures(p: &mut Problems, recipe: &Recipe) {
    let preview = &recipe.preview;
    p.require(preview.prompts.len() <= MAX_PREVIEWS, "preview.prompts", || {
        format!("expected at most {MAX_PREVIEWS} prompts, got {}", preview.prompts.len())
    });
    for (i, prompt) in preview.prompts.iter().enumerate() {
        p.prompt(&format!("preview.prompts.{i}"), prompt);
    }
    for (i, &steps) in preview.steps.iter().enumerate() {
        p.size(&format!("preview.steps.{i}"), steps, MAX_SAMPLING_STEPS);
    }
    p.range("preview.guidance", preview.guidance, 0.0, 100.0);
    for (field, samples) in [
        ("evaluation.samples", recipe.evaluation.samples),
        ("evaluation.samples_after_training", recipe.evaluation.samples_after_training),
    ] {
        p.require(samples <= MAX_SAMPLES, field, || format!("expected at most {MAX_SAMPLES}, got {samples}"));
        // None at all is no evaluation, which a recipe may ask for.
        let few = enough::generated(&recipe.evaluation.metrics, samples).filter(|_| samples > 0);
        p.check(field, few.map_or(Ok(()), Err));
    }
    for (field, count) in [
        ("evaluation.resamples", recipe.evaluation.resamples),
        ("evaluation.latency", recipe.evaluation.latency),
    ] {
        p.require(count <= MAX_REPEATS, field, || format!("expected at most {MAX_REPEATS}, got {count}"));
    }
    for (i, row) in recipe.evaluation.rows.iter().enumerate() {
        p.size(&format!("evaluation.rows.{i}.steps"), row.steps, MAX_SAMPLING_STEPS);
        p.range(&format!("evaluation.rows.{i}.guidance"), row.guidance, 0.0, 100.0);
        for (field, side) in [("size", row.size), ("measured_at", row.measured_at)] {
            if let Some(side) = side {
                p.size(&format!("evaluation.rows.{i}.{field}"), side, MAX_SIDE);
            }
        }
    }
}
