//! One AdamW update of one parameter, fused.

use burn::tensor::Tensor;

/// The numbers of one AdamW step (Loshchilov and Hutter 2019), as `torch.optim.AdamW` uses them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: the parameter is first multiplied by `1 - lr * weight_decay`.
    pub weight_decay: f64,
    /// 1-based number of this step, for the bias corrections.
    pub time: u64,
    /// The gradient is multiplied by this first (global-norm clipping).
    pub grad_scale: f64,
}

/// Returns the updated `(parameter, first moment, second moment)`, all flat `[n]`.
pub fn adamw_step(p: Tensor<1>, g: Tensor<1>, m: Tensor<1>, v: Tensor<1>, step: AdamWStep) -> [Tensor<1>; 3] {
    let AdamWStep { lr, beta_1, beta_2, eps, weight_decay, time, grad_scale } = step;
    let g = g * grad_scale;
    let m = m * beta_1 + g.clone() * (1.0 - beta_1);
    let v = v * beta_2 + g.square() * (1.0 - beta_2);
    let correction_1 = 1.0 - beta_1.powf(time as f64);
    let correction_2 = 1.0 - beta_2.powf(time as f64);
    let denominator = v.clone().sqrt() / correction_2.sqrt() + eps;
    let p = p * (1.0 - lr * weight_decay) - m.clone() / denominator * (lr / correction_1);
    [p, m, v]
}
