//! One step of diffusion pretraining: the denoiser, and the text encoder with it, learn the raw target.

use add_plugin::{Autoencoder, Denoiser, Pixels, TextNetwork, Timesteps};
use burn::tensor::Tensor;

use crate::{
    ema::Ema,
    gradients::{clip_factor, global_norm, scalar},
    model::Diffusion,
    optimizer::AdamW,
    report::StepReport,
};

/// One batch with every random number of the step; tensors on the plain device.
pub struct DiffusionInputs {
    /// Real pictures.
    pub x_0: Pixels,
    /// Their captions; an empty one where it was dropped for classifier-free guidance.
    pub captions: Vec<String>,
    /// Timesteps.
    pub t: Timesteps,
    /// Noise.
    pub eps: Tensor<4>,
}

/// Everything that one pretraining step changes.
pub struct DiffusionTrainer {
    /// The denoiser, on the autodiff device.
    pub denoiser: Box<dyn Denoiser>,
    /// The text encoder, on the autodiff device.
    pub text: Box<dyn TextNetwork>,
    /// Pixels to latents, on the plain device.
    pub codec: Box<dyn Autoencoder>,
    /// The forward process.
    pub diffusion: Diffusion,
    /// Of both networks.
    pub optimizer: AdamW,
    /// Of both networks.
    pub ema: Ema,
}

impl DiffusionTrainer {
    /// One update with learning rate `lr`; left out when its gradient is not finite.
    pub fn step(&mut self, inputs: &DiffusionInputs, lr: f64) -> StepReport {
        let mut report = StepReport::default();
        let x_0 = self.codec.encode(inputs.x_0.clone()).0;
        let batch = x_0.dims()[0];
        let conditioning = self.text.encode(&inputs.captions);
        let x_t = self.diffusion.diffuse(x_0.clone(), inputs.eps.clone(), &inputs.t);
        let target = self.diffusion.target(x_0, inputs.eps.clone(), &inputs.t);
        let output = self.denoiser.predict(x_t, &inputs.t, &conditioning);
        let loss = (output - target).square().mean();
        report.number("loss", scalar(loss.clone().inner()));

        let mut tape = loss.backward();
        let mut gradients = self.denoiser.take_gradients(&mut tape);
        gradients = gradients.into_iter().map(|(name, g)| (format!("denoiser.{name}"), g)).collect();
        gradients.extend(
            self.text.take_gradients(&mut tape).into_iter().map(|(name, g)| (format!("text.{name}"), g)),
        );
        let norm = global_norm(&gradients);
        report.number("grad_norm", norm);
        if norm.is_finite() {
            let scale = clip_factor(norm, self.optimizer.config().clip_norm);
            let (denoiser, text): (&mut dyn Denoiser, &mut dyn TextNetwork) =
                (&mut *self.denoiser, &mut *self.text);
            self.optimizer.step(&mut [("denoiser", denoiser), ("text", text)], gradients, lr, scale);
            self.ema.update(&[("denoiser", &*self.denoiser), ("text", &*self.text)], batch);
        }
        report
    }
}
