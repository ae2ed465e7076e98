//! One step of Adversarial Diffusion Distillation: a discriminator update, then a student update.
//!
//! The chain rule is cut at `x_hat_theta`. Both loss terms give their gradient with respect to it, the two are
//! logged and added (ADD Eq. 1), and one backward pass carries the sum through the student. So the balance of the
//! terms is visible at every step, and the tapes of the feature network and of the student never live together.

use add_loss::{
    PixelReduction, R1, R1Route, Reduction, distillation, hinge_discriminator, hinge_generator,
    pure_noise_where, r1,
};
use add_plugin::{
    Autoencoder, Conditioning, Denoiser, Discriminator, Draw, FeatureExtractor, Latents, Logits, Pixels,
    StudentSample, Timesteps, Weighting, per_sample,
};
use burn::tensor::Tensor;

use crate::{
    ema::Ema,
    gradients::{GradientMap, clip_factor, global_norm, scalar},
    model::Diffusion,
    optimizer::AdamW,
    report::StepReport,
    teacher::BoundTeacher,
};

/// The networks of an ADD run.
pub struct AddNetworks {
    /// `theta`, on the autodiff device.
    pub student: Box<dyn Denoiser>,
    /// `phi`, on the autodiff device.
    pub heads: Box<dyn Discriminator>,
    /// `psi`, on the plain device.
    pub teacher: Box<dyn Denoiser>,
    /// `F`, on the plain device.
    pub features: Box<dyn FeatureExtractor>,
    /// The network of `c_img`, where it is not `F` itself; on the plain device.
    pub image_encoder: Option<Box<dyn FeatureExtractor>>,
    /// Latents to pixels, on the plain device.
    pub codec: Box<dyn Autoencoder>,
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
    /// Whether the distance is taken after decoding, as in the paper, or between latents.
    pub space: Space,
    /// Reduction of the hinge losses over heads.
    pub heads: Reduction,
    /// How R1 is computed.
    pub r1: R1Route,
    /// `gamma`, the factor of R1.
    pub gamma: f64,
    /// Whether the heads see the text.
    pub text_condition: bool,
    /// Whether the heads see the image embedding of `x_0`.
    pub image_condition: ImageCondition,
    /// Consecutive teacher steps.
    pub teacher_steps: usize,
    /// How the last timestep's input becomes pure noise.
    pub terminal: Terminal,
}

/// How the student's input at the last timestep becomes pure noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Terminal {
    /// By the schedule: it must have zero terminal SNR.
    #[default]
    Schedule,
    /// The input is replaced by noise; the schedule's own, leaky `alpha` stays in the formula of `x_0`.
    InputReplacement,
}

/// Where the distillation distance is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Space {
    /// Between decoded pictures (ADD, section 3.1).
    Pixel,
    /// Between latents.
    Latent,
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

/// Student timesteps with their noise.
#[derive(Debug, Clone)]
pub struct StudentInput {
    /// `s`.
    pub s: Timesteps,
    /// `eps` `[B, C, H, W]`.
    pub eps: Tensor<4>,
}

/// Text, encoded, on the plain device.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// One caption per sample.
    pub captions: Conditioning,
    /// The empty caption, batch of one.
    pub null: Conditioning,
    /// The negative prompt, batch of one.
    pub negative: Conditioning,
}

/// Teacher timesteps with their noise and guidance.
#[derive(Debug, Clone)]
pub struct TeacherInput {
    /// `t`.
    pub t: Timesteps,
    /// `eps'` `[B, C, H, W]`.
    pub eps: Tensor<4>,
    /// Guidance scale per sample.
    pub guidance: Vec<f64>,
}

/// A view of a picture as the feature network gets it: augmented and resized.
pub type View<'a> = dyn Fn(Tensor<4>) -> Tensor<4> + 'a;

/// One batch with every random number of the step; tensors on the plain device.
pub struct AddInputs<'a> {
    /// Real pictures.
    pub x_0: Pixels,
    /// Their captions, and what guidance compares them with.
    pub prompts: Prompts,
    /// What the student is given in its own update.
    pub generator: StudentInput,
    /// What the student is given in the discriminator's update; `None` shares the fakes of both.
    pub discriminator: Option<StudentInput>,
    /// What the teacher is given.
    pub teacher: TeacherInput,
    /// Source of each sample's random numbers, for the routes of R1 that want some.
    pub draws: Vec<Draw>,
    /// View of real pictures.
    pub real_view: &'a View<'a>,
    /// View of fakes.
    pub fake_view: &'a View<'a>,
    /// View for the image encoder (resized, never augmented).
    pub embedding_view: &'a View<'a>,
}

/// Everything that one ADD step changes.
pub struct AddTrainer<'w> {
    /// The networks.
    pub networks: AddNetworks,
    /// The student's forward process.
    pub student_diffusion: Diffusion,
    /// The teacher's forward process.
    pub teacher_diffusion: Diffusion,
    /// `c(t)` and the target.
    pub weighting: &'w dyn Weighting,
    /// The numbers.
    pub options: AddOptions,
    /// Of the student.
    pub optimizer_g: AdamW,
    /// Of the heads.
    pub optimizer_d: AdamW,
    /// Of the student.
    pub ema: Ema,
}

