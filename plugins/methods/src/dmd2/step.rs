//! One step of improved distribution matching distillation: the denoiser of fakes learns what the student makes, and on its
//! turn the student moves towards the teacher's distribution and away from its own. Yin et al. 2024, section 4.

use add_loss::{distribution_matching, distribution_matching_gradient};
use add_plugin::{Conditioning, Denoiser, Latents, fork};
use add_recipe::slot::{STUDENT, TEACHER};
use add_train::{
    gradients::{GradientMap, scalar},
    networks::NetworkSet,
    process::{Process, guided_from_outside},
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Tensor;

use super::{FAKES, OPTIMIZER_FAKES, OPTIMIZER_G};
use crate::{
    contrast::report_contrasts,
    critic::{CriticLevels, Level},
    cut::{carry, gradient_at, leaf, value_and_norm},
    latent_discriminator::{LatentDiscriminator, power_iterate},
    student::{End, Simulation, StudentInput},
};

/// A part of the batch with every random number of the step; tensors on the plain device.
pub(super) struct Inputs {
    /// Real pictures, encoded.
    pub(super) x_0: Latents,
    /// Their captions, encoded.
    pub(super) captions: Conditioning,
    /// What the student is asked.
    pub(super) student: StudentInput,
    /// Samples whose student input begins at the student's own picture.
    pub(super) simulation: Option<Simulation>,
    /// Where the two distributions are compared.
    pub(super) matching: Level,
    /// The teacher's guidance scale of each sample.
    pub(super) guidance: Vec<f64>,
    /// Where the denoiser of fakes learns to denoise.
    pub(super) denoising: Level,
    /// Where the heads look; `None` without them.
    pub(super) levels: Option<CriticLevels>,
}

impl Inputs {
    fn batch(&self) -> usize {
        self.x_0.0.dims()[0]
    }
}

/// The numbers of the objective.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// The end of the student's schedule.
    pub(super) end: End,
    /// Factor of the student's adversarial loss.
    pub(super) weight: f64,
    /// Factor of the discriminator's loss.
    pub(super) discriminator_weight: f64,
}

/// Everything that one step changes, and what it goes by.
pub(super) struct Trainer {
    /// Student, denoiser of fakes and heads on the autodiff device, the others on the plain one.
    pub(super) networks: NetworkSet,
    /// The student's forward process.
    pub(super) diffusion: Process,
    /// That of the teacher and of the denoiser of fakes.
    pub(super) teacher_diffusion: Process,
    /// The empty caption, a batch of one.
    pub(super) null: Conditioning,
    /// The blocks that the heads read; empty without heads.
    pub(super) blocks: Vec<String>,
    /// The numbers.
    pub(super) options: Options,
    /// The parts in which a batch is computed.
    pub(super) replicas: Replicas,
}

impl Trainer {
    /// One update of the denoiser of fakes with learning rate `lr`, and on the student's turn one of the student with `lr_g`;
    /// each is left out when its gradient is not finite. Both gradients are those of the networks before the step.
    pub(super) fn step(&mut self, parts: Vec<Inputs>, lr_g: Option<f64>, lr: f64) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(Inputs::batch).sum());
        let device = parts[0].x_0.0.device();
        let part = |inputs: Inputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            null: self.null.repeat(inputs.batch()),
            inputs,
            student: fork(self.networks.denoiser(STUDENT)),
            teacher: fork(self.networks.denoiser(TEACHER)),
            fakes: LatentDiscriminator::fork(&self.networks, FAKES, &self.blocks, &self.teacher_diffusion),
            diffusion: &self.diffusion,
            options: self.options,
        };
        let moves = lr_g.is_some();
        let (mut of_student, mut of_fakes) = (self.replicas.sum(device.clone()), self.replicas.sum(device));
        self.replicas.each(
            parts,
            part,
            |part| part.gradients(moves),
            |(student, fakes)| {
                of_student.add(student.0, student.1);
                of_fakes.add(fakes.0, fakes.1);
            },
        );
        let (mut report, (reports, gradients)) = (StepReport::default(), of_student.finish());
        if let Some(lr) = lr_g {
            report.extend(reports);
            self.networks.update(OPTIMIZER_G, gradients, lr, batch, "grad_norm_g", &mut report);
        }
        let (reports, gradients) = of_fakes.finish();
        report.extend(reports);
        power_iterate(&mut self.networks);
        self.networks.update(OPTIMIZER_FAKES, gradients, lr, batch, "grad_norm_d", &mut report);
        report
    }
}

/// Figures and gradients of one optimiser's networks.
type Half = (StepReport, GradientMap);

