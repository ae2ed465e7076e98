//! One step of the training of a codec: an update of the codec and one of the heads.
//!
//! Both gradients are taken at the same values, and then both networks move, so that a part of the batch is computed once. The
//! chain rule is cut at the reconstruction `x_hat`: the terms give their gradients there, and one backward pass carries
//! their sum through decoder and encoder.

use add_loss::{
    Reduction, absolute_distance, divergence_from_normal, hinge_discriminator, hinge_generator,
    perceptual_distance, resize,
};
use add_plugin::{Discriminator, FeatureExtractor, Pixels, TrainableAutoencoder, fork};
use add_recipe::{
    CODEC_PREFIX,
    slot::{CODEC, FEATURES, HEADS},
};
use add_train::{
    gradients::{GradientMap, scalars},
    networks::NetworkSet,
    optimizer::join,
    replicas::Replicas,
    report::StepReport,
};
use burn::tensor::Tensor;

use super::{HEADS_PREFIX, OPTIMIZER_D, OPTIMIZER_G};
use crate::{contrast::variance, critic::report_logits};

/// A part of the batch with every random number of the step; tensors on the plain device.
pub struct AutoencoderInputs {
    /// Real pictures.
    pub pixels: Pixels,
    /// Noise of the latents, `[B, C, h, w]`.
    pub eps: Tensor<4>,
}

impl AutoencoderInputs {
    fn batch(&self) -> usize {
        self.pixels.0.dims()[0]
    }
}

/// The numbers of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AutoencoderOptions {
    /// Factor of the perceptual distance.
    pub perceptual_weight: f64,
    /// Factor of the divergence from the normal distribution.
    pub kl_weight: f64,
    /// Factor of the adversarial term.
    pub adversarial_weight: f64,
    /// Reduction of the hinge losses over heads.
    pub heads: Reduction,
}

/// How far a step moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate of the codec.
    pub codec: f64,
    /// Learning rate of the heads; `None` in a step without the adversarial term.
    pub heads: Option<f64>,
}

/// Everything that one step changes, and what it goes by.
pub struct AutoencoderTrainer {
    /// Codec and heads on the autodiff device with their optimisers and the codec's average; the features on the plain one.
    pub networks: NetworkSet,
    /// The numbers.
    pub options: AutoencoderOptions,
    /// The parts in which a batch is computed.
    pub replicas: Replicas,
}

impl AutoencoderTrainer {
    /// One update of each network on this rank's parts of a batch; left out when its gradient is not finite.
    pub fn step(&mut self, parts: Vec<AutoencoderInputs>, rates: Rates) -> StepReport {
        let batch = self.replicas.whole_batch(parts.iter().map(AutoencoderInputs::batch).sum());
        let device = parts[0].pixels.0.device();
        if rates.heads.is_some() {
            self.networks.heads_mut(HEADS).power_iterate();
        }
        let part = |inputs: AutoencoderInputs| Part {
            share: inputs.batch() as f64 / batch as f64,
            inputs,
            codec: fork(self.networks.trained_codec(CODEC)),
            features: fork(self.networks.features(FEATURES)),
            heads: rates.heads.map(|_| fork(self.networks.heads(HEADS))),
            options: self.options,
        };
        let (mut report, gradients) = self.replicas.gradient(device, parts, part, Part::gradient);
        let of_codec = join(CODEC_PREFIX, "");
        let (codec, heads) = gradients.into_iter().partition(|(name, _)| name.starts_with(&of_codec));
        self.networks.update(OPTIMIZER_G, codec, rates.codec, batch, "grad_norm_g", &mut report);
        if let Some(lr) = rates.heads {
            self.networks.update(OPTIMIZER_D, heads, lr, batch, "grad_norm_d", &mut report);
        }
        report
    }
}

/// A part of the batch with copies of the networks.
struct Part {
    inputs: AutoencoderInputs,
    /// The part's share of the batch, the factor of its mean losses.
    share: f64,
    codec: Box<dyn TrainableAutoencoder>,
    features: Box<dyn FeatureExtractor>,
    /// `None` in a step without the adversarial term.
    heads: Option<Box<dyn Discriminator>>,
    options: AutoencoderOptions,
}

