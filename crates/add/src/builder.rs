//! A recipe in code, with the plugins' own types in place of RON.

use std::path::PathBuf;

use add_core::{
    read::{LoadedRecipe, parse, show},
    recipe::{
        Adapter, AnyMethod, DeviceChoice, Dtypes, Evaluation, Kernels, LongPrompt, Method, Model,
        OptimizerStates, Preview, Recipe, Sampling, Weights, method,
    },
};
use add_plugin::{Backbone, Codec, DataSource, Plugin, Sampler, Schedule, TextEncoder};

use crate::Error;

/// Describes a run in code. A plugin is given as a value of its type, such as `plugins::weightings::Exponential::default()`.
///
/// ```
/// use add::{RecipeBuilder, plugins, recipe::Weights};
///
/// let recipe = RecipeBuilder::new("tiny")
///     .data(plugins::data::Emoji::new(32)?)
///     .codec(plugins::codecs::Identity {})
///     .text(plugins::text_encoders::Mini::default())
///     .model(plugins::backbones::Mini::default(), plugins::schedules::Cosine::default(), Weights::Random())
///     .objective(plugins::methods::Diffusion::default())
///     .sampling(plugins::samplers::Ddim::default(), 10)
///     .set(|recipe| recipe.batch = 4)
///     .build()?;
/// assert_eq!(recipe.recipe.batch, 4);
/// # Ok::<(), add::Error>(())
/// ```
#[derive(Debug)]
pub struct RecipeBuilder {
    name: String,
    data: Option<Plugin<dyn DataSource>>,
    codec: Option<Plugin<dyn Codec>>,
    text: Option<Plugin<dyn TextEncoder>>,
    model: Option<Model>,
    sampling: Option<Sampling>,
    objective: Option<AnyMethod>,
    changes: Changes,
}

/// What is set on the finished recipe, in order.
#[derive(Default)]
struct Changes(Vec<Change>);

type Change = Box<dyn FnOnce(&mut Recipe)>;

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} changes", self.0.len())
    }
}

impl RecipeBuilder {
    /// A recipe called `name`: letters, digits, `-`, `_` and `.`, since it names a folder.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            data: None,
            codec: None,
            text: None,
            model: None,
            sampling: None,
            objective: None,
            changes: Changes::default(),
        }
    }

    /// The captioned pictures. Required.
    #[must_use]
    pub fn data(self, data: impl Into<Plugin<dyn DataSource>>) -> Self {
        Self { data: Some(data.into()), ..self }
    }

    /// What turns pixels into that on which the diffusion runs. Required.
    #[must_use]
    pub fn codec(self, codec: impl Into<Plugin<dyn Codec>>) -> Self {
        Self { codec: Some(codec.into()), ..self }
    }

    /// What encodes captions. Required.
    #[must_use]
    pub fn text(self, text: impl Into<Plugin<dyn TextEncoder>>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    /// The network that is trained or sampled, its noise schedule, and where its values come from. Required.
    #[must_use]
    pub fn model(
        self,
        backbone: impl Into<Plugin<dyn Backbone>>,
        schedule: impl Into<Plugin<dyn Schedule>>,
        weights: Weights,
    ) -> Self {
        let (backbone, schedule) = (backbone.into(), schedule.into());
        Self {
            model: Some(Model {
                backbone,
                schedule,
                weights,
                text_weights: None,
                loras: Vec::new(),
                adapter: Adapter::Off(),
            }),
            ..self
        }
    }

    /// How pictures are made unless a request says otherwise: the sampler and its number of denoiser calls. Required.
    #[must_use]
    pub fn sampling(self, sampler: impl Into<Plugin<dyn Sampler>>, steps: usize) -> Self {
        let (sampler, long_prompt) = (sampler.into(), LongPrompt::default());
        let sampling =
            Sampling { sampler, steps, guidance: 1.0, weights: None, loras: Vec::new(), long_prompt };
        Self { sampling: Some(sampling), ..self }
    }

    /// The training method, such as `plugins::methods::Diffusion::default()`; `Off {}` for sampling alone. Required.
    #[must_use]
    pub fn objective(self, objective: impl Method + 'static) -> Self {
        Self { objective: Some(method(objective)), ..self }
    }

    /// Changes any field of the recipe, whose others have their defaults: `set(|recipe| recipe.seed = 7)`. May be repeated.
    #[must_use]
    pub fn set(mut self, change: impl FnOnce(&mut Recipe) + 'static) -> Self {
        self.changes.0.push(Box::new(change));
        self
    }

    /// The checked recipe. Local files that it names are relative to the current folder.
    ///
    /// # Errors
    /// When a required part is missing, a plugin is not registered (`inventory::submit!`), or values do not fit together.
    pub fn build(self) -> Result<LoadedRecipe, Error> {
        let mut recipe = Recipe {
            name: self.name,
            seed: 0,
            device: DeviceChoice::default(),
            kernels: Kernels::default(),
            dtype: Dtypes::default(),
            data: required(self.data, "data")?,
            codec: required(self.codec, "codec")?,
            text: required(self.text, "text")?,
            model: required(self.model, "model")?,
            batch: 16,
            replicas: 1,
            gradient_accumulation: 1,
            optimizer_states: OptimizerStates::default(),
            workers: 1,
            cache: add_data::Keep::default(),
            objective: required(self.objective, "objective")?,
            run: add_train::run::RunLength::default(),
            preview: Preview::default(),
            sampling: required(self.sampling, "sampling")?,
            evaluation: Evaluation::default(),
        };
        for change in self.changes.0 {
            change(&mut recipe);
        }
        // The way through the text checks everything that reading a file would, and leaves an error a text to point into.
        let recipe = parse(&show(&recipe), &format!("the recipe {}", recipe.name))?;
        Ok(LoadedRecipe { recipe, path: PathBuf::new() })
    }
}

