//! One step of Adversarial Diffusion Distillation: a discriminator update, then a student update.
//!
//! The batch is computed in parts, see [`Replicas`]: every part gives its share of the heads' gradient, the heads move, and
//! every part gives its share of the student's gradient. What a part computes is in [`Part`].

use add_loss::{PixelReduction, R1Route, Reduction};
use add_plugin::{
    Autoencoder, Critic, Denoiser, Discriminator, FeatureExtractor, StudentSample, Weighting, fork,
};
use add_recipe::slot::{CODEC, DISTILLATION_CODEC, FEATURES, HEADS, IMAGE_ENCODER, STUDENT, TEACHER};
use add_train::{
    distance::Space,
    networks::{AnyNetwork, NetworkSet},
    process::Process,
    replicas::Replicas,
    report::StepReport,
    teacher::BoundTeacher,
};
use burn::tensor::Tensor;

use super::{
    OPTIMIZER_D, OPTIMIZER_G, TEACHER_CODEC,
    inputs::{AddInputs, Prompts, TeacherInput},
    part::{Part, Waiting},
};
use crate::student::{End, Terminal};

/// What a part of the batch computes with: copies that share the numbers, with tapes of their own.
pub struct AddNetworks {
    /// `theta`, on the autodiff device.
    pub student: Box<dyn Denoiser>,
    /// `phi`, on the autodiff device.
    pub heads: Box<dyn Discriminator>,
    /// `psi`, on the plain device.
    pub teacher: Box<dyn Denoiser>,
    /// `F` where it is a network of pictures, on the plain device.
    pub features: Option<Box<dyn FeatureExtractor>>,
    /// The network of `c_img`, where it is not `F` itself; on the plain device.
    pub image_encoder: Option<Box<dyn FeatureExtractor>>,
    /// Latents to pixels, on the plain device.
    pub codec: Box<dyn Autoencoder>,
    /// Decodes for the distillation loss in its place; on the plain device.
    pub distillation_codec: Option<Box<dyn Autoencoder>>,
    /// The codec of a teacher with latents of its own; on the plain device.
    pub teacher_codec: Option<Box<dyn Autoencoder>>,
}

/// The numbers of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AddOptions {
    /// Factor of the adversarial term; 0 leaves it and the discriminator out.
    pub adversarial_weight: f64,
    /// `lambda`, the factor of the distillation term; 0 leaves it and the teacher out.
    pub lambda: f64,
    /// Reduction of the squared distance over a sample's values.
    pub distance: PixelReduction,
    /// What the distance is taken between.
    pub space: Space,
    /// Reduction of the hinge losses over heads.
    pub heads: Reduction,
    /// How R1 is computed.
    pub r1: R1Route,
    /// `gamma`, the factor of R1.
    pub gamma: f64,
    /// Whether the heads see the text.
    pub text_condition: bool,
    /// Whether `c_text` and `c_img` are scaled to unit length.
    pub normalize_condition: bool,
    /// Whether the heads see the image embedding of `x_0`.
    pub image_condition: ImageCondition,
    /// Consecutive teacher steps.
    pub teacher_steps: usize,
    /// `tau_n`, the largest student timestep, whose input is pure noise.
    pub last_timestep: usize,
    /// How the last timestep's input becomes pure noise.
    pub terminal: Terminal,
}

impl AddOptions {
    /// The end of the student's schedule.
    pub(crate) fn end(&self) -> End {
        End { last_timestep: self.last_timestep, terminal: self.terminal }
    }
}

/// How the heads are conditioned on `c_img` (ADD, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ImageCondition {
    /// Not at all.
    Off,
    /// On every sample.
    Always,
    /// On samples whose student input holds a signal; zero where it is pure noise.
    WhereInformed,
}

impl AddNetworks {
    /// Copies of a run's networks for a part of the batch.
    pub fn fork(networks: &NetworkSet) -> Self {
        let features = |role| match networks.get(role) {
            Some(AnyNetwork::Features(network)) => Some(fork(&**network)),
            _ => None,
        };
        let codec = |role| match networks.get(role) {
            Some(AnyNetwork::Codec(network)) => Some(fork(&**network)),
            _ => None,
        };
        Self {
            student: fork(networks.denoiser(STUDENT)),
            heads: fork(networks.heads(HEADS)),
            teacher: fork(networks.denoiser(TEACHER)),
            features: features(FEATURES),
            image_encoder: features(IMAGE_ENCODER),
            codec: fork(networks.codec(CODEC)),
            distillation_codec: codec(DISTILLATION_CODEC),
            teacher_codec: codec(TEACHER_CODEC),
        }
    }
}

