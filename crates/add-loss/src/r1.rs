//! R1: the squared norm of the discriminator's gradient on real pictures. ADD Eq. (3); Mescheder et al. 2018.
//!
//! Per head `g = d(sum of the head's logits) / d(the head's input features)`; `R1 = E_b |g_b|^2`, then over heads as
//! the recipe reduces them. Training needs `dR1/dphi`, a second derivative, from a first-order tape. With `v = g` held
//! constant,
//!
//! ```text
//! d/dphi |g|^2 = 2 d/dphi (v . g) = 2 d/dphi J_h D(h; v)
//! ```
//!
//! and the directional derivative `J_h D(h; v)` is an ordinary forward pass: either the heads state it (`Tangent`,
//! exact), or a central difference approximates it (`Directional`).

use add_plugin::{Discriminator, Draw, Logits, Purpose};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Reduction;

/// How R1 and its gradient are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum R1Route {
    /// From the heads' own tangents: exact. Heads that state none are differentiated as by `Directional`.
    #[default]
    Tangent,
    /// By a central difference along the gradient; exact up to rounding where the heads are smooth.
    ///
    /// A kink of the activation inside the step adds a second derivative that backpropagation does not see. The
    /// difference then estimates the gradient of a slightly smoothed penalty, the better the more kinks it averages:
    /// on small leaky-ReLU heads in f32 it was off by 17% at a step of 0.1 and by 50% at 0.01.
    Directional {
        /// Length of the step, in units of the features' norm.
        relative_step: f64,
    },
    /// Approximate R1 of later work (Lin et al. 2025): mean squared difference between the logits with and without
    /// noise on the features. It is *not* R1: about `sigma^2` times it, of each token's own gradient.
    Noise {
        /// Standard deviation of the noise.
        sigma: f64,
    },
    /// No penalty.
    Off,
}

/// The step of the central difference where the recipe names none: small enough for smooth heads (an error of about its
/// square), large enough to average over kinks.
const RELATIVE_STEP: f64 = 3e-2;

/// The penalty, unweighted, and what was computed on the way.
#[derive(Debug, Clone)]
pub struct R1 {
    /// The penalty `[1]` on the plain device.
    pub value: Tensor<1>,
    /// The penalty of each head `[1]`, on the plain device; `value` is their reduction.
    pub per_head: Vec<Tensor<1>>,
    /// A scalar `[1]` whose gradient by the discriminator's parameters is that of the penalty. Its own value means
    /// nothing.
    pub surrogate: Tensor<1>,
    /// The logits of `features` on the discriminator's tape; the hinge on real pictures needs no second pass.
    pub logits: Vec<Logits>,
}

/// R1 on `features` `[B, C, N]` per head, plain tensors. ADD Eq. (3).
///
/// `draws` has one entry per sample; only `Noise` reads it.
pub fn r1(
    discriminator: &dyn Discriminator,
    features: &[Tensor<3>],
    condition: Option<&Tensor<2>>,
    route: R1Route,
    draws: &[Draw],
    reduction: Reduction,
) -> R1 {
    match route {
        R1Route::Off => off(discriminator, features, condition),
        R1Route::Noise { sigma } => noise(discriminator, features, condition, sigma, draws, reduction),
        R1Route::Directional { relative_step } => {
            directional(discriminator, features, condition, relative_step, reduction)
        }
        R1Route::Tangent => tangent(discriminator, features, condition, reduction)
            .unwrap_or_else(|| directional(discriminator, features, condition, RELATIVE_STEP, reduction)),
    }
}

/// `d(sum of a head's logits) / d(its features)` `[B, C, N]` per head, on the plain device.
///
/// The pass runs on a constant copy, so that nothing of it reaches the discriminator's parameters.
pub fn input_gradients(
    discriminator: &dyn Discriminator,
    features: &[Tensor<3>],
    condition: Option<&Tensor<2>>,
) -> Vec<Tensor<3>> {
    let leaves: Vec<_> = features.iter().map(|h| h.clone().autodiff().require_grad()).collect();
    let logits = discriminator.frozen().logits(&leaves, condition.cloned());
    // A head sees its own features only, so one sum serves all heads.
    let sum = logits.into_iter().map(|Logits(logits)| logits.sum()).reduce(|sum, logits| sum + logits);
    let gradients = sum.expect("a discriminator has at least one head").backward();
    leaves.iter().map(|h| h.grad(&gradients).unwrap_or_else(|| h.clone().inner().zeros_like())).collect()
}

fn tangent(
    discriminator: &dyn Discriminator,
    features: &[Tensor<3>],
    condition: Option<&Tensor<2>>,
    reduction: Reduction,
) -> Option<R1> {
    let directions = input_gradients(discriminator, features, condition);
    let passes = discriminator.tangent(features, &directions, condition.cloned())?;
    let surrogate =
        passes.iter().zip(features).map(|(pass, h)| slope_loss(pass.tangent.clone().sum(), h)).collect();
    let per_head: Vec<_> = directions.iter().map(squared_norm).collect();
    Some(R1 {
        value: reduction.over_heads(per_head.clone()),
        per_head,
        surrogate: reduction.over_heads(surrogate),
        logits: passes.into_iter().map(|pass| Logits(pass.primal)).collect(),
    })
}

