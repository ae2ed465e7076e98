//! One step of diffusion pretraining: the denoiser, and the text encoder with it, learn the raw target.

use add_plugin::{Conditioning, Denoiser, Latents, Network, TextNetwork, Timesteps, fork};
use add_recipe::slot::{DENOISER, TEXT};
use add_train::{
    gradients::{GradientMap, scalar},
    networks::NetworkSet,
    optimizer::join,
    process::Process,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Tensor;

use super::OPTIMIZER;

/// A part of the batch with every random number of the step; tensors on the plain device.
pub struct DiffusionInputs {
    /// Real pictures, encoded.
    pub x_0: Latents,
    /// Their captions; an empty one where it was dropped for classifier-free guidance.
    pub captions: Captions,
    /// Timesteps, one per sample.
    pub t: Timesteps,
    /// Noise `[B, C, H, W]`.
    pub eps: Tensor<4>,
}

/// Captions, as far as the step is given them.
pub enum Captions {
    /// As texts: the text encoder learns.
    Text(Vec<String>),
    /// Encoded by a text encoder that stays as it is.
    Encoded(Box<Conditioning>),
}

impl DiffusionInputs {
    fn batch(&self) -> usize {
        self.x_0.0.dims()[0]
    }
}

/// Everything that one pretraining step changes.
pub struct DiffusionTrainer {
    /// Denoiser and text encoder on the autodiff device, codec and a frozen text encoder on the plain one.
    pub networks: NetworkSet,
    /// The forward process.
    pub diffusion: Process,
    /// The parts in which a batch is computed.
    pub replicas: Replicas,
}

impl DiffusionTrainer {
    /// One update on this rank's parts of a batch with learning rate `lr`; left out when its gradient is not finite.
    pub fn step(&mut self, parts: Vec<DiffusionInputs>, lr: f64) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(DiffusionInputs::batch).sum());
        let device = parts[0].x_0.0.device();
        let part = |inputs: DiffusionInputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            inputs,
            denoiser: fork(self.networks.denoiser(DENOISER)),
            text: fork(self.networks.text(TEXT)),
            diffusion: &self.diffusion,
        };
        let (mut report, gradients) = self.replicas.gradient(device, parts, part, Part::gradient);
        self.networks.update(OPTIMIZER, gradients, lr, batch, "grad_norm", &mut report);
        report
    }
}

/// A part of the batch with copies of the networks.
struct Part<'a> {
    inputs: DiffusionInputs,
    /// The part's share of the batch, the factor of its mean loss.
    share: f64,
    denoiser: Box<dyn Denoiser>,
    text: Box<dyn TextNetwork>,
    diffusion: &'a Process,
}

impl Part<'_> {
    /// The part's share of the loss's gradient.
    fn gradient(self) -> (StepReport, GradientMap) {
        let DiffusionInputs { x_0, captions, t, eps } = self.inputs;
        let x_0 = x_0.0;
        let conditioning = match captions {
            Captions::Text(captions) => self.text.encode(&captions),
            Captions::Encoded(conditioning) => *conditioning,
        };
        let x_t = self.diffusion.diffuse(x_0.clone(), eps.clone(), &t);
        let target = self.diffusion.target(x_0, eps, &t);
        let output = self.diffusion.predict(&*self.denoiser, x_t, &t, &conditioning);
        let loss = (output - target).square().mean() * self.share;
        let mut report = StepReport::default();
        report.number("loss", scalar(loss.clone().inner()));

        let mut tape = loss.backward();
        let mut named = |prefix: &str, network: &dyn Network| -> GradientMap {
            let gradients = network.take_gradients(&mut tape).into_iter();
            gradients.map(|(path, gradient)| (join(prefix, &path), gradient)).collect()
        };
        let mut gradients = named("denoiser", &*self.denoiser);
        gradients.extend(named("text", &*self.text));
        (report, gradients)
    }
}
