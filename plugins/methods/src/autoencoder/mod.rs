//! Training of a codec (Rombach et al. 2022; Esser et al. 2021): pictures go through a few latent values and come back, near to
//! themselves by pixel and by the features of a frozen network, and real to heads that look at patches.
//! `crates/add-loss/AUTOENCODER.md` maps the equations.

mod charts;
mod check;
mod fields;
mod run;
mod step;
#[cfg(test)]
mod tests;

use add_eval::report::Presentation;
use add_plugin::PluginError;
use add_recipe::{
    CODEC_PREFIX, Dtype, Hooks, Method, MethodEntry, MethodRun, Passes, Problems, Recipe, RunContext, Slot,
    Source,
    passes::{Count, Moment, Pass, Tape},
    slot::{CODEC, FEATURES, HEADS},
};
use add_train::{
    health::{Alarm, HeadsHealth, Remedies},
    networks::{NetworkSet, Training},
};
pub use fields::{Autoencoder, PatchAdversarial};
pub use step::{AutoencoderInputs, AutoencoderOptions, AutoencoderTrainer, Rates};

/// The optimiser of the codec.
pub const OPTIMIZER_G: &str = "optimizer_g";
/// The optimiser of the heads.
pub const OPTIMIZER_D: &str = "optimizer_d";
/// What the names of the heads' gradients begin with, and of their parameters in their optimiser.
const HEADS_PREFIX: &str = "heads";

add_plugin::inventory::submit!(MethodEntry::of::<Autoencoder>(
    "Autoencoder",
    "Esser et al. 2021 (VQGAN); Rombach et al. 2022 (LDM)"
));

impl Autoencoder {
    /// How the codec is trained.
    fn codec_training(&self) -> Training {
        let file = "codec";
        let alone = Training::averaged(OPTIMIZER_G, self.generator, file, self.ema_half_life, self.ema_home);
        Training { prefix: CODEC_PREFIX, ..alone }
    }

    /// How the heads are trained.
    fn heads_training(&self) -> Training {
        Training {
            optimizer: OPTIMIZER_D,
            config: self.discriminator,
            file: "heads",
            prefix: HEADS_PREFIX,
            average: None,
        }
    }
}

/// What to do about its heads.
const REMEDIES: Remedies = Remedies { won: "lower discriminator.lr", dead: "raise discriminator.lr" };

impl Method for Autoencoder {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let heads = Source::Heads {
            heads: &self.adversarial.heads,
            on: Hooks::Network(FEATURES),
            condition: Vec::new(),
        };
        vec![
            Slot::trained(CODEC, Source::Codec(&recipe.codec), self.codec_training(), recipe.dtype.codec),
            Slot::frozen(FEATURES, Source::Features(&self.features), recipe.dtype.features),
            Slot::trained(HEADS, heads, self.heads_training(), Dtype::F32),
        ]
    }

    fn check(&self, recipe: &Recipe, problems: &mut Problems) {
        check::check(problems, recipe, self);
    }

    fn start<'a>(
        &'a self,
        recipe: &'a Recipe,
        networks: NetworkSet,
        context: RunContext,
    ) -> Result<Box<dyn MethodRun + 'a>, PluginError> {
        Ok(Box::new(run::AutoencoderRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        let encoder = Pass { taped: true, count: Count::ThereAndBack, ..Pass::encoder("encoder", CODEC) };
        // The gradient of a heads' update, and the one that goes through them to the picture.
        let heads = Count::Times(2.0 * 3.0 + 2.0);
        let feature_tape = Tape::of(FEATURES.0, FEATURES);
        Passes {
            work: vec![
                encoder,
                Pass::taped("decoder", CODEC, Count::ThereAndBack),
                Pass::taped("features of reconstructions", FEATURES, Count::ThereAndBack),
                Pass::plain("features of pictures", FEATURES, 1.0),
                Pass::taped(HEADS.0, HEADS, heads),
            ],
            moments: vec![
                Moment {
                    tapes: vec![Tape::of(CODEC.0, CODEC), feature_tape.clone(), Tape::of(HEADS.0, HEADS)],
                    wide: vec![(FEATURES, 1.0)],
                    hooked: vec![FEATURES],
                    gradients: vec![HEADS],
                },
                Moment { tapes: vec![Tape::of(CODEC.0, CODEC)], gradients: vec![HEADS], ..Moment::default() },
            ],
        }
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        vec![Box::new(HeadsHealth::new(REMEDIES)), Box::new(charts::Grey), Box::new(charts::Drowned)]
    }
}
