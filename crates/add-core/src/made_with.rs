//! How pictures were made, as their files say it, so that they can be made again.
//!
//! A file says it twice: in JSON under the keyword [`KEYWORD`], whole, and as the line `parameters` of A1111's web UI, which
//! many programs read. A picture is published, so what it says names no folder of the machine that made it: relative paths
//! stay as they were given, others become relative to the recipe's or the current folder, or the file's name alone.

mod file_used;
mod parameters;
mod public;

use std::path::Path;

use add_data::{PictureFormat, picture_text};
use add_recipe::Dimensions;
pub use file_used::FileUsed;
pub use parameters::{PARAMETERS, Parameters};
pub use public::{recipe_file, recipe_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::CoreError,
    read::{LoadedRecipe, read_text},
    weights::Kept,
};

/// The keyword of what a file says in JSON.
pub const KEYWORD: &str = "add";

/// Largest picture file that is read for what it says, in bytes.
const MAX_PICTURE: u64 = 256 << 20;

/// How pictures were made: those of `prompts`, `count` of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeWith {
    /// Version of this program.
    pub version: String,
    /// What they show.
    pub prompts: Vec<String>,
    /// What guidance led away from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub negative: String,
    /// Pictures of each prompt.
    pub count: usize,
    /// Index of the first; a picture follows from its seed and index.
    pub index: u64,
    /// Seed of the noise.
    pub seed: u64,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Width and height.
    pub size: Dimensions,
    /// The picture that they started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<FileUsed>,
    /// How much of it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// What of it was made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<FileUsed>,
    /// The noise that they started from, where it did not follow from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<FileUsed>,
    /// The model, where it was not the one that the recipe names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<FileUsed>,
    /// What of the recipe was kept beside that model.
    #[serde(default, skip_serializing_if = "Kept::is_nothing")]
    pub kept: Kept,
    /// The recipe's file, where the names in the recipe begin.
    pub recipe_file: String,
    /// What of the recipe a picture follows from, as a recipe.
    pub recipe: String,
}

impl MadeWith {
    /// What the picture in the file at `path` says.
    ///
    /// # Errors
    /// When it is no picture of this project, or cannot be read.
    pub fn of(path: &Path) -> Result<Self, CoreError> {
        let bytes = add_files::read(path, MAX_PICTURE).map_err(CoreError::io(path))?;
        let failed = |problem: String| CoreError::Request(format!("{}: {problem}", path.display()));
        let text = picture_text(&bytes).map_err(|error| failed(error.to_string()))?;
        let Some((_, said)) = text.iter().find(|(keyword, _)| keyword == KEYWORD) else {
            return Err(failed(format!(
                "expected a picture that `sample` of this program wrote, with the text `{KEYWORD}`; it has none{}",
                others(&text)
            )));
        };
        serde_json::from_str(said).map_err(|error| {
            failed(format!("its text `{KEYWORD}` is damaged, or of another version of this program: {error}"))
        })
    }

    /// The same of its picture `at` alone, in the order of prompts and of the count of each.
    #[must_use]
    pub fn one(&self, at: usize) -> Self {
        let prompt = self.prompts[at / self.count.max(1)].clone();
        Self { prompts: vec![prompt], count: 1, index: self.index + at as u64, ..self.clone() }
    }

    /// The texts of a file, with their keywords.
    pub fn texts(&self) -> [(&'static str, String); 2] {
        let json = serde_json::to_string(self).expect("texts and numbers are JSON");
        [(PARAMETERS, self.parameters()), (KEYWORD, json)]
    }

    /// Refuses more text than a file of `format` holds.
    ///
    /// # Errors
    /// Says how much it holds.
    pub fn check_fits(&self, format: PictureFormat) -> Result<(), CoreError> {
        let texts = self.texts();
        let texts = texts.each_ref().map(|(keyword, text)| (*keyword, text.as_str()));
        format.check_text(&texts).map_err(|error| CoreError::Request(error.to_string()))
    }

    /// The first field in which it differs from `other`, with both values; the version and the recipe's file make no
    /// picture.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let fields = |made: &Self| {
            let made = Self { version: String::new(), recipe_file: String::new(), ..made.clone() };
            serde_json::to_value(made).expect("texts and numbers are JSON")
        };
        let (mine, others) = (fields(self), fields(other));
        let names =
            [&mine, &others].map(|value| value.as_object().into_iter().flatten().map(|(name, _)| name));
        let differs = names.into_iter().flatten().find(|name| mine.get(name) != others.get(name))?;
        let shown = |value: &Value| value.get(differs).map_or("none".to_owned(), Value::to_string);
        Some((differs.clone(), shown(&mine), shown(&others)))
    }

    /// The recipe that makes the pictures again, with `assignments` applied first; names in it begin where they began.
    ///
    /// # Errors
    /// When an assignment cannot be applied, or this program knows no such recipe.
    pub fn recipe(&self, assignments: &[String]) -> Result<LoadedRecipe, CoreError> {
        read_text(&self.recipe, Path::new(&self.recipe_file), assignments)
    }

    /// The line of A1111's web UI.
    fn parameters(&self) -> String {
        let sampler = self
            .recipe
            .split_once("sampler: ")
            .map_or("", |(_, rest)| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
        let model = self.weights.as_ref().map_or(self.recipe_file.as_str(), |weights| weights.name.as_str());
        let parameters = Parameters {
            prompt: &self.prompts.join("; "),
            negative: &self.negative,
            seed: self.seed,
            index: self.index,
            steps: self.steps,
            sampler,
            guidance: self.guidance,
            size: self.size,
            model: &Path::new(model).file_stem().unwrap_or_default().to_string_lossy(),
            strength: self.strength,
        };
        parameters.line(&self.version)
    }
}

/// What a picture of another program says of itself, in words.
fn others(text: &[(String, String)]) -> String {
    let of = [(PARAMETERS, "A1111's web UI"), ("workflow", "ComfyUI"), ("invokeai_metadata", "InvokeAI")];
    let found = of.iter().find(|(keyword, _)| text.iter().any(|(found, _)| found == keyword));
    found.map_or(String::new(), |(keyword, program)| {
        format!(", but `{keyword}`, as {program} writes it: give --prompt, --seed and --steps by hand")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> MadeWith {
        MadeWith {
            version: "1".to_owned(),
            prompts: vec!["a cat".to_owned(), "a dog".to_owned()],
            negative: "blur, text".to_owned(),
            count: 2,
            index: 3,
            seed: u64::MAX,
            steps: 4,
            guidance: 7.5,
            size: Dimensions { width: 768, height: 512 },
            init: None,
            strength: Some(0.8),
            mask: None,
            latents: None,
            weights: Some(FileUsed { name: "m/a, b.safetensors".to_owned(), fingerprint: None }),
            kept: Kept::default(),
            recipe_file: "configs/x.ron".to_owned(),
            recipe: "(sampling: (sampler: EulerAncestral(spacing: Trailing)))".to_owned(),
        }
    }

    #[test]
    fn the_line_of_a1111_has_its_fields() {
        let [(keyword, line), (ours, json)] = made().one(2).texts();
        assert_eq!((keyword, ours), ("parameters", "add"));
        assert_eq!(
            line,
            "a dog\nNegative prompt: blur, text\nSteps: 4, Sampler: Euler a, CFG scale: 7.5, Seed: \
             18446744073709551615, Size: 768x512, Model: \"a, b\", Denoising strength: 0.8, Index: 5, Version: add 1"
        );
        assert_eq!(serde_json::from_str::<MadeWith>(&json).expect("JSON"), made().one(2));
    }
}
