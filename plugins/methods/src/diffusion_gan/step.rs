//! One step of a diffusion GAN: real latents and the student's pictures are noised to the end of the jump, where the discriminator
//! learns to tell them apart and the student to be taken for real. Xu et al. 2023 (UFOGen), section 4.

use add_loss::{jump_ends, reconstruction, reconstruction_weight};
use add_plugin::{Conditioning, Denoiser, Latents, fork};
use add_recipe::slot::STUDENT;
use add_train::{
    gradients::GradientMap, networks::NetworkSet, process::Process, replicas::Replicas, report::StepReport,
};
use burn::tensor::Tensor;

use super::{DISCRIMINATOR, OPTIMIZER_D, OPTIMIZER_G};
use crate::{
    contrast::report_contrasts,
    critic::{CriticLevels, Level},
    cut::{carry, gradient_at, leaf, value_and_norm},
    latent_discriminator::{LatentDiscriminator, power_iterate},
    student::{End, StudentInput},
};

/// A part of the batch with every random number of the step; tensors on the plain device.
pub(super) struct Inputs {
    /// Real pictures, encoded.
    pub(super) x_0: Latents,
    /// Their captions, encoded.
    pub(super) captions: Conditioning,
    /// Where the student jumps from.
    pub(super) student: StudentInput,
    /// Noise of real latents at the end of the jump `[B, C, H, W]`.
    pub(super) eps_real: Tensor<4>,
    /// Noise of the student's pictures there.
    pub(super) eps_fake: Tensor<4>,
}

impl Inputs {
    fn batch(&self) -> usize {
        self.x_0.0.dims()[0]
    }
}

/// Everything that one step changes, and what it goes by.
pub(super) struct Trainer {
    /// Student, discriminator and heads on the autodiff device, the others on the plain one.
    pub(super) networks: NetworkSet,
    /// The forward process of all.
    pub(super) diffusion: Process,
    /// The student's timesteps, ascending.
    pub(super) timesteps: Vec<usize>,
    /// The end of its schedule.
    pub(super) end: End,
    /// `lambda_KL`.
    pub(super) reconstruction: f64,
    /// The blocks that the heads read.
    pub(super) blocks: Vec<String>,
    /// The parts in which a batch is computed.
    pub(super) replicas: Replicas,
}

impl Trainer {
    /// One update of student and discriminator with these learning rates; each is left out when its gradient is not finite. Both
    /// gradients are those of the networks before the step.
    pub(super) fn step(&mut self, parts: Vec<Inputs>, lr_g: f64, lr_d: f64) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(Inputs::batch).sum());
        let device = parts[0].x_0.0.device();
        let part = |inputs: Inputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            student: fork(self.networks.denoiser(STUDENT)),
            discriminator: LatentDiscriminator::fork(
                &self.networks,
                DISCRIMINATOR,
                &self.blocks,
                &self.diffusion,
            ),
            trainer: Shared {
                diffusion: &self.diffusion,
                timesteps: &self.timesteps,
                end: self.end,
                reconstruction: self.reconstruction,
            },
            inputs,
        };
        let (mut of_student, mut of_discriminator) =
            (self.replicas.sum(device.clone()), self.replicas.sum(device));
        self.replicas.each(parts, part, Part::gradients, |(student, discriminator)| {
            of_student.add(student.0, student.1);
            of_discriminator.add(discriminator.0, discriminator.1);
        });
        let ((of_student, by_student), (of_discriminator, by_discriminator)) =
            (of_student.finish(), of_discriminator.finish());
        let mut report = StepReport::default();
        report.extend(of_discriminator);
        power_iterate(&mut self.networks);
        self.networks.update(OPTIMIZER_D, by_discriminator, lr_d, batch, "grad_norm_d", &mut report);
        report.extend(of_student);
        self.networks.update(OPTIMIZER_G, by_student, lr_g, batch, "grad_norm_g", &mut report);
        report
    }
}

/// What all parts share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    diffusion: &'a Process,
    timesteps: &'a [usize],
    end: End,
    reconstruction: f64,
}

/// Figures and gradients of one optimiser's networks.
type Half = (StepReport, GradientMap);

/// A part of the batch with copies of the networks.
struct Part<'a> {
    inputs: Inputs,
    /// The part's share of the batch, the factor of its mean losses.
    share: f64,
    student: Box<dyn Denoiser>,
    discriminator: LatentDiscriminator<'a>,
    trainer: Shared<'a>,
}

impl Part<'_> {
    /// The part's share of the gradients of the student and of the discriminator.
    fn gradients(mut self) -> (Half, Half) {
        let Shared { diffusion, timesteps, end, .. } = self.trainer;
        let Inputs { x_0, captions, student, eps_real, eps_fake } = &self.inputs;
        let t = jump_ends(timesteps, &student.s);
        let level = |eps: &Tensor<4>| Level { t: t.clone(), eps: eps.clone() };
        let levels = CriticLevels { fake: level(eps_fake), real: level(eps_real) };
        let x_hat = end.estimate(diffusion, &x_0.0, student, captions, &*self.student);
        let both = [x_0.0.clone(), x_hat.clone().inner()];

        let of_student = self.student_gradient(x_hat, &levels);
        let mut report = StepReport::default();
        let loss = self.discriminator.loss(both, &levels, &self.inputs.captions, self.share, &mut report);
        let mut tape = loss.backward();
        (of_student, (report, self.discriminator.take_gradients(&mut tape)))
    }

    /// The part's share of the student's gradient.
    fn student_gradient(&self, x_hat: Tensor<4>, levels: &CriticLevels) -> Half {
        let Inputs { x_0, captions, student, .. } = &self.inputs;
        let mut report = StepReport::default();
        let discriminator = self.discriminator.frozen();
        let mut gradient =
            discriminator.student_gradient(&x_hat, &levels.fake, captions, (1.0, self.share), &mut report);
        if self.trainer.reconstruction > 0.0 {
            let schedule = &self.trainer.diffusion.schedule;
            let jumps = student.s.0.iter().zip(&levels.fake.t.0);
            let gamma: Vec<f64> = jumps.map(|(&t, &s)| reconstruction_weight(schedule, t, s)).collect();
            let leaf = leaf(&x_hat);
            let loss = reconstruction(leaf.clone(), x_0.0.clone(), &gamma) * self.share;
            let own = gradient_at(&leaf, loss.clone() * self.trainer.reconstruction);
            let [value, norm] = value_and_norm(loss, &own);
            report.number("loss_reconstruction", value);
            report.norm("grad_norm_reconstruction", norm);
            gradient = gradient + own;
        }
        report_contrasts(&mut report, self.share, x_0.0.clone(), x_hat.clone().inner());
        let mut tape = carry(x_hat, gradient);
        (report, self.student.take_gradients(&mut tape))
    }
}