impl Part {
    /// The part's share of both losses' gradients.
    fn gradient(self) -> (StepReport, GradientMap) {
        let AutoencoderInputs { pixels, eps } = &self.inputs;
        let x = pixels.0.clone();
        let posterior = self.codec.posterior(pixels.clone());
        let x_hat = self.codec.reconstruct(posterior.sample(eps.clone())).0;
        let kl = divergence_from_normal(posterior.mean.clone(), posterior.logvar.clone()) * self.share;

        let mut report = StepReport::default();
        let values = x_hat.clone().inner();
        let leaf = || values.clone().autodiff().require_grad();
        let absolute = leaf();
        let distance = absolute_distance(absolute.clone(), x.clone()) * self.share;
        let by_pixel = gradient_at(&absolute, &distance);
        let seen = leaf();
        let real = self.look(x.clone());
        let fake = self.look(seen.clone());
        let perceptual = perceptual_distance(&fake, &real) * self.share;
        let mut terms = perceptual.clone() * self.options.perceptual_weight;
        let (adversarial, mut gradients) = match &self.heads {
            None => (None, GradientMap::new()),
            Some(heads) => {
                let gradients = self.heads_gradient(&**heads, &real, &fake, &mut report);
                let logits = heads.frozen().logits(&fake, None);
                (Some(hinge_generator(&logits, self.options.heads) * self.share), gradients)
            }
        };
        if let Some(adversarial) = &adversarial {
            terms = terms + adversarial.clone() * self.options.adversarial_weight;
        }
        let by_features = gradient_at(&seen, &terms);

        let mean = |x: Tensor<4>| x.mean() * self.share;
        let read = scalars([
            distance.inner(),
            perceptual.inner(),
            kl.clone().inner(),
            mean((values - x.clone()).square()),
            variance(x) * self.share,
            variance(posterior.mean.inner()) * self.share,
            mean(posterior.logvar.inner().exp()),
            by_pixel.clone().square().sum(),
            by_features.clone().square().sum(),
        ]);
        for (name, value) in ["loss_absolute", "loss_perceptual", "loss_kl"].into_iter().zip(&read) {
            report.number(name, *value);
        }
        // Each of these is a root of a mean over the batch, of which the part has a share, or a part of a vector's length.
        let roots = [
            "rmse",
            "contrast_real",
            "latent_std",
            "latent_noise",
            "grad_norm_absolute",
            "grad_norm_features",
        ];
        for (name, value) in roots.into_iter().zip(&read[3..]) {
            report.norm(name, value.sqrt());
        }
        if let Some(adversarial) = adversarial {
            report.number("loss_adv", scalars([adversarial.inner()])[0]);
        }

        let at_x_hat = (x_hat * (by_pixel + by_features).autodiff()).sum();
        let mut tape = (at_x_hat + kl * self.options.kl_weight).backward();
        gradients.extend(named(CODEC_PREFIX, self.codec.take_gradients(&mut tape)));
        (report, gradients)
    }

    /// The features of pictures.
    fn look(&self, pixels: Tensor<4>) -> Vec<Tensor<3>> {
        let side = self.features.input_size();
        self.features.features(Pixels(resize(pixels, [side; 2])))
    }

    /// The gradient of the heads' hinge losses; they see the reconstructions without gradient.
    fn heads_gradient(
        &self,
        heads: &dyn Discriminator,
        real: &[Tensor<3>],
        fake: &[Tensor<3>],
        report: &mut StepReport,
    ) -> GradientMap {
        let fake: Vec<Tensor<3>> = fake.iter().map(|features| features.clone().inner()).collect();
        let (logits_fake, logits_real) = (heads.logits(&fake, None), heads.logits(real, None));
        let (on_real, on_fake) = hinge_discriminator(&logits_real, &logits_fake, self.options.heads);
        let read = scalars([on_real.clone().inner(), on_fake.clone().inner()]);
        let [of_real, of_fake] = [0, 1].map(|i| read[i] * self.share);
        report.number("loss_d", of_real + of_fake);
        report.number("loss_d_real", of_real);
        report.number("loss_d_fake", of_fake);
        report_logits(report, self.share, &logits_real, &logits_fake);
        let mut tape = ((on_real + on_fake) * self.share).backward();
        named(HEADS_PREFIX, heads.take_gradients(&mut tape)).collect()
    }
}

/// Gradients under the names that they have among those of both networks.
fn named(prefix: &'static str, gradients: GradientMap) -> impl Iterator<Item = (String, Tensor<1>)> {
    gradients.into_iter().map(move |(path, gradient)| (join(prefix, &path), gradient))
}

/// `d loss / d leaf` on the plain device.
fn gradient_at(leaf: &Tensor<4>, loss: &Tensor<1>) -> Tensor<4> {
    leaf.grad(&loss.clone().backward()).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}
