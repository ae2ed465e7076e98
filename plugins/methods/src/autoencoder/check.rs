//! What an `Autoencoder(…)` must fulfil in its recipe.

use add_recipe::{Dtype, Problems, Recipe};
use burn::tensor::Device;

use super::Autoencoder;

/// Adds what does not hold of an `Autoencoder(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &Autoencoder) {
    p.range("objective.perceptual_weight", method.perceptual_weight, 0.0, 1e6);
    p.range("objective.kl_weight", method.kl_weight, 0.0, 1e6);
    p.range("objective.adversarial.weight", method.adversarial.weight, 0.0, 1e6);
    p.above("objective.ema_half_life", method.ema_half_life);
    p.optimizer("objective.generator", &method.generator);
    p.optimizer("objective.discriminator", &method.discriminator);
    p.require(recipe.dtype.codec == Dtype::F32, "dtype.codec", || {
        "expected F32: this codec is trained".to_owned()
    });
    // Nothing is made of it here: values are drawn when they are first used.
    let codec = recipe.codec.trainable(recipe.seed, &Device::flex());
    p.check("codec", codec.map(|_| ()));
    let reduction = recipe.codec.info().reduction.max(1);
    let size = recipe.data.size();
    p.require(size.is_multiple_of(reduction), "data.size", || {
        format!("expected a multiple of {reduction}, required by {}, got {size}", recipe.codec.name())
    });
}
