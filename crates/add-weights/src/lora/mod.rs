//! Low-rank changes to a model from other programs: LoRA, LoHa, LoKr and plain differences.
//!
//! `W + s (alpha / rank) B A` and its relatives. One file may change the denoiser and the text encoders. The names are
//! peft's, diffusers' of today and of 2023, or kohya's (`lora_unet_...`); see `key.rs`. Whatever of a file finds no place in
//! the model is an error that names it: half a LoRA gives a picture that looks like a whole one's.
//!
//! Hu et al. 2021 (LoRA); Hyeon-Woo et al. 2022 (LoHa); Edalati et al. 2022 (LoKr); Yeh et al. 2024 (`LyCORIS`).

mod factors;
mod key;
mod layers;
mod merge;
mod peft;
mod place;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor};

use self::{
    factors::Product,
    key::{Factor, Key},
    peft::PeftConfig,
};
pub use self::{
    key::Part,
    layers::Layers,
    merge::{Weighted, merge},
    place::Lora,
};
use crate::{WeightsFile, error::WeightsError};

/// As many names as an error shows.
const SHOWN: usize = 8;

/// Tensors by part and layer, as the file names it, and by what they are.
pub(crate) type Factors = BTreeMap<(Part, String), BTreeMap<Factor, String>>;

/// An open file of changes, each of its tensors accounted for.
#[derive(Debug)]
pub struct LoraFile {
    file: WeightsFile,
    layers: Factors,
    peft: PeftConfig,
}

/// What a file does to one parameter.
#[derive(Debug)]
pub struct Change<'a> {
    /// The parameter, by the library's name.
    pub parameter: String,
    file: &'a LoraFile,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    Product(Product<'a>),
    /// A difference of the parameter's own shape.
    Difference(&'a str),
}

impl LoraFile {
    /// Opens a file and looks at all names in it; no value is read.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or holds a tensor that is no part of a change that is known here.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = WeightsFile::open(path)?;
        let peft = PeftConfig::of(&file)?;
        Self::new(file, peft)
    }

    fn new(file: WeightsFile, peft: PeftConfig) -> Result<Self, WeightsError> {
        let layers = Self::names(&file).map_err(|why| problem(file.path().to_path_buf(), why))?;
        Ok(Self { file, layers, peft })
    }

    /// The tensors of a file by part and layer.
    ///
    /// # Errors
    /// Names those that are no part of a change that is known here, or have no counterpart.
    pub(crate) fn names(file: &WeightsFile) -> Result<Factors, String> {
        let mut layers = Factors::new();
        let mut unknown = Vec::new();
        for name in file.tensors().keys() {
            let Some(Key { part, layer, factor }) = Key::of(name) else {
                unknown.push(name.clone());
                continue;
            };
            layers.entry((part, layer)).or_default().insert(factor, name.clone());
        }
        let none = "it holds no LoRA, LoHa or LoKr";
        if layers.is_empty() && unknown.is_empty() {
            return Err(none.to_owned());
        }
        if layers.is_empty() {
            return Err(format!("{none}: {} belong to something else", listed(&unknown)));
        }
        if !unknown.is_empty() {
            let what =
                "are no part of a LoRA, LoHa, LoKr or plain difference, so the file would not count whole";
            return Err(format!("{} {what}", listed(&unknown)));
        }
        for factors in layers.values() {
            Product::of(file, factors)?;
        }
        Ok(layers)
    }

    /// Whether the names of `file` are those of a change to a model.
    pub fn is_one(file: &WeightsFile) -> bool {
        file.tensors().keys().any(|name| key::tells(name))
    }

    /// Whether it changes `part`.
    pub fn changes_part(&self, part: Part) -> bool {
        self.layers.keys().any(|(of, _)| *of == part)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many layers it changes.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether it changes nothing; such a file does not open.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// All that it does to `part` of a model with these `layers`.
    ///
    /// # Errors
    /// When a layer is not among them, or has another shape; each is named.
    pub fn changes(&self, part: Part, layers: &Layers) -> Result<Vec<Change<'_>>, WeightsError> {
        let (mut changes, mut strangers) = (Vec::new(), Vec::new());
        for ((_, name), factors) in self.layers.iter().filter(|((of, _), _)| *of == part) {
            let Some(layer) = layers.find(name) else {
                strangers.extend(factors.values().cloned());
                continue;
            };
            for (factor, end) in [(Factor::Difference, "weight"), (Factor::BiasDifference, "bias")] {
                let Some(tensor) = factors.get(&factor) else { continue };
                let parameter = format!("{layer}.{end}");
                let Some(shape) = layers.shape(&parameter) else {
                    strangers.push(tensor.clone());
                    continue;
                };
                let found = &self.file.info(tensor)?.shape;
                if found.iter().product::<usize>() != shape.iter().product::<usize>() {
                    return Err(self.misshaped(tensor, shape, found));
                }
                changes.push(Change { parameter, file: self, kind: Kind::Difference(tensor) });
            }
            if let Some(product) = Product::of(&self.file, factors).map_err(|why| self.problem(why))? {
                let parameter = format!("{layer}.weight");
                let shape = layers.shape(&parameter).expect("a layer is known by its weight");
                let (rows, columns) = product.size(&self.file).map_err(|why| self.problem(why))?;
                if rows != shape[0] || columns != shape[1..].iter().product::<usize>() {
                    return Err(self.misshaped(product.tensor(), shape, &[rows, columns]));
                }
                let product = product.with_peft(&self.peft, part, layer);
                changes.push(Change { parameter, file: self, kind: Kind::Product(product) });
            }
        }
        if strangers.is_empty() {
            return Ok(changes);
        }
        Err(self.problem(format!(
            "{} have no place in this model's {part}: it was made for another model, or changes layers that the model \
             here has not",
            listed(&strangers)
        )))
    }

    fn misshaped(&self, tensor: &str, expected: &[usize], found: &[usize]) -> WeightsError {
        self.problem(format!(
            "`{tensor}` changes a weight of shape {found:?}, the model's has {expected:?}; it was made for another model"
        ))
    }

    fn problem(&self, why: String) -> WeightsError {
        problem(self.file.path().to_path_buf(), why)
    }
}

impl Change<'_> {
    /// What is added to the parameter at a scale of 1, flat, in single precision.
    ///
    /// # Errors
    /// When a value is not finite, or the tensors hold no floats.
    pub fn values(&self, device: &Device) -> Result<Tensor<1>, WeightsError> {
        let file = &self.file.file;
        match &self.kind {
            Kind::Product(product) => product.values(file, device),
            Kind::Difference(name) => factors::read(file, name, device),
        }
    }
}

fn problem(path: PathBuf, problem: String) -> WeightsError {
    WeightsError::Lora { path, problem }
}

/// A few of the names, and how many there are.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{} of its tensors ({shown}{more})", names.len())
}
