//! What one part of the batch computes in an ADD step.
//!
//! The chain rule is cut at `x_hat_theta`. Both loss terms give their gradient with respect to it, the two are
//! logged and added (ADD Eq. 1), and one backward pass carries the sum through the student. So the balance of the
//! terms is visible at every step, and the tapes of the feature network and of the student never live together.

use add_loss::{R1, hinge_discriminator, hinge_generator, r1};
use add_plugin::{Discriminator, Latents, Pixels, Timesteps, per_sample};
use add_train::{
    distance::Distance,
    gradients::{GradientMap, scalars},
    report::StepReport,
};
use burn::tensor::Tensor;

use super::{
    inputs::AddInputs,
    step::{AddMethod, AddNetworks, AddOptions, ImageCondition},
};
use crate::{
    critic::{Level, report_logits},
    cut::{carry, gradient_at, leaf, value_and_norm},
    student::Simulation,
};

/// One part of the batch, after the student's forward pass.
pub(super) struct Part<'a> {
    method: &'a AddMethod<'a>,
    inputs: AddInputs<'a>,
    networks: AddNetworks,
    /// The part's share of the batch, the factor of its mean losses.
    share: f64,
    x_0: Tensor<4>,
    /// `x_hat_theta` on the student's tape.
    x_hat: Tensor<4>,
    /// What the adversarial term looks at; `None` before, and where that term is off.
    seen: Option<Seen>,
}

/// Features of the part's fakes and what the heads are conditioned on.
struct Seen {
    /// The values of `x_hat_theta`, where the gradient of the adversarial term arrives.
    leaf: Tensor<4>,
    /// `F` of the fakes, on the tape that begins at `leaf`.
    features: Vec<Tensor<3>>,
    /// Embedding of `x_0`.
    c_img: Option<Tensor<2>>,
}

/// A part between the two updates.
pub(super) enum Waiting<'a> {
    /// With all its states.
    Part(Box<Part<'a>>),
    /// With its inputs alone; the states are computed again.
    Inputs(Box<AddInputs<'a>>),
}

impl<'a> Waiting<'a> {
    /// Ready for the student's update. `networks` are wanted for inputs alone; `batch` counts the samples of all parts.
    pub(super) fn go_on(
        self,
        method: &'a AddMethod<'a>,
        networks: Option<AddNetworks>,
        batch: usize,
    ) -> Part<'a> {
        match self {
            Self::Part(part) => *part,
            Self::Inputs(inputs) => {
                let networks = networks.expect("the caller gives networks to a part that has none");
                let mut part = Part::forward(method, *inputs, networks, batch);
                if method.options.adversarial_weight > 0.0 {
                    part.seen = Some(part.look());
                }
                part
            }
        }
    }
}