/// What stays the same over all steps: the numbers and processes of the method.
pub struct AddMethod<'w> {
    /// The student's forward process.
    pub student_diffusion: Process,
    /// The teacher's forward process.
    pub teacher_diffusion: Process,
    /// `c(t)` and the target.
    pub weighting: &'w dyn Weighting,
    /// `F` where it looks at latents through the teacher.
    pub critic: Option<&'w dyn Critic>,
    /// The numbers.
    pub options: AddOptions,
}

impl AddMethod<'_> {
    /// `x_hat_psi` for `x_hat_theta`, both in the teacher's latents on the plain device.
    pub fn target(
        &self,
        teacher: &dyn Denoiser,
        prompts: &Prompts,
        input: &TeacherInput,
        x_hat_theta: Tensor<4>,
    ) -> Tensor<4> {
        let batch = x_hat_theta.dims()[0];
        let x_hat_theta_t = self.teacher_diffusion.diffuse(x_hat_theta.clone(), input.eps.clone(), &input.t);
        let teacher = BoundTeacher {
            denoiser: teacher,
            diffusion: &self.teacher_diffusion,
            conditioning: &prompts.captions,
            null: &prompts.null.repeat(batch),
            negative: &prompts.negative.repeat(batch),
            guidance: &input.guidance,
            steps: self.options.teacher_steps,
        };
        self.weighting.target(&StudentSample { x_hat_theta, x_hat_theta_t, t: input.t.clone() }, &teacher)
    }
}

/// Everything that one ADD step changes, and what it goes by.
pub struct AddTrainer<'w> {
    /// The networks, with the optimisers of student and heads and the student's average.
    pub networks: NetworkSet,
    /// The numbers and processes.
    pub method: AddMethod<'w>,
    /// The parts in which a batch is computed.
    pub replicas: Replicas,
}

impl AddTrainer<'_> {
    /// One discriminator update and one student update on this rank's parts of a batch, with learning rates `lr_d` and `lr_g`.
    ///
    /// A loss or gradient that is not finite leaves its update out; the report then holds the reason.
    pub fn step(&mut self, parts: Vec<AddInputs<'_>>, lr_g: f64, lr_d: f64) -> StepReport {
        let mut report = StepReport::default();
        let batch = self.replicas.whole_batch(parts.iter().map(AddInputs::batch).sum());
        let device = parts[0].x_0.0.device();
        let adversarial = self.method.options.adversarial_weight > 0.0;

        let method = &self.method;
        // With several accumulation steps no part can keep its states until the heads have moved: it is computed again.
        let (once, mut waiting) = (self.replicas.turns() == 1, Vec::new());
        if adversarial {
            let mut sum = self.replicas.sum(device.clone());
            self.replicas.each(
                parts,
                |inputs| (inputs, AddNetworks::fork(&self.networks)),
                |(inputs, networks)| {
                    let mut part = Part::forward(method, inputs, networks, batch);
                    let (report, gradient) = part.heads_gradient();
                    (if once { Waiting::Part(Box::new(part)) } else { part.rest() }, report, gradient)
                },
                |(part, report, gradient)| {
                    waiting.push(part);
                    sum.add(report, gradient);
                },
            );
            let (reports, gradients) = sum.finish();
            report.extend(reports);
            // A spectral norm is iterated once before each forward pass, as PyTorch's hooks do it: for the fakes and the real
            // pictures before the update, for the student's turn after it.
            self.networks.heads_mut(HEADS).power_iterate();
            self.networks.heads_mut(HEADS).power_iterate();
            self.networks.update(OPTIMIZER_D, gradients, lr_d, batch, "grad_norm_d", &mut report);
            self.networks.heads_mut(HEADS).power_iterate();
        } else {
            waiting.extend(parts.into_iter().map(|inputs| Waiting::Inputs(Box::new(inputs))));
        }

        let (reports, gradients) = self.replicas.gradient(
            device,
            waiting,
            |part| {
                let networks = matches!(part, Waiting::Inputs(_)).then(|| AddNetworks::fork(&self.networks));
                (part, networks, self.networks.heads(HEADS).frozen())
            },
            |(part, networks, heads)| part.go_on(method, networks, batch).student_gradient(&*heads),
        );
        report.extend([reports]);
        report_balance(&mut report);
        self.networks.update(OPTIMIZER_G, gradients, lr_g, batch, "grad_norm_g", &mut report);
        report
    }
}

/// Adds the ratio of the two terms' gradient norms at `x_hat_theta`, where the step has both and it is a number.
fn report_balance(report: &mut StepReport) {
    let norms = (report.get("grad_norm_adv"), report.get("grad_norm_distill"));
    if let (Some(adversarial), Some(distillation)) = norms
        && (adversarial / distillation).is_finite()
    {
        report.number("grad_ratio", adversarial / distillation);
    }
}
