//! A codec's training: batches and noise drawn from the seed, and the scale of its latents at the end.

use std::path::Path;

use add_data::Feed;
use add_plugin::{Pixels, Purpose, fork};
use add_recipe::{
    MethodRun, Product, Recipe, RunContext, data_error,
    preview::{self, PreviewRow},
    slot::CODEC,
};
use add_train::{
    TrainError,
    gradients::{GradientMap, scalars},
    networks::NetworkSet,
    noise::normal,
    replicas::BatchPart,
    report::StepReport,
    run::Objective,
};
use burn::tensor::{Device, Tensor};

use super::{Autoencoder, AutoencoderInputs, AutoencoderOptions, AutoencoderTrainer, Rates};

/// Values of pictures on which the scale of the latents is measured: a thousand of 64 pixels a side, 16 of 512.
const MEASURED: usize = 1024 * 3 * 64 * 64;
/// Most pictures of a preview, each a column.
const SHOWN: usize = 8;

/// The training of a recipe's codec.
pub(super) struct AutoencoderRun<'a> {
    recipe: &'a Recipe,
    method: &'a Autoencoder,
    trainer: AutoencoderTrainer,
    feed: Feed,
    /// Pictures that previews show, and what they are called; those of the run's first batch.
    shown: Option<(Pixels, Vec<String>)>,
    /// Mean and deviation of each latent channel, once they are measured.
    scale: Option<[Vec<f64>; 2]>,
    device: Device,
}

impl<'a> AutoencoderRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Autoencoder,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let options = AutoencoderOptions {
            perceptual_weight: method.perceptual_weight,
            kl_weight: method.kl_weight,
            adversarial_weight: method.adversarial.weight,
            heads: method.adversarial.reduction,
        };
        let trainer = AutoencoderTrainer { networks, options, replicas };
        Self { recipe, method, trainer, feed, shown: None, scale: None, device }
    }

    /// The pictures of this rank's parts of a batch.
    fn parts(&mut self, step: u64) -> Result<Vec<(BatchPart, Pixels)>, TrainError> {
        let pixels = self.feed.batch(step).map_err(data_error)?.pixels(&self.device).0;
        let part = |part: BatchPart| {
            let pixels = Pixels(pixels.clone().slice([part.loaded.clone()]));
            (part, pixels)
        };
        Ok(self.trainer.replicas.parts(self.recipe.batch).map(part).collect())
    }

    /// The pictures that previews show, with their captions.
    fn shown(&mut self) -> Result<(Pixels, Vec<String>), TrainError> {
        if let Some(shown) = &self.shown {
            return Ok(shown.clone());
        }
        let batch = self.feed.batch(0).map_err(data_error)?;
        let count = SHOWN.min(batch.captions.len());
        let pixels = batch.pixels(&self.device).0.narrow(0, 0, count);
        Ok(self.shown.insert((Pixels(pixels), batch.captions[..count].to_vec())).clone())
    }

    /// Mean and deviation of each channel of the averaged codec's latents over pictures from the beginning of the run's data.
    fn measure(&mut self) -> Result<[Vec<f64>; 2], TrainError> {
        self.trainer.networks.gather_averages(true);
        let codec = self.trainer.networks.averaged_codec(CODEC);
        self.trainer.networks.release_averages();
        let whole = self.recipe.batch;
        let size = self.recipe.data.size();
        let batches = MEASURED.div_ceil(whole * 3 * size * size).max(1);
        let mut moments = [Vec::new(), Vec::new()];
        for step in 0..batches as u64 {
            let parts = self.parts(step)?;
            // Every rank's parts count, and they are added in their order.
            let share = 1.0 / (batches * whole) as f64;
            let (_, sums) = self.trainer.replicas.gradient(
                self.device.clone(),
                parts,
                |(_, pixels)| (fork(&*codec), pixels),
                |(codec, pixels)| (StepReport::default(), moments_of(&codec.posterior(pixels).mean, share)),
            );
            // In the order of their names.
            for (total, values) in moments.iter_mut().zip(sums.into_values()) {
                let values = scalars([values]);
                total.resize(values.len(), 0.0);
                total.iter_mut().zip(values).for_each(|(total, value)| *total += value);
            }
        }
        let [mean, squares] = moments;
        let deviation = |(mean, square): (&f64, &f64)| (square - mean * mean).max(0.0).sqrt();
        let deviations = mean.iter().zip(&squares).map(deviation).map(|s| if s > 0.0 { s } else { 1.0 });
        let deviations = deviations.collect();
        Ok([mean, deviations])
    }
}

/// For each channel of latents `[B, C, h, w]` the sum over pictures, times `share`, of the means over places: of the values,
/// and of their squares.
fn moments_of(latents: &Tensor<4>, share: f64) -> GradientMap {
    let [_, channels, h, w] = latents.dims();
    let sum = |x: Tensor<4>| {
        let each = x.sum_dim(0).sum_dim(2).sum_dim(3).reshape([channels]);
        each.mul_scalar(share / (h * w) as f64)
    };
    [("mean", sum(latents.clone())), ("squares", sum(latents.clone().square()))]
        .map(|(name, values)| (name.to_owned(), values))
        .into()
}

impl Objective for AutoencoderRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let parts = self.parts(step)?;
        let Recipe { seed, batch: whole, run, .. } = *self.recipe;
        let latents = self.recipe.codec.info();
        let input = |(part, pixels): (BatchPart, Pixels)| {
            let [b, _, h, w] = pixels.0.dims();
            let shape = [b, latents.channels, h / latents.reduction, w / latents.reduction];
            let first = step * whole as u64 + part.samples.start as u64;
            AutoencoderInputs {
                eps: normal(seed, step, first, Purpose::PosteriorNoise, shape, &self.device),
                pixels,
            }
        };
        let parts = parts.into_iter().map(input).collect();
        let method = self.method;
        let adversarial = method.adversarial.weight > 0.0 && step >= method.adversarial.from;
        let rates = Rates {
            codec: method.generator.lr_at(step, run.steps),
            heads: adversarial.then(|| method.discriminator.lr_at(step, run.steps)),
        };
        let mut report = self.trainer.step(parts, rates);
        report.number("lr_g", rates.codec);
        if let Some(lr) = rates.heads {
            report.number("lr_d", lr);
        }
        Ok(report)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.trainer.networks
    }

    /// Pictures of the run's first batch above their reconstructions.
    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        let (pixels, captions) = self.shown()?;
        let codec = self.trainer.networks.averaged_codec(CODEC);
        let reconstructed = codec.reconstruct(codec.posterior(pixels.clone()).mean);
        let rows = [("pictures", pixels), ("reconstructions", Pixels(reconstructed.0.clamp(-1.0, 1.0)))];
        let rows = rows.map(|(label, pixels)| PreviewRow { label: label.to_owned(), pixels });
        preview::write(path, &captions, rows.into())
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for AutoencoderRun<'_> {
    fn finish(&mut self) -> Result<(), TrainError> {
        self.trainer.networks.gather_averages(true);
        self.scale = Some(self.measure()?);
        self.trainer.networks.release_averages();
        Ok(())
    }

    fn product(&self) -> Product {
        let mut codec = self.trainer.networks.averaged_codec(CODEC);
        if let Some([mean, deviation]) = &self.scale {
            codec.set_scale(mean, deviation);
        }
        Product::codec(codec)
    }
}
