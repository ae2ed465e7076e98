//! One step: on the line between the noise and the picture of a pair, the student learns the straight flow; in the last stage, to
//! be at the picture in one step from the noise.

use add_loss::{ConsistencyDistance, consistency, flow, perceptual, resize, straight_flow};
use add_plugin::{Autoencoder, Denoiser, FeatureExtractor, Latents, Pixels, Timesteps, fork};
use add_recipe::slot::{CODEC, FEATURES, STUDENT};
use add_train::{
    gradients::{GradientMap, scalar},
    networks::NetworkSet,
    process::Process,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Tensor;

use super::{OPTIMIZER, pairs::Pairs};
use crate::{
    contrast::report_contrasts,
    cut::{carry, gradient_at, leaf, value_and_norm},
    student::{End, StudentInput},
};

/// A part of the batch; tensors on the plain device.
pub(super) struct Inputs {
    /// What the teacher has made.
    pub(super) pairs: Pairs,
    /// Where the student is asked, and what it learns there.
    pub(super) asked: Asked,
    /// Whether the pairs are used for the first time.
    pub(super) is_new: bool,
}

/// Where the student is asked, and what it learns there.
pub(super) enum Asked {
    /// The straight flow at these timesteps.
    Flow(Timesteps),
    /// The picture, at the last timestep.
    Picture,
}

impl Inputs {
    fn batch(&self) -> usize {
        self.pairs.eps.dims()[0]
    }
}

/// Everything that one step changes, and what it goes by.
pub(super) struct Trainer {
    /// The student on the autodiff device, its teacher and the encoders on the plain one.
    pub(super) networks: NetworkSet,
    /// The forward process of both.
    pub(super) diffusion: Process,
    /// The end of the schedule.
    pub(super) end: End,
    /// The distance of the last stage.
    pub(super) distance: ConsistencyDistance,
    /// Factor of the distance of features; 0 without them.
    pub(super) perceptual: f64,
    /// The parts in which a batch is computed.
    pub(super) replicas: Replicas,
}

impl Trainer {
    /// One update on this rank's parts of a batch with learning rate `lr`; left out when its gradient is not finite.
    pub(super) fn step(&mut self, parts: Vec<Inputs>, lr: f64) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(Inputs::batch).sum());
        let device = parts[0].pairs.eps.device();
        let by_features = self.perceptual > 0.0;
        let part = |inputs: Inputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            inputs,
            student: fork(self.networks.denoiser(STUDENT)),
            looks: by_features
                .then(|| (fork(self.networks.codec(CODEC)), fork(self.networks.features(FEATURES)))),
            diffusion: &self.diffusion,
            end: self.end,
            distance: self.distance,
            perceptual: self.perceptual,
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
    student: Box<dyn Denoiser>,
    /// What turns latents into features of pictures, where these are compared.
    looks: Option<(Box<dyn Autoencoder>, Box<dyn FeatureExtractor>)>,
    diffusion: &'a Process,
    end: End,
    distance: ConsistencyDistance,
    perceptual: f64,
}

impl Part<'_> {
    /// The part's share of the loss's gradient.
    fn gradient(self) -> (StepReport, GradientMap) {
        let mut report = StepReport::default();
        let mut tape = match &self.inputs.asked {
            Asked::Flow(t) => {
                let loss = self.straighten(t) * self.share;
                report.number("loss", scalar(loss.clone().inner()));
                loss.backward()
            }
            Asked::Picture => self.one_step(&mut report),
        };
        if self.inputs.is_new {
            report.number("curvature", self.share * scalar(self.inputs.pairs.curvature.clone()));
        }
        (report, self.student.take_gradients(&mut tape))
    }

    /// The loss of reflow. Liu et al. 2022, Eq. (1).
    fn straighten(&self, t: &Timesteps) -> Tensor<1> {
        let Pairs { eps, x_0, captions, .. } = &self.inputs.pairs;
        let x_t = self.diffusion.diffuse(x_0.clone(), eps.clone(), t);
        let output = self.diffusion.predict(&*self.student, x_t.clone(), t, captions);
        let at = self.diffusion.schedule.coefficients(t, &x_t);
        let u = flow(self.diffusion.prediction, output, x_t, &at);
        straight_flow(u, x_0.clone(), eps.clone())
    }

    /// The backward pass of the distance between the student's one step and the pair's picture. Liu et al. 2023, Algorithm 2.
    fn one_step(&self, report: &mut StepReport) -> burn::tensor::Gradients {
        let Pairs { eps, x_0, captions, .. } = &self.inputs.pairs;
        let s = Timesteps::same(self.end.last_timestep as f64, self.inputs.batch());
        let input = StudentInput { s, eps: eps.clone() };
        let x_hat = self.end.estimate(self.diffusion, x_0, &input, captions, &*self.student);
        let leaf = leaf(&x_hat);
        let mut loss = consistency(leaf.clone(), x_0.clone(), self.distance) * self.share;
        let latents = scalar(loss.clone().inner());
        if let Some((codec, network)) = &self.looks {
            let size = [network.input_size(); 2];
            let features = |x: Tensor<4>| network.features(Pixels(resize(codec.decode(Latents(x)).0, size)));
            let other = perceptual(features(leaf.clone()), features(x_0.clone())) * self.share;
            report.number("loss_features", scalar(other.clone().inner()));
            loss = loss + other * self.perceptual;
        }
        let gradient = gradient_at(&leaf, loss.clone());
        let [value, norm] = value_and_norm(loss, &gradient);
        report.number("loss", value);
        report.number("loss_latents", latents);
        report.norm("grad_norm_picture", norm);
        report_contrasts(report, self.share, x_0.clone(), x_hat.clone().inner());
        carry(x_hat, gradient)
    }
}
