//! No training: the recipe is for sampling.

use add_eval::report::Presentation;
use add_plugin::PluginError;
use add_recipe::{
    Method, MethodEntry, MethodRun, Passes, Problems, Recipe, RunContext, Slot, slot::sampling_slots,
};
use add_train::networks::NetworkSet;
use serde::{Deserialize, Serialize};

/// Nothing is learnt: the recipe is for sampling a released model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Off {}

add_plugin::inventory::submit!(MethodEntry::of::<Off>("Off", "sampling alone"));

impl Method for Off {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        sampling_slots(recipe)
    }

    fn check(&self, _recipe: &Recipe, _problems: &mut Problems) {}

    fn start<'a>(
        &'a self,
        recipe: &'a Recipe,
        _networks: NetworkSet,
        _context: RunContext,
    ) -> Result<Box<dyn MethodRun + 'a>, PluginError> {
        Err(PluginError::Mismatch(format!(
            "the recipe {} only samples (objective: Off()); there is nothing to train",
            recipe.name
        )))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        Passes::default()
    }

    fn trains(&self) -> bool {
        false
    }

    fn presentation(&self) -> Presentation {
        Presentation { title: "Sampling", ..Presentation::default() }
    }
}
