//! Where a file of changes is and how much it counts, as one text: `PLACE[:SCALE]`.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::LoraFile;
use crate::{Location, error::WeightsError, hub::Progress};

/// What such a file is called in a folder: by diffusers and in a run's folder of this project, by peft.
const FILES: [&str; 2] = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"];

/// A LoRA, LoHa or LoKr, and how much of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lora {
    /// Its file or folder.
    pub place: Location,
    /// By what it is multiplied; 1 for the whole of it.
    pub scale: f64,
}

impl Lora {
    /// Reads `PLACE[:SCALE]`.
    ///
    /// # Errors
    /// When the place is none, or the scale is no finite number.
    pub fn parse(text: &str) -> Result<Self, WeightsError> {
        let number =
            text.rsplit_once(':').and_then(|(place, scale)| Some((place, scale.parse::<f64>().ok()?)));
        let (place, scale) = number.unwrap_or((text, 1.0));
        if !scale.is_finite() {
            let reason = format!("expected a finite scale behind the colon, got {scale}");
            return Err(WeightsError::Location { text: text.to_owned(), reason });
        }
        Ok(Self { place: Location::parse(place)?, scale })
    }

    /// The file that is meant: the place itself, or the first of the known names in the folder.
    #[must_use]
    pub fn file(&self) -> Location {
        if self.place.is_file() {
            return self.place.clone();
        }
        let there = FILES.iter().map(|name| self.place.join(name)).find(|file| file.cached().is_some());
        there.unwrap_or_else(|| self.place.join(FILES[0]))
    }

    /// Fetches and opens it.
    ///
    /// # Errors
    /// As [`Location::fetch`] and [`LoraFile::open`].
    pub fn open(&self, progress: &mut dyn Progress) -> Result<LoraFile, WeightsError> {
        let path: PathBuf = self.file().fetch(progress)?;
        LoraFile::open(&path)
    }
}

impl fmt::Display for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A scale of 1 is not said, unless what stands behind the last colon would be taken for one.
        let place = self.place.to_string();
        let plain = (self.scale - 1.0).abs() < f64::EPSILON
            && place.rsplit_once(':').is_none_or(|(_, s)| s.parse::<f64>().is_err());
        if plain { f.write_str(&place) } else { write!(f, "{place}:{}", self.scale) }
    }
}

impl TryFrom<String> for Lora {
    type Error = WeightsError;

    fn try_from(text: String) -> Result<Self, WeightsError> {
        Self::parse(&text)
    }
}

impl From<Lora> for String {
    fn from(lora: Lora) -> Self {
        lora.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_stands_behind_the_last_colon() {
        for (text, place, scale) in [
            ("a/b.safetensors", "a/b.safetensors", 1.0),
            ("a/b.safetensors:0.5", "a/b.safetensors", 0.5),
            ("hf://o/r/x.safetensors:-1", "hf://o/r/x.safetensors", -1.0),
            ("hf://o/r", "hf://o/r", 1.0),
            ("odd:name", "odd:name", 1.0),
        ] {
            let lora = Lora::parse(text).expect(text);
            assert_eq!((lora.place.to_string().as_str(), lora.scale), (place, scale));
            assert_eq!(Lora::parse(&lora.to_string()).expect("its own text"), lora);
        }
        for text in ["", ":1", "a.safetensors:inf", "hf://x:2"] {
            assert!(Lora::parse(text).is_err(), "{text}");
        }
    }
}
