//! A denoiser together with what its output means.

use std::borrow::Cow;

use add_plugin::{
    Conditioning, Denoiser, Estimate, NoiseSchedule, Prediction, SizeConditioning, Timesteps, per_sample,
};
use burn::tensor::Tensor;

/// Schedule and prediction type of a diffusion model: how its network is asked, and what turns a raw output into `x_0`
/// and `eps`.
#[derive(Debug, Clone)]
pub struct Process {
    /// The forward process.
    pub schedule: NoiseSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// What the network is told of its pictures' sizes; `None` for one that is told nothing.
    pub sizes: Option<LatentSizes>,
}

/// From the size of a latent to what a network is told of its picture's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSizes {
    /// Pixels per latent in each direction, the codec's.
    pub reduction: usize,
    /// What the recipe says.
    pub conditioning: SizeConditioning,
}

impl Process {
    /// The network's raw output for `x_t` at the schedule's timesteps `t`: it is told of the time as the schedule says
    /// and, where it wants them, of the sizes that `conditioning` leaves open.
    pub fn predict(
        &self,
        denoiser: &dyn Denoiser,
        x_t: Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
    ) -> Tensor<4> {
        let conditioning = self.with_sizes(conditioning, &x_t);
        denoiser.predict(x_t, &self.schedule.network_times(t), &conditioning)
    }

    /// `conditioning` with the sizes of the pictures whose latents `x_t` is, unless it has some or none are wanted.
    pub fn with_sizes<'c>(&self, conditioning: &'c Conditioning, x_t: &Tensor<4>) -> Cow<'c, Conditioning> {
        match self.sizes {
            Some(LatentSizes { reduction, conditioning: said }) if conditioning.sizes.is_none() => {
                let [batch, _, height, width] = x_t.dims();
                let sizes = said.at([height * reduction, width * reduction]);
                Cow::Owned(conditioning.clone().with_sizes(vec![sizes; batch]))
            }
            _ => Cow::Borrowed(conditioning),
        }
    }

    /// `x_t = alpha_t x_0 + sigma_t eps`.
    pub fn diffuse(&self, x_0: Tensor<4>, eps: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let at = self.schedule.coefficients(t, &x_0);
        add_loss::diffuse(x_0, eps, &at)
    }

    /// `x_0` from a raw output.
    pub fn x0(&self, output: Tensor<4>, x_t: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let at = self.schedule.coefficients(t, &x_t);
        add_loss::x0(self.prediction, output, x_t, &at)
    }

    /// `eps` from a raw output.
    pub fn epsilon(&self, output: Tensor<4>, x_t: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let at = self.schedule.coefficients(t, &x_t);
        add_loss::epsilon(self.prediction, output, x_t, &at)
    }

    /// The raw output that a perfect network would give.
    pub fn target(&self, x_0: Tensor<4>, eps: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => eps,
            Prediction::X0 => x_0,
            Prediction::V => {
                let at = self.schedule.coefficients(t, &x_0);
                eps * at.alpha - x_0 * at.sigma
            }
            Prediction::Flow => eps - x_0,
        }
    }

    /// Both estimates from a raw output.
    pub fn estimate(&self, output: Tensor<4>, x_t: Tensor<4>, t: &Timesteps) -> Estimate {
        Estimate { x0: self.x0(output.clone(), x_t.clone(), t), epsilon: self.epsilon(output, x_t, t) }
    }
}

/// `output(null) + w (output(y) - output(null))`, classifier-free guidance with one scale `w` per sample.
///
/// Where every scale is 1 the unconditional half is not computed. A network that takes the scale as an input is told it
/// and asked once.
pub fn guided(
    diffusion: &Process,
    denoiser: &dyn Denoiser,
    x_t: Tensor<4>,
    t: &Timesteps,
    conditioning: &Conditioning,
    null: &Conditioning,
    scales: &[f64],
) -> Tensor<4> {
    if denoiser.takes_guidance() {
        return diffusion.predict(denoiser, x_t, t, &conditioning.clone().with_guidance(scales));
    }
    guided_from_outside(diffusion, denoiser, x_t, t, conditioning, null, scales)
}

/// The same from the outputs with and without the text, also for a network that takes the scale as an input: it is not told
/// any, so it gives what it gave before it learnt to read it.
pub fn guided_from_outside(
    diffusion: &Process,
    denoiser: &dyn Denoiser,
    x_t: Tensor<4>,
    t: &Timesteps,
    conditioning: &Conditioning,
    null: &Conditioning,
    scales: &[f64],
) -> Tensor<4> {
    if scales.iter().all(|&w| (w - 1.0).abs() < f64::EPSILON) {
        return diffusion.predict(denoiser, x_t, t, conditioning);
    }
    let scales = per_sample(scales, &x_t);
    let (with, without) = with_and_without(diffusion, denoiser, x_t, t, conditioning, null);
    add_loss::guide(with, without, scales)
}

/// The outputs with the text and without it, in one pass over twice the batch; a network that takes the guidance scale as an
/// input is not told any.
pub fn with_and_without(
    diffusion: &Process,
    denoiser: &dyn Denoiser,
    x_t: Tensor<4>,
    t: &Timesteps,
    conditioning: &Conditioning,
    null: &Conditioning,
) -> (Tensor<4>, Tensor<4>) {
    let batch = x_t.dims()[0];
    let both = conditioning.clone().cat(null.clone());
    let twice = Timesteps([t.0.as_slice(), t.0.as_slice()].concat());
    let output = diffusion.predict(denoiser, Tensor::cat(vec![x_t.clone(), x_t], 0), &twice, &both);
    (output.clone().narrow(0, 0, batch), output.narrow(0, batch, batch))
}
