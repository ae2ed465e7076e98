//! Pretraining: the denoiser, and the text encoder with it, learn to undo noise.

mod run;
mod step;

use add_eval::report::Presentation;
use add_plugin::PluginError;
use add_recipe::{
    Method, MethodEntry, MethodRun, Passes, Problems, Recipe, RunContext, Slot, Source,
    passes::{Count, Moment, Pass, Tape},
    slot::{CODEC, DENOISER, TEXT, model_of, text_of},
};
use add_train::{
    ema::Home,
    networks::{Averaging, Change, NetworkSet, Training},
    optimizer::AdamWConfig,
};
use serde::{Deserialize, Serialize};
pub use step::{Captions, DiffusionInputs, DiffusionTrainer};

/// The optimiser of denoiser and text encoder.
const OPTIMIZER: &str = "optimizer";

/// Pretraining of a diffusion model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diffusion {
    /// Part of the captions that is replaced by the empty one, for classifier-free guidance.
    pub caption_dropout: f64,
    /// The optimiser of denoiser and text encoder.
    pub optimizer: AdamWConfig,
    /// Half-life of the averaged weights, in images.
    pub ema_half_life: f64,
    /// Where the average lies.
    #[serde(skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

impl Default for Diffusion {
    fn default() -> Self {
        let optimizer = AdamWConfig { lr: 6e-4, weight_decay: 1e-2, ..AdamWConfig::default() };
        Self { caption_dropout: 0.1, optimizer, ema_half_life: 15_000.0, ema_home: Home::Device }
    }
}

add_plugin::inventory::submit!(MethodEntry::of::<Diffusion>("Diffusion", "Ho et al. 2020"));

impl Diffusion {
    /// How the network in the checkpoint's `file` is trained; its parameters have that prefix in optimiser and average.
    fn training(&self, file: &'static str) -> Training {
        let average = Averaging { file: "ema", half_life: self.ema_half_life, home: self.ema_home };
        Training { optimizer: OPTIMIZER, config: self.optimizer, file, prefix: file, average: Some(average) }
    }
}

impl Method for Diffusion {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let own_text = recipe.text_is_the_models();
        let text = Change::Trained(self.training("text"));
        vec![
            Slot::trained(DENOISER, model_of(recipe), self.training("denoiser"), recipe.dtype.model),
            Slot {
                change: if own_text { text } else { Change::Frozen },
                ..Slot::frozen(TEXT, text_of(recipe), recipe.dtype.text)
            },
            Slot::frozen(CODEC, Source::Codec(&recipe.codec), recipe.dtype.codec),
        ]
    }

    fn check(&self, _recipe: &Recipe, p: &mut Problems) {
        p.range("objective.caption_dropout", self.caption_dropout, 0.0, 1.0);
        p.above("objective.ema_half_life", self.ema_half_life);
        p.optimizer("objective.optimizer", &self.optimizer);
    }

    fn start<'a>(
        &'a self,
        recipe: &'a Recipe,
        networks: NetworkSet,
        context: RunContext,
    ) -> Result<Box<dyn MethodRun + 'a>, PluginError> {
        Ok(Box::new(run::DiffusionRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, recipe: &Recipe) -> Passes {
        let text = if recipe.text_is_the_models() { 3.0 } else { 1.0 };
        Passes {
            work: vec![
                Pass::taped(DENOISER.0, DENOISER, Count::ThereAndBack),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, text),
            ],
            moments: vec![Moment {
                tapes: vec![Tape::of(DENOISER.0, DENOISER)],
                wide: vec![(DENOISER, 1.0)],
                ..Moment::default()
            }],
        }
    }

    fn presentation(&self) -> Presentation {
        Presentation { title: "Diffusion training", ..Presentation::default() }
    }
}