fn directional(
    discriminator: &dyn Discriminator,
    features: &[Tensor<3>],
    condition: Option<&Tensor<2>>,
    relative_step: f64,
    reduction: Reduction,
) -> R1 {
    let directions = input_gradients(discriminator, features, condition);
    let norm = |x: &Tensor<3>| x.clone().square().sum().sqrt().reshape([1, 1, 1]);
    // Where a head has no gradient at all, the step must stay finite; its difference is zero at any length.
    let length = |(h, v)| norm(h).mul_scalar(relative_step) / norm(v).clamp_min(f64::from(f32::MIN_POSITIVE));
    let lengths: Vec<Tensor<3>> = features.iter().zip(&directions).map(length).collect();
    let moved = |sign: f64| {
        let rays = features.iter().zip(&directions).zip(&lengths);
        let moved: Vec<_> =
            rays.map(|((h, v), l)| h.clone() + v.clone() * l.clone().mul_scalar(sign)).collect();
        discriminator.logits(&moved, condition.cloned())
    };
    let slope = |((Logits(ahead), Logits(behind)), length): ((Logits, Logits), Tensor<3>)| {
        (ahead - behind).sum() / length.mul_scalar(2.0).reshape([1])
    };
    let slopes = moved(1.0).into_iter().zip(moved(-1.0)).zip(lengths.clone()).map(slope);
    let surrogate = slopes.zip(features).map(|(slope, h)| slope_loss(slope, h)).collect();
    let per_head: Vec<_> = directions.iter().map(squared_norm).collect();
    R1 {
        value: reduction.over_heads(per_head.clone()),
        per_head,
        surrogate: reduction.over_heads(surrogate),
        logits: discriminator.logits(features, condition.cloned()),
    }
}

fn noise(
    discriminator: &dyn Discriminator,
    features: &[Tensor<3>],
    condition: Option<&Tensor<2>>,
    sigma: f64,
    draws: &[Draw],
    reduction: Reduction,
) -> R1 {
    let noisy: Vec<_> = add_noise(features, sigma, draws);
    let logits = discriminator.logits(features, condition.cloned());
    let moved = discriminator.logits(&noisy, condition.cloned());
    let difference = |(Logits(a), Logits(b)): (&Logits, Logits)| (b - a.clone()).square().mean();
    let on_tape: Vec<_> = logits.iter().zip(moved).map(difference).collect();
    let per_head = on_tape.iter().map(|penalty| penalty.clone().without_autodiff()).collect();
    let surrogate = reduction.over_heads(on_tape);
    R1 { value: surrogate.clone().without_autodiff(), per_head, surrogate, logits }
}

fn off(discriminator: &dyn Discriminator, features: &[Tensor<3>], condition: Option<&Tensor<2>>) -> R1 {
    let zero = features[0].clone().zeros_like().sum();
    let logits = discriminator.logits(features, condition.cloned());
    R1 { value: zero.clone(), per_head: vec![zero.clone(); logits.len()], surrogate: zero, logits }
}

/// `features + sigma n`; a sample's noise is one stream over all its heads.
fn add_noise(features: &[Tensor<3>], sigma: f64, draws: &[Draw]) -> Vec<Tensor<3>> {
    let total = features.iter().map(|h| h.dims()[1] * h.dims()[2]).sum();
    let streams: Vec<Vec<f32>> = draws.iter().map(|draw| draw.normal(Purpose::R1Noise, total)).collect();
    let mut start = 0;
    let with_noise = |h: &Tensor<3>| {
        let [batch, channels, tokens] = h.dims();
        assert_eq!(batch, streams.len(), "one draw per sample");
        let end = start + channels * tokens;
        let values: Vec<f32> = streams.iter().flat_map(|stream| &stream[start..end]).copied().collect();
        start = end;
        let noise = TensorData::new(values, [batch, channels, tokens]);
        h.clone() + Tensor::from_data(noise, (&h.device(), h.dtype())).mul_scalar(sigma)
    };
    features.iter().map(with_noise).collect()
}

/// `E_b |g_b|^2` of one head.
fn squared_norm(gradient: &Tensor<3>) -> Tensor<1> {
    gradient.clone().square().sum().mul_scalar(1.0 / gradient.dims()[0] as f64)
}

/// `2 / B` times a slope: the gradient of the mean over the batch of `|g_b|^2`.
fn slope_loss(slope: Tensor<1>, features: &Tensor<3>) -> Tensor<1> {
    slope.mul_scalar(2.0 / features.dims()[0] as f64)
}