impl<'a> Part<'a> {
    /// The part without its states.
    pub(super) fn rest(self) -> Waiting<'a> {
        Waiting::Inputs(Box::new(self.inputs))
    }

    /// What the adversarial term looks at.
    fn look(&self) -> Seen {
        let leaf = leaf(&self.x_hat);
        Seen { features: self.fake_features(leaf.clone()), leaf, c_img: self.image_embedding() }
    }

    /// The student's forward pass; `batch` counts the samples of all parts.
    pub(super) fn forward(
        method: &'a AddMethod<'a>,
        inputs: AddInputs<'a>,
        networks: AddNetworks,
        batch: usize,
    ) -> Self {
        let x_0 = inputs.x_0.0.clone();
        let share = inputs.batch() as f64 / batch as f64;
        let captions = &inputs.prompts.captions;
        let (end, process) = (method.options.end(), &method.student_diffusion);
        let start = match &inputs.simulation {
            None => x_0.clone(),
            Some(simulation) => {
                let network = networks.student.frozen();
                simulation.start(x_0.clone(), &inputs.generator.s, |x, input, rows| {
                    end.estimate(process, &x, input, &captions.select(rows), &*network)
                })
            }
        };
        let x_hat = end.estimate(process, &start, &inputs.generator, captions, &*networks.student);
        Self { method, inputs, networks, share, x_0, x_hat, seen: None }
    }

    /// The gradient of Eq. (3) by the heads' parameters, the part's share of it.
    pub(super) fn heads_gradient(&mut self) -> (StepReport, GradientMap) {
        let seen = self.look();
        // The heads see the fakes without gradient here; the student's turn follows.
        let (fakes, s) = match &self.inputs.discriminator {
            None => (seen.features.iter().map(|f| f.clone().inner()).collect(), &self.inputs.generator.s),
            Some(own) => {
                let frozen = self.networks.student.frozen();
                let (end, process) = (self.method.options.end(), &self.method.student_diffusion);
                let captions = &self.inputs.prompts.captions;
                let x_hat = end.estimate(process, &self.x_0, own, captions, &*frozen);
                (self.fake_features(x_hat), &own.s)
            }
        };
        // Samples of their own begin at `x_0`, whatever the student's do.
        let simulation = self.inputs.simulation.as_ref().filter(|_| self.inputs.discriminator.is_none());
        let condition = self.condition(seen.c_img.as_ref(), s, simulation);
        let lengths = self.condition_lengths(seen.c_img.as_ref());
        self.seen = Some(seen);
        let AddInputs { real_view, pixels, draws, .. } = &self.inputs;
        let reals = match &self.inputs.levels {
            None => self.picture_features(real_view(pixels.0.clone())),
            Some(levels) => self.critic_features(self.x_0.clone(), &levels.real),
        };

        let heads = &mut self.networks.heads;
        heads.power_iterate();
        let logits_fake = heads.logits(&fakes, condition.clone());
        heads.power_iterate();
        let AddOptions { r1: route, heads: reduction, gamma, .. } = self.method.options;
        let R1 { value, per_head, surrogate, logits: logits_real } =
            r1(&**heads, &reals, condition.as_ref(), route, draws, reduction);
        let (loss_real, loss_fake) = hinge_discriminator(&logits_real, &logits_fake, reduction);
        let read = [loss_real.clone().inner(), loss_fake.clone().inner(), value];
        let read = scalars(read.into_iter().chain(lengths.iter().map(|(_, length)| length.clone())));
        let [d_real, d_fake, penalty] = [0, 1, 2].map(|i| read[i] * self.share);
        let mut report = StepReport::default();
        report.number("loss_d", d_real + d_fake + gamma * penalty);
        report.number("loss_d_real", d_real);
        report.number("loss_d_fake", d_fake);
        report.number("r1", penalty);
        for ((name, _), length) in lengths.iter().zip(&read[3..]) {
            report.number(name, length * self.share);
        }
        report.heads("r1_heads", self.share, per_head);
        report_logits(&mut report, self.share, &logits_real, &logits_fake);

        let mut tape = ((loss_real + loss_fake + surrogate * gamma) * self.share).backward();
        (report, heads.take_gradients(&mut tape))
    }

    /// The gradient of Eq. (1) by the student's parameters, the part's share of it; `heads` are constant.
    pub(super) fn student_gradient(mut self, heads: &dyn Discriminator) -> (StepReport, GradientMap) {
        let mut report = StepReport::default();
        let mut gradient = self.x_hat.clone().inner().zeros_like();
        if let Some(seen) = self.seen.take() {
            gradient = gradient + self.adversarial(seen, heads, &mut report);
        }
        if self.method.options.lambda > 0.0 {
            gradient = gradient + self.distill(&mut report);
        }
        let mut tape = carry(self.x_hat, gradient);
        (report, self.networks.student.take_gradients(&mut tape))
    }

    /// The gradient of Eq. (2) at `x_hat_theta`.
    fn adversarial(&self, seen: Seen, heads: &dyn Discriminator, report: &mut StepReport) -> Tensor<4> {
        let Seen { leaf, features, c_img } = seen;
        let simulation = self.inputs.simulation.as_ref();
        let condition = self.condition(c_img.as_ref(), &self.inputs.generator.s, simulation);
        let AddOptions { heads: reduction, adversarial_weight, .. } = self.method.options;
        let loss = hinge_generator(&heads.logits(&features, condition), reduction) * self.share;
        let gradient = gradient_at(&leaf, loss.clone() * adversarial_weight);
        let [value, norm] = value_and_norm(loss, &gradient);
        report.number("loss_adv", value);
        report.norm("grad_norm_adv", norm);
        gradient
    }

    /// The gradient of `lambda` times Eq. (4) at `x_hat_theta`.
    fn distill(&self, report: &mut StepReport) -> Tensor<4> {
        let AddMethod { teacher_diffusion, weighting, options, .. } = self.method;
        let AddInputs { teacher: input, prompts, teacher_prompts, .. } = &self.inputs;
        let c: Vec<f64> =
            input.t.0.iter().map(|&t| weighting.weight(&teacher_diffusion.schedule, t)).collect();
        let leaf = leaf(&self.x_hat);
        let AddNetworks { teacher, teacher_codec, codec, distillation_codec, .. } = &self.networks;
        let mut x_hat = leaf.clone().inner();
        if let Some(own) = teacher_codec {
            x_hat = own.encode(codec.decode(Latents(x_hat))).0;
        }
        let prompts = teacher_prompts.as_ref().unwrap_or(prompts);
        let target = self.method.target(&**teacher, prompts, input, x_hat);
        let distance = Distance {
            space: options.space,
            reduction: options.distance,
            codec: &**distillation_codec.as_ref().unwrap_or(codec),
        };
        let loss = match teacher_codec {
            None => distance.loss(leaf.clone(), target, &c, &self.inputs.draws),
            Some(own) => distance.to_pixels(leaf.clone(), own.decode(Latents(target)), &c),
        } * self.share;
        let gradient = gradient_at(&leaf, loss.clone() * options.lambda);
        let [value, norm] = value_and_norm(loss, &gradient);
        report.number("loss_distill", value);
        report.norm("grad_norm_distill", norm);
        gradient
    }

    /// Features of fakes.
    fn fake_features(&self, x_hat: Tensor<4>) -> Vec<Tensor<3>> {
        if let Some(levels) = &self.inputs.levels {
            return self.critic_features(x_hat, &levels.fake);
        }
        let pixels = self.networks.codec.decode(Latents(x_hat)).0;
        self.picture_features((self.inputs.fake_view)(pixels))
    }

    /// Features of pictures, augmented and resized.
    fn picture_features(&self, pixels: Tensor<4>) -> Vec<Tensor<3>> {
        let features = self.networks.features.as_ref().expect("pictures are looked at by a network");
        features.features(Pixels(pixels))
    }

    /// Features of latents at these levels, through the teacher.
    fn critic_features(&self, x: Tensor<4>, level: &Level) -> Vec<Tensor<3>> {
        let critic = self.method.critic.expect("levels belong to a critic");
        let (process, captions) = (&self.method.teacher_diffusion, &self.inputs.prompts.captions);
        level.features(critic, &*self.networks.teacher, process, x, captions)
    }

    /// `c_img` of `x_0` `[B, K]`, where the heads see one.
    fn image_embedding(&self) -> Option<Tensor<2>> {
        if self.method.options.image_condition == ImageCondition::Off {
            return None;
        }
        let AddNetworks { image_encoder, features, .. } = &self.networks;
        let encoder =
            image_encoder.as_ref().or(features.as_ref()).expect("the recipe was checked to have one");
        Some(encoder.embedding(Pixels((self.inputs.embedding_view)(self.inputs.pixels.0.clone()))))
    }

    /// `c_text` `[B, K]`, where the heads see one.
    fn text_embedding(&self) -> Option<Tensor<2>> {
        let AddInputs { c_text, prompts, .. } = &self.inputs;
        let pooled = || prompts.captions.pooled.clone();
        self.method.options.text_condition.then(|| c_text.clone().unwrap_or_else(pooled))
    }

    /// Mean lengths `[1]` of `c_text` and `c_img` before they are scaled, by the names of their figures.
    fn condition_lengths(&self, c_img: Option<&Tensor<2>>) -> Vec<(&'static str, Tensor<1>)> {
        let length = |c: Tensor<2>| c.square().sum_dim(1).sqrt().mean();
        let text = self.text_embedding().map(|c| ("norm_c_text", length(c)));
        text.into_iter().chain(c_img.cloned().map(|c| ("norm_c_img", length(c)))).collect()
    }

    /// `c = [c_text; c_img]`, `[B, K]`, for student inputs at `s`; `None` when both are off.
    fn condition(
        &self,
        c_img: Option<&Tensor<2>>,
        s: &Timesteps,
        simulation: Option<&Simulation>,
    ) -> Option<Tensor<2>> {
        let AddOptions { normalize_condition, image_condition, .. } = self.method.options;
        let scaled = |c: Tensor<2>| if normalize_condition { unit_length(c) } else { c };
        let mut parts: Vec<Tensor<2>> = self.text_embedding().map(scaled).into_iter().collect();
        if let Some(c_img) = c_img.cloned().map(scaled) {
            let [b, k] = c_img.dims();
            parts.push(match image_condition {
                ImageCondition::WhereInformed => {
                    let informed = |(i, &s)| self.informed(i, s, simulation);
                    let kept: Vec<f64> = s.0.iter().enumerate().map(informed).collect();
                    c_img * per_sample(&kept, &self.inputs.pixels.0).reshape([b, 1]).expand([b, k])
                }
                ImageCondition::Off | ImageCondition::Always => c_img,
            });
        }
        (!parts.is_empty()).then(|| Tensor::cat(parts, 1))
    }

    /// 1 where sample `i`'s student input at `s` holds some of its `x_0`, else 0.
    fn informed(&self, i: usize, s: f64, simulation: Option<&Simulation>) -> f64 {
        let simulated = simulation.is_some_and(|simulation| simulation.rows[i]);
        f64::from(u8::from(!simulated && !self.method.options.end().is_at(s)))
    }
}

/// Rows of length 1. As PyTorch's `normalize`, a row of zeros stays.
fn unit_length(c: Tensor<2>) -> Tensor<2> {
    let [b, k] = c.dims();
    let length = c.clone().square().sum_dim(1).sqrt().clamp_min(1e-12).expand([b, k]);
    c / length
}
