//! One step of latent consistency distillation. Luo et al. 2023, algorithm 1.

use add_loss::{ConsistencyDistance, boundary, consistency, consistency_function, skipped, solver_step};
use add_plugin::{Conditioning, Denoiser, Latents, Timesteps, fork};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    gradients::{GradientMap, scalar},
    networks::{NetworkSet, Role},
    process::{Process, guided_from_outside},
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Tensor;

use super::OPTIMIZER;
use crate::contrast::report_contrasts;

/// A part of the batch with every random number of the step; tensors on the plain device.
pub struct ConsistencyInputs {
    /// Real pictures, encoded.
    pub x_0: Latents,
    /// Their captions, encoded.
    pub captions: Conditioning,
    /// `t_{n+k}`, the end of the solver step that is nearer to the noise.
    pub t: Timesteps,
    /// Noise `[B, C, H, W]`.
    pub eps: Tensor<4>,
    /// The teacher's guidance scale of each sample.
    pub guidance: Vec<f64>,
}

impl ConsistencyInputs {
    fn batch(&self) -> usize {
        self.x_0.0.dims()[0]
    }
}

/// The numbers of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConsistencyOptions {
    /// `k`, timesteps of a solver step.
    pub skip: usize,
    /// Factor of the timestep in the boundary conditions.
    pub timestep_scaling: f64,
    /// The distance between the two ends of a solver step.
    pub distance: ConsistencyDistance,
    /// The role of the network that is asked at the end that is nearer to the picture.
    pub target: Role,
}

/// Everything that one step changes, and what it goes by.
pub struct ConsistencyTrainer {
    /// The student on the autodiff device with its optimiser and average; teacher and target on the plain one.
    pub networks: NetworkSet,
    /// The student's forward process.
    pub diffusion: Process,
    /// The teacher's: of the same schedule.
    pub teacher_diffusion: Process,
    /// The empty caption, a batch of one.
    pub null: Conditioning,
    /// The numbers.
    pub options: ConsistencyOptions,
    /// The parts in which a batch is computed.
    pub replicas: Replicas,
}

impl ConsistencyTrainer {
    /// One update on this rank's parts of a batch with learning rate `lr`; left out when its gradient is not finite.
    pub fn step(&mut self, parts: Vec<ConsistencyInputs>, lr: f64) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(ConsistencyInputs::batch).sum());
        let device = parts[0].x_0.0.device();
        let part = |inputs: ConsistencyInputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            null: self.null.repeat(inputs.batch()),
            inputs,
            student: fork(self.networks.denoiser(STUDENT)),
            teacher: fork(self.networks.denoiser(TEACHER)),
            target: self.networks.denoiser(self.options.target).frozen(),
            diffusion: &self.diffusion,
            teacher_diffusion: &self.teacher_diffusion,
            options: self.options,
        };
        let (mut report, gradients) = self.replicas.gradient(device, parts, part, Part::gradient);
        self.networks.update(OPTIMIZER, gradients, lr, batch, "grad_norm", &mut report);
        report
    }
}

/// A part of the batch with copies of the networks.
struct Part<'a> {
    inputs: ConsistencyInputs,
    /// The empty caption for each sample.
    null: Conditioning,
    /// The part's share of the batch, the factor of its mean loss.
    share: f64,
    student: Box<dyn Denoiser>,
    teacher: Box<dyn Denoiser>,
    target: Box<dyn Denoiser>,
    diffusion: &'a Process,
    teacher_diffusion: &'a Process,
    options: ConsistencyOptions,
}

impl Part<'_> {
    /// The part's share of the loss's gradient.
    fn gradient(self) -> (StepReport, GradientMap) {
        let ConsistencyInputs { x_0, eps, t, .. } = &self.inputs;
        let x_t = self.diffusion.diffuse(x_0.0.clone(), eps.clone(), t);
        let (x_s, s) = self.solver_step(x_t.clone());
        let target = self.function(&*self.target, x_s, &s);
        let prediction = self.function(&*self.student, x_t, t);
        let values = prediction.clone().inner();
        let loss = consistency(prediction, target.clone(), self.options.distance) * self.share;

        let mut report = StepReport::default();
        report.number("loss", scalar(loss.clone().inner()));
        // A root of a mean over the batch, of which the part has a share.
        let gap = scalar((values.clone() - target).square().mean());
        report.norm("gap", (self.share * gap).sqrt());
        report_contrasts(&mut report, self.share, x_0.0.clone(), values);
        let mut tape = loss.backward();
        (report, self.student.take_gradients(&mut tape))
    }

    /// Where one guided step of the teacher leads from `x_t`, and the timesteps that are reached.
    fn solver_step(&self, x_t: Tensor<4>) -> (Tensor<4>, Timesteps) {
        let ConsistencyInputs { captions, t, guidance, .. } = &self.inputs;
        let s = skipped(t, self.options.skip);
        let diffusion = self.teacher_diffusion;
        let mut teacher = |x_t: Tensor<4>, t: &Timesteps| {
            let output = guided_from_outside(
                diffusion,
                &*self.teacher,
                x_t.clone(),
                t,
                captions,
                &self.null,
                guidance,
            );
            diffusion.estimate(output, x_t, t)
        };
        (solver_step(x_t, t, &s, &diffusion.schedule, &mut teacher), s)
    }

    /// `f(x, w, c, t)` of a network that is told the guidance scale where it takes one.
    fn function(&self, denoiser: &dyn Denoiser, x: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let captions = &self.inputs.captions;
        let output = if denoiser.takes_guidance() {
            let told = captions.clone().with_guidance(&self.inputs.guidance);
            self.diffusion.predict(denoiser, x.clone(), t, &told)
        } else {
            self.diffusion.predict(denoiser, x.clone(), t, captions)
        };
        let x_0 = self.diffusion.x0(output, x.clone(), t);
        let factors: Vec<_> = t.0.iter().map(|&t| boundary(t, self.options.timestep_scaling)).collect();
        consistency_function(x, x_0, &factors)
    }
}