/// A part of the batch with copies of the networks.
struct Part<'a> {
    inputs: Inputs,
    /// The part's share of the batch, the factor of its mean losses.
    share: f64,
    /// The empty caption for each sample.
    null: Conditioning,
    student: Box<dyn Denoiser>,
    teacher: Box<dyn Denoiser>,
    fakes: LatentDiscriminator<'a>,
    diffusion: &'a Process,
    options: Options,
}

impl Part<'_> {
    /// The part's share of the gradients of the student, where it `moves`, and of the denoiser of fakes.
    fn gradients(mut self, moves: bool) -> (Half, Half) {
        let start = self.start();
        let (student, fakes) = if moves {
            let x_hat = self.x_hat(&start, &*self.student);
            let fakes = x_hat.clone().inner();
            (self.student_gradient(x_hat), fakes)
        } else {
            (Half::default(), self.x_hat(&start, &*self.student.frozen()))
        };
        (student, self.fakes_gradient(fakes))
    }

    /// What the student's inputs are made from: `x_0`, or its own pictures. Section 4.5.
    fn start(&self) -> Tensor<4> {
        let Inputs { x_0, captions, student, simulation, .. } = &self.inputs;
        let Some(simulation) = simulation else { return x_0.0.clone() };
        let network = self.student.frozen();
        simulation.start(x_0.0.clone(), &student.s, |x, input, rows| {
            self.options.end.estimate(self.diffusion, &x, input, &captions.select(rows), &*network)
        })
    }

    fn x_hat(&self, start: &Tensor<4>, network: &dyn Denoiser) -> Tensor<4> {
        let Inputs { captions, student, .. } = &self.inputs;
        self.options.end.estimate(self.diffusion, start, student, captions, network)
    }

    /// The part's share of the student's gradient.
    fn student_gradient(&self, x_hat: Tensor<4>) -> Half {
        let mut report = StepReport::default();
        let fakes = self.fakes.frozen();
        let mut gradient = self.matching(&x_hat, &*fakes.denoiser, &mut report);
        if let Some(levels) = &self.inputs.levels {
            let captions = &self.inputs.captions;
            let factors = (self.options.weight, self.share);
            let adversarial = fakes.student_gradient(&x_hat, &levels.fake, captions, factors, &mut report);
            gradient = gradient + adversarial;
        }
        report_contrasts(&mut report, self.share, self.inputs.x_0.0.clone(), x_hat.clone().inner());
        let mut tape = carry(x_hat, gradient);
        (report, self.student.take_gradients(&mut tape))
    }

    /// The gradient of distribution matching at `x_hat`.
    fn matching(&self, x_hat: &Tensor<4>, fakes: &dyn Denoiser, report: &mut StepReport) -> Tensor<4> {
        let Inputs { captions, guidance, matching: Level { t, eps }, .. } = &self.inputs;
        let process = self.fakes.process;
        let leaf = leaf(x_hat);
        let x = leaf.clone().inner();
        let x_t = process.diffuse(x.clone(), eps.clone(), t);
        let estimate = |output| process.x0(output, x_t.clone(), t);
        let real = estimate(guided_from_outside(
            process,
            &*self.teacher,
            x_t.clone(),
            t,
            captions,
            &self.null,
            guidance,
        ));
        let fake = estimate(process.predict(fakes, x_t.clone(), t, captions));
        let loss = distribution_matching(leaf.clone(), distribution_matching_gradient(x, real, fake));
        let loss = loss * self.share;
        let gradient = gradient_at(&leaf, loss.clone());
        let [value, norm] = value_and_norm(loss, &gradient);
        report.number("loss_match", value);
        report.norm("grad_norm_match", norm);
        gradient
    }

    /// The part's share of the gradient of the denoiser of `fakes` and of its heads.
    fn fakes_gradient(&mut self, fakes: Tensor<4>) -> Half {
        let Inputs { x_0, captions, denoising: Level { t, eps }, levels, .. } = &self.inputs;
        let (process, mut report) = (self.fakes.process, StepReport::default());
        let x_t = process.diffuse(fakes.clone(), eps.clone(), t);
        let target = process.target(fakes.clone(), eps.clone(), t);
        let output = process.predict(&*self.fakes.denoiser, x_t, t, captions);
        let mut loss = (output - target).square().mean() * self.share;
        report.number("loss_fakes", scalar(loss.clone().inner()));
        if let Some(levels) = levels {
            let both = [x_0.0.clone(), fakes];
            let adversarial = self.fakes.loss(both, levels, captions, self.share, &mut report);
            loss = loss + adversarial * self.options.discriminator_weight;
        }
        let mut tape = loss.backward();
        (report, self.fakes.take_gradients(&mut tape))
    }
}
