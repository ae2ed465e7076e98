//! One step: the student, guided or not, moves towards what two steps of its teacher make under the same guidance. Li et al. 2023.

use add_loss::{
    PixelReduction, SnrWeighting, StepTimes, distillation, guide, one_step_target, two_ddim_steps,
};
use add_plugin::{Conditioning, Denoiser, Latents, Timesteps, fork, per_sample};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    gradients::{GradientMap, scalars},
    networks::NetworkSet,
    process::{Process, guided_from_outside, with_and_without},
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Tensor;

use super::OPTIMIZER;

/// A part of the batch with every random number of the step; tensors on the plain device.
pub(super) struct Inputs {
    /// Real pictures, encoded.
    pub(super) x: Latents,
    /// Their captions, encoded.
    pub(super) captions: Conditioning,
    /// Guidance scale of each sample; `None` in a step that compares the outputs with the text alone.
    pub(super) scales: Option<Vec<f64>>,
    /// Noise `[B, C, H, W]`.
    pub(super) eps: Tensor<4>,
    /// Where the student's step begins and ends.
    pub(super) times: StepTimes,
}

impl Inputs {
    fn batch(&self) -> usize {
        self.x.0.dims()[0]
    }
}

/// Everything that one step changes, and what it goes by.
pub(super) struct Trainer {
    /// The student on the autodiff device, its teacher and the encoders on the plain one.
    pub(super) networks: NetworkSet,
    /// The forward process of both.
    pub(super) diffusion: Process,
    /// The empty caption, encoded: a batch of one.
    pub(super) null: Conditioning,
    /// The weight of the distance.
    pub(super) weighting: SnrWeighting,
    /// `gamma`.
    pub(super) original: f64,
    /// The parts in which a batch is computed.
    pub(super) replicas: Replicas,
}

impl Trainer {
    /// One update on this rank's parts of a batch with learning rate `lr`; left out when its gradient is not finite.
    pub(super) fn step(&mut self, parts: Vec<Inputs>, lr: f64) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(Inputs::batch).sum());
        let device = parts[0].x.0.device();
        let part = |inputs: Inputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            null: self.null.repeat(inputs.batch()),
            inputs,
            student: fork(self.networks.denoiser(STUDENT)),
            teacher: fork(self.networks.denoiser(TEACHER)),
            diffusion: &self.diffusion,
            weighting: self.weighting,
            original: self.original,
        };
        let (mut report, gradients) = self.replicas.gradient(device, parts, part, Part::gradient);
        self.networks.update(OPTIMIZER, gradients, lr, batch, "grad_norm", &mut report);
        report
    }
}

/// A part of the batch with copies of the networks.
struct Part<'a> {
    inputs: Inputs,
    /// The part's share of the batch, the factor of its mean loss.
    share: f64,
    null: Conditioning,
    student: Box<dyn Denoiser>,
    teacher: Box<dyn Denoiser>,
    diffusion: &'a Process,
    weighting: SnrWeighting,
    original: f64,
}

impl Part<'_> {
    /// The part's share of the loss's gradient.
    fn gradient(self) -> (StepReport, GradientMap) {
        let Inputs { x, captions, scales, eps, times } = &self.inputs;
        let (diffusion, t) = (self.diffusion, &times.start);
        let z_t = diffusion.diffuse(x.0.clone(), eps.clone(), t);
        let target = self.target(z_t.clone());
        let (output, with_text) = match scales {
            None => {
                let output = diffusion.predict(&*self.student, z_t.clone(), t, captions);
                (output.clone(), output)
            }
            Some(scales) => {
                let (with, without) =
                    with_and_without(diffusion, &*self.student, z_t.clone(), t, captions, &self.null);
                (guide(with.clone(), without, per_sample(scales, &z_t)), with)
            }
        };
        let x_hat = diffusion.x0(output, z_t, t);
        let weights: Vec<f64> =
            t.0.iter().map(|&t| self.weighting.weight(diffusion.schedule.snr(t))).collect();
        let step = distillation(x_hat, target, &weights, PixelReduction::Mean) * self.share;
        let raw = diffusion.target(x.0.clone(), eps.clone(), t);
        let original = (with_text - raw).square().mean() * self.share;
        let read = scalars([step.clone().inner(), original.clone().inner()]);
        let mut report = StepReport::default();
        report.number("loss", read[0] + self.original * read[1]);
        report.number(if scales.is_some() { "loss_guided" } else { "loss_step" }, read[0]);
        report.number("loss_original", read[1]);
        let mut tape = (step + original * self.original).backward();
        (report, self.student.take_gradients(&mut tape))
    }

    /// The estimate with which one step of the student is two of the teacher under the same guidance.
    fn target(&self, z_t: Tensor<4>) -> Tensor<4> {
        let Inputs { captions, scales, times, .. } = &self.inputs;
        let (diffusion, schedule) = (self.diffusion, &self.diffusion.schedule);
        let plain = vec![1.0; self.inputs.batch()];
        let scales = scales.as_ref().unwrap_or(&plain);
        let mut teacher = |z: Tensor<4>, t: &Timesteps| {
            let output =
                guided_from_outside(diffusion, &*self.teacher, z.clone(), t, captions, &self.null, scales);
            diffusion.estimate(output, z, t)
        };
        let z_end = two_ddim_steps(z_t.clone(), times, schedule, &mut teacher);
        let [at_t, at_end] = [&times.start, &times.end].map(|t| schedule.coefficients(t, &z_t));
        one_step_target(z_end, z_t, &at_end, &at_t)
    }
}
