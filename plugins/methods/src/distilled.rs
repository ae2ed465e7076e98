//! The frozen model that is distilled, as a recipe states it.

use add_recipe::{Model, Problems, Recipe, Slot, Source, Weights, slot::STUDENT, slot::TEACHER};
use serde::{Deserialize, Serialize};

/// The frozen model that is distilled.
#[derive(Debug, Serialize, Deserialize)]
pub enum Distilled {
    /// The model that the student starts as.
    Initial(),
    /// Another one that shares the codec and the text encoder.
    Other(Box<Model>),
}

impl Default for Distilled {
    fn default() -> Self {
        Self::Initial()
    }
}

impl Distilled {
    /// The model.
    pub(crate) fn model<'a>(&'a self, recipe: &'a Recipe) -> &'a Model {
        match self {
            Self::Initial() => &recipe.model,
            Self::Other(model) => model,
        }
    }

    /// Its network on the list of a method, after the student's.
    pub(crate) fn slot<'a>(&'a self, recipe: &'a Recipe) -> Slot<'a> {
        let source = match self {
            Self::Initial() => Source::BeginningOf(STUDENT),
            Self::Other(model) => Source::Model { model, text: &recipe.text, codec: &recipe.codec },
        };
        Slot::frozen(TEACHER, source, recipe.dtype.teacher)
    }

    /// Adds what does not hold of the field `objective.teacher` at `path`, for a method that guides it from outside.
    pub(crate) fn check(&self, p: &mut Problems, recipe: &Recipe, path: &str) {
        let Self::Other(model) = self else {
            p.require(recipe.model.weights != Weights::Random(), path, || {
                "expected Other(…): the teacher is the model that the student starts as, and `model.weights: Random()` knows \
                 nothing to teach"
                    .to_owned()
            });
            return;
        };
        let field = |field: &str| format!("{path}.{field}");
        p.require(model.adapter.is_off(), &field("adapter"), || {
            "expected Off(): a teacher is not trained".to_owned()
        });
        p.fits(path, model, &recipe.text, &recipe.codec, recipe.data.size());
        p.require(!model.backbone.takes_guidance(), &field("backbone"), || {
            "expected no `guidance_embedding`: the teacher is asked with and without the text".to_owned()
        });
    }
}
