//! One step: the student moves towards a target that its teacher makes.

use add_loss::{PixelReduction, SnrWeighting, StepTimes, distillation, one_step_target, two_ddim_steps};
use add_plugin::{Conditioning, Denoiser, Latents, Timesteps, fork};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    gradients::{GradientMap, scalar},
    networks::NetworkSet,
    process::{Process, guided_from_outside},
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
    /// Guidance scale of each sample.
    pub(super) scales: Vec<f64>,
    /// Noise `[B, C, H, W]`.
    pub(super) eps: Tensor<4>,
    /// Where the student is asked, and what it learns there.
    pub(super) times: Times,
}

/// Where the student is asked, and what it learns there.
pub(super) enum Times {
    /// The guided estimate at these timesteps.
    Guidance(Timesteps),
    /// One step of sampling for two of its teacher.
    Halving(StepTimes),
}

impl Times {
    /// `t`.
    fn start(&self) -> &Timesteps {
        match self {
            Self::Guidance(t) => t,
            Self::Halving(times) => &times.start,
        }
    }
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
    /// `w(lambda_t)`.
    pub(super) weighting: SnrWeighting,
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
}

impl Part<'_> {
    /// The part's share of the loss's gradient.
    fn gradient(self) -> (StepReport, GradientMap) {
        let Inputs { x, captions, scales, eps, times } = &self.inputs;
        let t = times.start();
        let z_t = self.diffusion.diffuse(x.0.clone(), eps.clone(), t);
        // A network that reads its guidance scale is told it; any other has it in its values.
        let told = if self.student.takes_guidance() {
            captions.clone().with_guidance(scales)
        } else {
            captions.clone()
        };
        let target = match times {
            Times::Guidance(t) => self.guided(z_t.clone(), t),
            Times::Halving(times) => self.halved(z_t.clone(), times, &told),
        };
        let output = self.diffusion.predict(&*self.student, z_t.clone(), t, &told);
        let x_hat = self.diffusion.x0(output, z_t, t);
        let weights: Vec<f64> =
            t.0.iter().map(|&t| self.weighting.weight(self.diffusion.schedule.snr(t))).collect();
        let loss = distillation(x_hat, target, &weights, PixelReduction::Mean) * self.share;
        let mut report = StepReport::default();
        report.number("loss", scalar(loss.clone().inner()));
        (report, self.student.take_gradients(&mut loss.backward()))
    }

    /// The teacher's guided estimate of the clean sample. Meng et al. 2023, section 3.1.
    fn guided(&self, z_t: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let Inputs { captions, scales, .. } = &self.inputs;
        let (diffusion, teacher, null) = (self.diffusion, &*self.teacher, &self.null);
        let output = guided_from_outside(diffusion, teacher, z_t.clone(), t, captions, null, scales);
        diffusion.x0(output, z_t, t)
    }

    /// The estimate with which one step of the student is two of the teacher. Salimans and Ho 2022, Algorithm 2.
    fn halved(&self, z_t: Tensor<4>, times: &StepTimes, told: &Conditioning) -> Tensor<4> {
        let schedule = &self.diffusion.schedule;
        let mut teacher = |z: Tensor<4>, t: &Timesteps| {
            let output = self.diffusion.predict(&*self.teacher, z.clone(), t, told);
            self.diffusion.estimate(output, z, t)
        };
        let z_end = two_ddim_steps(z_t.clone(), times, schedule, &mut teacher);
        let [at_t, at_end] = [&times.start, &times.end].map(|t| schedule.coefficients(t, &z_t));
        one_step_target(z_end, z_t, &at_end, &at_t)
    }
}