fn required<T>(part: Option<T>, name: &'static str) -> Result<T, Error> {
    let problem = || "expected this part of the recipe, which has no default".to_owned();
    part.ok_or_else(|| Error::Argument { name, problem: problem() })
}

#[cfg(test)]
mod tests {
    use add_plugin::{NoiseSchedule, Weighting};
    use plugins::{backbones, codecs, data, methods, samplers, schedules, text_encoders};
    use serde::Serialize;

    use super::*;

    fn tiny() -> RecipeBuilder {
        RecipeBuilder::new("tiny")
            .data(data::Emoji::new(32).unwrap())
            .codec(codecs::Identity {})
            .text(text_encoders::Mini::default())
            .model(backbones::Mini::default(), schedules::Cosine::default(), Weights::Random())
            .objective(methods::Off {})
            .sampling(samplers::Ddim::default(), 10)
    }

    #[test]
    fn what_is_not_stated_is_as_in_a_file() {
        let built = tiny().build().unwrap().recipe;
        let text = "(name: \"tiny\", data: Emoji(), codec: Identity(), text: Mini(), model: (backbone: Mini(), \
                    schedule: Cosine(), weights: Random()), objective: Off(), sampling: (sampler: Ddim(), steps: 10))";
        assert_eq!(show(&built), show(&parse(text, "a file").unwrap()));
    }

    #[test]
    fn a_missing_part_and_values_that_do_not_fit_are_errors() {
        let missing = RecipeBuilder::new("tiny").build().unwrap_err();
        assert_eq!(missing.to_string(), "data: expected this part of the recipe, which has no default");
        let wrong = tiny().set(|recipe| recipe.batch = 0).build().unwrap_err();
        let Error::Invalid { path, problems } = wrong else { panic!("{wrong}") };
        assert!(path == "the recipe tiny" && problems[0].message.starts_with("batch: "), "{problems:?}");
    }

    /// A weighting that nobody registers.
    #[derive(Debug, Serialize)]
    struct Unknown {}

    impl Weighting for Unknown {
        fn weight(&self, _schedule: &NoiseSchedule, _t: f64) -> f64 {
            1.0
        }
    }

    #[test]
    fn a_plugin_has_the_name_of_its_type() {
        assert_eq!(Plugin::<dyn Weighting>::from(Unknown {}).name(), "Unknown");
        let registered: Plugin<dyn Sampler> = samplers::Ddim::default().into();
        assert_eq!(registered.name(), "Ddim");
    }
}