/// What the two updates would do, before anything is applied.
struct Update {
    gradients: GradientMap,
    norm: f64,
}

impl AddTrainer<'_> {
    /// One discriminator update and one student update, with learning rates `lr_d` and `lr_g`.
    ///
    /// A loss or gradient that is not finite leaves its update out; the report then holds the reason.
    pub fn step(&mut self, inputs: &AddInputs<'_>, lr_g: f64, lr_d: f64) -> StepReport {
        let mut report = StepReport::default();
        let x_0 = self.networks.codec.encode(inputs.x_0.clone()).0;
        let x_hat = self.student(&x_0, &inputs.generator, inputs, &*self.networks.student);
        // The two terms meet at this leaf; the student's own tape hangs on `x_hat`.
        let leaf = || x_hat.clone().inner().autodiff().require_grad();
        let mut gradient = x_hat.clone().inner().zeros_like();

        if self.options.adversarial_weight > 0.0 {
            let adversarial = self.adversarial(inputs, &x_0, leaf(), lr_d, &mut report);
            gradient = gradient + adversarial;
        }
        if self.options.lambda > 0.0 {
            gradient = gradient + self.distill(inputs, leaf(), &mut report);
        }

        let mut tape = (x_hat * gradient.autodiff()).sum().backward();
        let gradients = self.networks.student.take_gradients(&mut tape);
        let update = Update { norm: global_norm(&gradients), gradients };
        report.number("grad_norm_g", update.norm);
        if update.norm.is_finite() {
            let scale = clip_factor(update.norm, self.optimizer_g.config().clip_norm);
            let student: &mut dyn Denoiser = &mut *self.networks.student;
            self.optimizer_g.step(&mut [("", student)], update.gradients, lr_g, scale);
            self.ema.update(&[("", &*self.networks.student)], x_0.dims()[0]);
        }
        report
    }

    /// `x_hat_theta(x_s, s)` with `x_s = alpha_s x_0 + sigma_s eps`.
    fn student(
        &self,
        x_0: &Tensor<4>,
        input: &StudentInput,
        inputs: &AddInputs<'_>,
        network: &dyn Denoiser,
    ) -> Tensor<4> {
        let x_s = self.student_diffusion.diffuse(x_0.clone(), input.eps.clone(), &input.s);
        let x_s = match self.options.terminal {
            Terminal::Schedule => x_s,
            Terminal::InputReplacement => {
                let last: Vec<bool> = input.s.0.iter().map(|&s| self.informed(s) == 0.0).collect();
                pure_noise_where(&last, x_s, input.eps.clone())
            }
        };
        let output = network.predict(x_s.clone(), &input.s, &inputs.prompts.captions);
        self.student_diffusion.x0(output, x_s, &input.s)
    }

    /// The discriminator's update, then the gradient of Eq. (2) at `x_hat`.
    fn adversarial(
        &mut self,
        inputs: &AddInputs<'_>,
        x_0: &Tensor<4>,
        x_hat: Tensor<4>,
        lr_d: f64,
        report: &mut StepReport,
    ) -> Tensor<4> {
        let features = self.fake_features(inputs, x_hat.clone());
        // The heads see the fakes without gradient here; the student's turn follows.
        let (fakes, s_d) = match &inputs.discriminator {
            None => (features.iter().map(|f| f.clone().inner()).collect(), &inputs.generator.s),
            Some(own) => {
                let frozen = self.networks.student.frozen();
                (self.fake_features(inputs, self.student(x_0, own, inputs, &*frozen)), &own.s)
            }
        };
        let c_img = self.image_embedding(inputs);
        let condition_d = self.condition(inputs, c_img.as_ref(), s_d);
        self.update_heads(inputs, &fakes, condition_d, lr_d, report);

        self.networks.heads.power_iterate();
        let condition = self.condition(inputs, c_img.as_ref(), &inputs.generator.s);
        let logits = self.networks.heads.frozen().logits(&features, condition);
        let loss = hinge_generator(&logits, self.options.heads);
        report.number("loss_adv", scalar(loss.clone().inner()));
        let tape = (loss * self.options.adversarial_weight).backward();
        let gradient = x_hat.grad(&tape).unwrap_or_else(|| x_hat.clone().inner().zeros_like());
        report.number("grad_norm_adv", norm(&gradient));
        gradient
    }

    /// Features of decoded fakes.
    fn fake_features(&self, inputs: &AddInputs<'_>, x_hat: Tensor<4>) -> Vec<Tensor<3>> {
        let pixels = self.networks.codec.decode(Latents(x_hat)).0;
        self.networks.features.features(Pixels((inputs.fake_view)(pixels)))
    }

    /// One step of the heads on Eq. (3).
    fn update_heads(
        &mut self,
        inputs: &AddInputs<'_>,
        fakes: &[Tensor<3>],
        condition: Option<Tensor<2>>,
        lr_d: f64,
        report: &mut StepReport,
    ) {
        let reals = self.networks.features.features(Pixels((inputs.real_view)(inputs.x_0.0.clone())));
        let heads = &mut self.networks.heads;
        heads.power_iterate();
        let logits_fake = heads.logits(fakes, condition.clone());
        heads.power_iterate();
        let AddOptions { r1: route, heads: reduction, gamma, .. } = self.options;
        let R1 { value, surrogate, logits: logits_real } =
            r1(&**heads, &reals, condition.as_ref(), route, &inputs.draws, reduction);
        let (loss_real, loss_fake) = hinge_discriminator(&logits_real, &logits_fake, reduction);
        let [d_real, d_fake, penalty] =
            [loss_real.clone().inner(), loss_fake.clone().inner(), value].map(scalar);
        report.number("loss_d", d_real + d_fake + gamma * penalty);
        report.number("loss_d_real", d_real);
        report.number("loss_d_fake", d_fake);
        report.number("r1", penalty);
        report.list("logits_real", means(&logits_real));
        report.list("logits_fake", means(&logits_fake));

        let mut tape = (loss_real + loss_fake + surrogate * gamma).backward();
        let gradients = heads.take_gradients(&mut tape);
        let norm = global_norm(&gradients);
        report.number("grad_norm_d", norm);
        if norm.is_finite() {
            let scale = clip_factor(norm, self.optimizer_d.config().clip_norm);
            let heads: &mut dyn Discriminator = &mut **heads;
            self.optimizer_d.step(&mut [("", heads)], gradients, lr_d, scale);
        }
    }

    /// `c_img` of `x_0` `[B, K]`, where the heads see one.
    fn image_embedding(&self, inputs: &AddInputs<'_>) -> Option<Tensor<2>> {
        if self.options.image_condition == ImageCondition::Off {
            return None;
        }
        let encoder = self.networks.image_encoder.as_ref().unwrap_or(&self.networks.features);
        Some(encoder.embedding(Pixels((inputs.embedding_view)(inputs.x_0.0.clone()))))
    }

    /// `c = [c_text; c_img]`, `[B, K]`; `None` when both are off.
    fn condition(
        &self,
        inputs: &AddInputs<'_>,
        c_img: Option<&Tensor<2>>,
        s: &Timesteps,
    ) -> Option<Tensor<2>> {
        let mut parts = Vec::new();
        if self.options.text_condition {
            parts.push(inputs.prompts.captions.pooled.clone());
        }
        if let Some(c_img) = c_img.cloned() {
            let [b, k] = c_img.dims();
            parts.push(match self.options.image_condition {
                ImageCondition::WhereInformed => {
                    let kept: Vec<f64> = s.0.iter().map(|&s| self.informed(s)).collect();
                    c_img * per_sample(&kept, &inputs.x_0.0).reshape([b, 1]).expand([b, k])
                }
                ImageCondition::Off | ImageCondition::Always => c_img,
            });
        }
        (!parts.is_empty()).then(|| Tensor::cat(parts, 1))
    }

    /// 0 where the student's input is pure noise, else 1.
    fn informed(&self, s: usize) -> f64 {
        let last = self.student_diffusion.schedule.steps() - 1;
        if s == last { 0.0 } else { 1.0 }
    }

    /// The gradient of `lambda` times Eq. (4) at `x_hat`.
    fn distill(&self, inputs: &AddInputs<'_>, x_hat: Tensor<4>, report: &mut StepReport) -> Tensor<4> {
        let schedule = &self.teacher_diffusion.schedule;
        let c: Vec<f64> = inputs.teacher.t.0.iter().map(|&t| self.weighting.weight(schedule, t)).collect();
        let target = self.target(&inputs.prompts, &inputs.teacher, x_hat.clone().inner());
        let (student, target) = match self.options.space {
            Space::Latent => (x_hat.clone(), target),
            Space::Pixel => {
                let codec = &self.networks.codec;
                (codec.decode(Latents(x_hat.clone())).0, codec.decode(Latents(target)).0)
            }
        };
        let loss = distillation(student, target, &c, self.options.distance);
        report.number("loss_distill", scalar(loss.clone().inner()));
        let tape = (loss * self.options.lambda).backward();
        let gradient = x_hat.grad(&tape).unwrap_or_else(|| x_hat.inner().zeros_like());
        report.number("grad_norm_distill", norm(&gradient));
        gradient
    }

    /// `x_hat_psi` for `x_hat_theta` on the plain device; what the sample grids show beside the student.
    pub fn target(&self, prompts: &Prompts, input: &TeacherInput, x_hat_theta: Tensor<4>) -> Tensor<4> {
        let batch = x_hat_theta.dims()[0];
        let x_hat_theta_t = self.teacher_diffusion.diffuse(x_hat_theta.clone(), input.eps.clone(), &input.t);
        let teacher = BoundTeacher {
            denoiser: &*self.networks.teacher,
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

/// `|x|_2`.
fn norm(x: &Tensor<4>) -> f64 {
    scalar(x.clone().square().sum()).sqrt()
}

/// Mean logit of each head.
fn means(logits: &[Logits]) -> Vec<f64> {
    logits.iter().map(|Logits(l)| scalar(l.clone().inner().mean())).collect()
}
