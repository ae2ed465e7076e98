//! The timestep embedding: sinusoids of the timestep, then two linear layers.
//!
//! `emb_i = cos(t f_i), emb_{half + i} = sin(t f_i)` with `f_i = 10000^(-i / (half - shift))`, sine first unless
//! flipped. Vaswani et al. 2017, Ho et al. 2020, as in diffusers' `get_timestep_embedding`.

use add_kernels::silu;
use burn::{
    module::Module,
    tensor::{DType, FloatDType, Tensor, TensorData},
};

use crate::layers::{Init, Linear};

/// Frequencies and order of a sinusoidal embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sinusoids {
    /// Width of the embedding, even.
    pub channels: usize,
    /// Cosine before sine.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies.
    pub freq_shift: f64,
}

impl Sinusoids {
    /// `t: [B]` to `[B, channels]`, of the same number type.
    ///
    /// diffusers computes the angles in f32 whatever the network's type is; at t = 999 their rounding is
    /// 6e-5, so half-precision networks need this step in f32. Only an f64 `t` is taken at its word.
    pub fn embed(self, t: Tensor<1>) -> Tensor<2> {
        // The order of the f32 roundings is diffusers': product, quotient, exponential.
        self.embed_by(t, |log, i, divisor| (log * i / divisor).exp())
    }

    /// The same for guidance scales less 1, `w: [B]`, which count as the times `1000 w`: diffusers'
    /// `get_guidance_scale_embedding`, with the sine first and a shift of 1.
    pub(super) fn embed_guidance(channels: usize, w: Tensor<1>) -> Tensor<2> {
        let sinusoids = Self { channels, flip_sin_to_cos: false, freq_shift: 1.0 };
        // Its order of the f32 roundings is another: quotient, product, exponential.
        sinusoids.embed_by(w.mul_scalar(GUIDANCE_UNIT), |log, i, divisor| (i * (log / divisor)).exp())
    }

    /// `frequency(-log(10000), i, half - shift)` in f32.
    fn embed_by(self, t: Tensor<1>, frequency: impl Fn(f32, f32, f32) -> f32) -> Tensor<2> {
        let dtype = t.dtype();
        let half = self.channels / 2;
        let (wide, frequencies) = if dtype == DType::F64 {
            let step = -(10_000_f64.ln()) / (half as f64 - self.freq_shift);
            (
                DType::F64,
                TensorData::from((0..half).map(|i| (i as f64 * step).exp()).collect::<Vec<_>>().as_slice()),
            )
        } else {
            let log = -(10_000_f64.ln()) as f32;
            let divisor = (half as f64 - self.freq_shift) as f32;
            let all = (0..half).map(|i| frequency(log, i as f32, divisor)).collect::<Vec<_>>();
            (DType::F32, TensorData::from(all.as_slice()))
        };
        let frequencies = Tensor::<1>::from_data(frequencies, (&t.device(), wide));
        let t = t.cast(float(wide));
        let angles = t.unsqueeze_dim::<2>(1).mul(frequencies.unsqueeze());
        let (sin, cos) = (angles.clone().sin(), angles.cos());
        let halves = if self.flip_sin_to_cos { vec![cos, sin] } else { vec![sin, cos] };
        Tensor::cat(halves, 1).cast(float(dtype))
    }
}

/// What a guidance scale of 1 above none counts as time.
const GUIDANCE_UNIT: f64 = 1000.0;

fn float(dtype: DType) -> FloatDType {
    dtype.into()
}

/// `linear_2(silu(linear_1(x + cond_proj(condition))))`; most have no condition.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    cond_proj: Option<Linear>,
    linear_1: Linear,
    linear_2: Linear,
}

impl TimestepEmbedding {
    /// From `channels` to `width`.
    pub fn new(channels: usize, width: usize, init: &Init) -> Self {
        Self {
            cond_proj: None,
            linear_1: Linear::new(channels, width, &init.at("linear_1")),
            linear_2: Linear::new(width, width, &init.at("linear_2")),
        }
    }

    /// With a condition of `condition` values, which joins the `channels` of the sinusoids. Its projection begins as zero,
    /// so that a network to which it is added gives what it gave before.
    #[must_use]
    pub fn with_condition(self, condition: usize, channels: usize, init: &Init) -> Self {
        let init = init.at("cond_proj");
        let weight = init.constant("weight", [channels, condition], 0.0);
        Self {
            cond_proj: Some(Linear { weight, ..Linear::without_bias(condition, channels, &init) }),
            ..self
        }
    }

    /// Puts `projection` in the place of the condition's, and gives what was there.
    pub(super) fn replace_condition(&mut self, projection: Option<Linear>) -> Option<Linear> {
        std::mem::replace(&mut self.cond_proj, projection)
    }

    /// `[B, channels]` to `[B, width]`, without a condition.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward_rows(silu(self.linear_1.forward_rows(x)))
    }

    /// The same with a `condition`, `[B, condition]`.
    ///
    /// # Panics
    /// When the embedding was made without one.
    pub fn forward_with(&self, x: Tensor<2>, condition: Tensor<2>) -> Tensor<2> {
        let cond_proj = self.cond_proj.as_ref().expect("the embedding was made with a condition");
        self.forward(x + cond_proj.forward_rows(condition))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn embedding_holds_cosine_and_sine_of_falling_frequencies() {
        let t = Tensor::<1>::from_data([2.0_f32], &Device::flex());
        let sinusoids = Sinusoids { channels: 4, flip_sin_to_cos: true, freq_shift: 0.0 };
        let flipped: Vec<f32> = sinusoids.embed(t.clone()).into_data().try_to_vec().expect("f32");
        // Frequencies 1 and 1/100.
        let expected = [2.0_f32.cos(), 0.02_f32.cos(), 2.0_f32.sin(), 0.02_f32.sin()];
        for (got, want) in flipped.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{flipped:?}");
        }
        let plain = Sinusoids { flip_sin_to_cos: false, ..sinusoids }.embed(t);
        let plain: Vec<f32> = plain.into_data().try_to_vec().expect("f32");
        assert_eq!(plain[..2], flipped[2..]);
    }
}
