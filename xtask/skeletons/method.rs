//! The mean squared error of `x_0` at uniformly drawn timesteps. Replace it by your method, and name its paper.

use std::path::Path;

use add_data::Feed;
use add_eval::report::Presentation;
use add_plugin::{Draw, Latents, PluginError, Purpose, Timesteps, fork};
use add_recipe::{
    Encodings, Method, MethodEntry, MethodRun, Passes, Problems, Product, Recipe, RunContext, SampledModel, Slot,
    data_error,
    passes::{Count, Moment, Pass, Tape},
    preview::{self, PreviewRow},
    slot::{CODEC, DENOISER, TEXT, frozen_text_and_codec, model_of},
};
use add_train::{
    TrainError,
    ema::Home,
    gradients::{GradientMap, scalar},
    networks::{Averaging, NetworkSet, Training},
    noise::normal,
    optimizer::AdamWConfig,
    report::StepReport,
    run::Objective,
    replicas::Replicas,

};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// The name of the optimiser, and of its file in a checkpoint.
const OPTIMIZER: &str = "optimizer";

/// What is learnt, from what, and when to choose it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// The denoiser's optimiser.
    pub(crate) optimizer: AdamWConfig,
    /// Half-life of the averaged weights, in images.
    pub(crate) ema_half_life: f64,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { optimizer: AdamWConfig::default(), ema_half_life: 10_000.0 }
    }
}

add_plugin::inventory::submit!(MethodEntry::of::<Skeleton>("Skeleton", "the paper and its equation"));

impl Method for Skeleton {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let average = Averaging { file: "ema", half_life: self.ema_half_life, home: Home::Device };
        let training = Training {
            optimizer: OPTIMIZER,
            config: self.optimizer,
            file: "denoiser",
            prefix: "",
            average: Some(average),
        };
        let denoiser = Slot::trained(DENOISER, model_of(recipe), training, recipe.dtype.model);
        std::iter::once(denoiser).chain(frozen_text_and_codec(recipe)).collect()
    }

    fn check(&self, _recipe: &Recipe, problems: &mut Problems) {
        problems.optimizer("objective.optimizer", &self.optimizer);
        problems.above("objective.ema_half_life", self.ema_half_life);
    }

    fn start<'a>(
        &'a self,
        recipe: &'a Recipe,
        networks: NetworkSet,
        context: RunContext,
    ) -> Result<Box<dyn MethodRun + 'a>, PluginError> {
        let RunContext { feed, replicas, device } = context;
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        Ok(Box::new(Run { recipe, method: self, networks, feed, replicas, latents, captions, device }))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        let moment = Moment {
            tapes: vec![Tape::of(DENOISER.0, DENOISER)],
            wide: vec![(DENOISER, 1.0)],
            ..Moment::default()
        };
        let work = vec![
            Pass::taped(DENOISER.0, DENOISER, Count::ThereAndBack),
            Pass::encoder("encoder", CODEC),
            Pass::plain("text encoder", TEXT, 1.0),
        ];
        Passes { work, moments: vec![moment] }
    }

    fn presentation(&self) -> Presentation {
        Presentation { title: "Skeleton", ..Presentation::default() }
    }
}

/// A run of the method.
struct Run<'a> {
    recipe: &'a Recipe,
    method: &'a Skeleton,
    networks: NetworkSet,
    feed: Feed,
    replicas: Replicas,
    latents: Encodings,
    captions: Encodings,
    device: Device,
}

impl Run<'_> {
    /// The averaged model.
    fn averaged(&self) -> SampledModel {
        SampledModel {
            denoiser: self.networks.averaged_denoiser(DENOISER),
            text: self.networks.text(TEXT).frozen(),
            diffusion: self.recipe.model.diffusion(self.recipe.codec.info()),
            student_timesteps: Vec::new(),
        }
    }
}

impl Objective for Run<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let batch = self.feed.batch(step).map_err(data_error)?;
        let process = self.recipe.model.diffusion(self.recipe.codec.info());
        let x_0 = self.latents.latents(self.networks.codec(CODEC), &batch.pixels(&self.device)).0;
        let each = whole / self.replicas.count();
        let parts = self.replicas.ranges(whole).into_iter().zip((0..).step_by(each)).map(|(range, here)| {
            let here = here..here + each;
            let draw = |i: usize| Draw { seed, step, index: step * whole as u64 + i as u64 };
            let steps = process.schedule.steps();
            let t = Timesteps::whole(range.clone().map(|i| draw(i).below(Purpose::StudentTimestep, steps)));
            let x_0 = x_0.clone().slice([here.clone()]);
            let first = draw(range.start).index;
            let eps = normal(seed, step, first, Purpose::StudentNoise, x_0.dims(), &self.device);
            let text = self.captions.captions(self.networks.text(TEXT), &batch.captions[here]);
            (Latents(x_0), eps, t, text)
        });
        let parts: Vec<_> = parts.collect();
        let mut sum = self.replicas.sum(self.device.clone());
        let share = 1.0 / self.replicas.count() as f64;
        self.replicas.each(
            parts,
            |part| (part, fork(self.networks.denoiser(DENOISER))),
            |((Latents(x_0), eps, t, text), denoiser)| {
                let x_t = process.diffuse(x_0.clone(), eps, &t);
                let output = process.predict(&*denoiser, x_t.clone(), &t, &text);
                let loss = (process.x0(output, x_t, &t) - x_0).square().mean() * share;
                let mut report = StepReport::default();
                report.number("loss", scalar(loss.clone().inner()));
                let gradients: GradientMap = denoiser.take_gradients(&mut loss.backward());
                (report, gradients)
            },
            |(report, gradients)| sum.add(report, gradients),
        );
        let (reports, gradients) = sum.finish();
        let mut report = StepReport::default();
        report.extend(reports);
        let lr = self.method.optimizer.lr_at(step, self.recipe.run.steps);
        self.networks.update(OPTIMIZER, gradients, lr, whole, "grad_norm", &mut report);
        report.number("lr", lr);
        Ok(report)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.networks
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        let prompts = &self.recipe.preview.prompts;
        if prompts.is_empty() {
            return Ok(());
        }
        let sampling = &self.recipe.sampling;
        let request = preview::request(self.recipe, &*sampling.sampler, sampling.steps, sampling.guidance);
        let pixels = self.averaged().generate(self.recipe, self.networks.codec(CODEC), &request);
        preview::write(path, prompts, vec![PreviewRow { label: format!("{} steps", sampling.steps), pixels }])
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for Run<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.averaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_have_defaults_and_others_are_refused() {
        let read: Skeleton = ron::from_str("(ema_half_life: 5)").expect("a field");
        assert_eq!(read, Skeleton { ema_half_life: 5.0, ..Skeleton::default() });
        assert!(ron::from_str::<Skeleton>("(half_life: 5)").is_err());
    }

    #[test]
    fn the_report_has_a_heading() {
        assert_eq!(Skeleton::default().presentation().title, "Skeleton");
    }
}
