//! A LoRA, LoHa or LoKr: what it changes, and for which model it was made.

use super::{Diagnosis, dtypes};
use crate::{
    WeightsFile,
    lora::{LoraFile, Part},
};

/// What kohya's tools and `ModelSpec` say of the model that it was made for.
const BASES: [&str; 3] = ["ss_base_model_version", "modelspec.architecture", "ss_sd_model_name"];

pub(super) fn tell(file: &WeightsFile, found: &mut Diagnosis) {
    let has = |part: &str| file.tensors().keys().any(|name| name.contains(part));
    let kind = if has(".hada_") {
        "LoHa"
    } else if has(".lokr_") {
        "LoKr"
    } else {
        "LoRA"
    };
    found.is = format!("a {kind}: a change to a model");
    found.fact("dtype", dtypes(file));
    match LoraFile::names(file) {
        Ok(layers) => {
            for part in [Part::Denoiser, Part::Text, Part::Text2] {
                let count = layers.keys().filter(|(of, _)| *of == part).count();
                if count > 0 {
                    found.fact("changes", format!("{count} layers of the {part}"));
                }
            }
        }
        Err(error) => found.problem(error),
    }
    if let Some(base) = BASES.iter().find_map(|key| file.metadata().get(*key)) {
        found.fact("made for", base.as_str());
    }
    found.fact("use", "sample RECIPE --lora FILE[:SCALE], or merge MODEL --lora FILE --out NEW");
}
