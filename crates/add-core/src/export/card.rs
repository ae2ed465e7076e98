//! What is said of an exported model in words: its model card, and how it is used.

use add_plugin::Fields;
use add_recipe::{Recipe, Weights};
use add_weights::Location;
use serde_json::Value;

use super::Exported;

impl Exported<'_> {
    /// What made it: a training, or the conversion of a released model.
    pub(super) fn origin(&self) -> String {
        let step = self.card.step();
        match (step, self.model.student_timesteps.is_empty()) {
            (0, true) => "converted by ADD-in-Rust".to_owned(),
            (0, false) => "a distilled model, converted by ADD-in-Rust".to_owned(),
            (_, true) => format!("trained for {step} steps with ADD-in-Rust"),
            (_, false) => format!("distilled for {step} steps with ADD-in-Rust"),
        }
    }

    /// How it is sampled, for clients that show one line.
    pub(super) fn usage_hint(&self) -> String {
        let Recipe { sampling, .. } = self.recipe;
        let timesteps = self.timesteps(sampling.steps);
        let timesteps =
            if timesteps.is_empty() { String::new() } else { format!(" at {}", joined(&timesteps)) };
        format!(
            "{}, {} steps{timesteps}, guidance scale {}",
            sampling.sampler.name(),
            sampling.steps,
            sampling.guidance
        )
    }

    /// The student timesteps that `steps` steps visit, descending; none for a model that knows all.
    fn timesteps(&self, steps: usize) -> Vec<usize> {
        let known = &self.model.student_timesteps;
        let (n, steps) = (known.len(), steps.min(known.len()));
        (0..steps).map(|i| known[n - 1 - i * n / steps]).collect()
    }

    /// The model card of a diffusers folder, `config` being its scheduler's.
    pub(super) fn readme(&self, scheduler: &str, config: &Fields) -> String {
        let Recipe { name, sampling, .. } = self.recipe;
        let pipeline = self.names.pipeline.class;
        let known = self.model.student_timesteps.len() as u64;
        // A scheduler that begins with the student's timesteps picks from them as this project does.
        let picks =
            known > 0 && config.get("original_inference_steps").and_then(Value::as_u64) == Some(known);
        let timesteps = self.timesteps(sampling.steps);
        let steps = if timesteps.is_empty() {
            format!("num_inference_steps={}", sampling.steps)
        } else if picks {
            format!("num_inference_steps={}", timesteps.len())
        } else {
            format!("timesteps=[{}]", joined(&timesteps))
        };
        // diffusers guides from above 1.
        let arguments = format!("{steps}, guidance_scale={}", sampling.guidance);
        let front = front_matter(self.recipe, "diffusers", &["text-to-image", "stable-diffusion"]);
        let origin = sentence(&self.origin());
        format!(
            "{front}# {name}\n\n{origin}. {LICENCE}\n\n```python\nfrom diffusers import {pipeline}\n\npipeline = \
             {pipeline}.from_pretrained(\".\")\nimage = pipeline(\"a prompt\", {arguments}).images[0]\n```\n\nThe scheduler \
             is `{scheduler}`.\n"
        )
    }
}

/// Whose terms hold.
pub(super) const LICENCE: &str = "It is bound by the licence of the model that it was made from.";

/// The hub's YAML in front of a card. The licence is that of the base model, which is not known here.
pub(super) fn front_matter(recipe: &Recipe, library: &str, tags: &[&str]) -> String {
    let mut lines = vec!["---".to_owned(), format!("library_name: {library}")];
    lines.extend(["license: other".to_owned(), "license_name: that-of-the-base-model".to_owned()]);
    if let Some(base) = base_model(recipe) {
        lines.push(format!("base_model: {base}"));
    }
    lines.push("pipeline_tag: text-to-image".to_owned());
    lines.push("tags:".to_owned());
    lines.extend(tags.iter().map(|tag| format!("- {tag}")));
    lines.push("---\n\n".to_owned());
    lines.join("\n")
}

/// The repository of the model that a recipe begins with, where it is on the hub.
pub(super) fn base_model(recipe: &Recipe) -> Option<String> {
    match &recipe.model.weights {
        Weights::Diffusers(Location::Hub(place)) | Weights::Ldm(Location::Hub(place)) => {
            Some(place.repository.clone())
        }
        _ => None,
    }
}

fn joined(timesteps: &[usize]) -> String {
    timesteps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// With an upper-case letter in front.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
