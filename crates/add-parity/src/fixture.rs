//! The reader of all fixtures: numbers made by the reference libraries.
//!
//! | file | holds |
//! |---|---|
//! | `<name>.io.safetensors` | inputs `in.*` and expected values `out.*`, `act.*`, `grad.*` |
//! | `<name>.json` | `tensors`: type and shape of each; `f32_vs_f64`: `[largest difference between the library's own f32 and f64, largest value]`; versions and seeds |
//! | `<name>.config.json` | the network's configuration in the library's form |
//! | `<name>.weights.safetensors` | the network's weights under the library's names |
//!
//! A network of its released size has `<name>.expected.safetensors` with inputs and outputs, and where it was timed
//! `<name>_quiet.report.json`.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use add_weights::WeightsFile;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Found, ParityError, ParityRow, json};

/// How the name of a full-size network's file ends.
pub(crate) const EXPECTED: &str = ".expected.safetensors";

/// One fixture, open.
#[derive(Debug)]
pub struct Fixture {
    name: String,
    folder: PathBuf,
    io: WeightsFile,
    facts: Value,
    /// Where this build's numbers are computed.
    device: Device,
    /// The tensors that the comparison asked for; what is left at the end was forgotten.
    read: RefCell<BTreeSet<String>>,
}

/// A tensor of the file in double precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Sizes of the dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f64>,
}

/// The widest float type in which a device computes. Vulkan's shaders may have f64 without its functions: llvmpipe adds in f64 and
/// takes the hyperbolic tangent of half of the bits.
pub(crate) fn widest(device: &Device) -> DType {
    if device.supports_dtype(DType::F64) && has_functions_of_f64(device) { DType::F64 } else { DType::F32 }
}

fn has_functions_of_f64(device: &Device) -> bool {
    let half = Tensor::<1>::from_data(TensorData::new(vec![0.5_f64], [1]), (device, DType::F64));
    let got = half.tanh().try_into_data().ok().and_then(|data| data.iter::<f64>().next());
    got.is_some_and(|got| (got - 0.5_f64.tanh()).abs() < 1e-12)
}

impl Numbers {
    /// The largest absolute value.
    pub fn largest(&self) -> f64 {
        self.values.iter().fold(0.0, |largest, v| largest.max(v.abs()))
    }

    /// A tensor of `dtype` on `device`; `None` when the rank is not `D`.
    pub fn tensor<const D: usize>(&self, dtype: DType, device: &Device) -> Option<Tensor<D>> {
        let shape: [usize; D] = self.shape.as_slice().try_into().ok()?;
        Some(Tensor::from_data(TensorData::new(self.values.clone(), shape), (device, dtype)))
    }
}

impl Fixture {
    /// Opens its inputs, expected values and facts, to be computed on the plain `device`.
    ///
    /// # Errors
    /// When one of the two files is missing or damaged.
    pub fn open(found: &Found, device: &Device) -> Result<Self, ParityError> {
        let Found { name, folder, .. } = found;
        let io = present(folder, &format!("{name}.io.safetensors"))?;
        Ok(Self {
            io: WeightsFile::open(io)?,
            facts: read_json(folder, &format!("{name}.json"))?,
            name: name.clone(),
            folder: folder.clone(),
            device: device.clone(),
            read: RefCell::default(),
        })
    }

    /// Opens a full-size network's inputs and outputs, with the facts of the library's own run where they lie beside
    /// them.
    ///
    /// # Errors
    /// When a file is damaged, or that of the tensors missing.
    pub fn open_expected(path: &Path, device: &Device) -> Result<Self, ParityError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.strip_suffix(EXPECTED).unwrap_or(&file).to_owned();
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let report = format!("{name}_quiet.report.json");
        let facts = if folder.join(&report).exists() { read_json(&folder, &report)? } else { Value::Null };
        let device = device.clone();
        Ok(Self { io: WeightsFile::open(path)?, facts, name, folder, device, read: RefCell::default() })
    }

    /// The plain device on which this build's numbers are computed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type in which what the library computed in f64 is compared: f64, or f32 on a device without it.
    pub fn wide(&self) -> DType {
        widest(&self.device)
    }

    /// What its files' names begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole `<name>.json`.
    pub fn facts(&self) -> &Value {
        &self.facts
    }

    /// A whole number of `<name>.json`.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn fact(&self, field: &str) -> Result<u64, ParityError> {
        let value = &self.facts[field];
        let what = format!("`{field}` of {}.json", self.name);
        value.as_u64().ok_or_else(|| ParityError::content(&what, "a whole number", value))
    }

    /// The library's configuration.
    ///
    /// # Errors
    /// When the file is missing or says something else.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, ParityError> {
        read_json(&self.folder, &format!("{}.config.json", self.name))
    }

    /// The library's weights.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn weights(&self) -> Result<WeightsFile, ParityError> {
        Ok(WeightsFile::open(present(&self.folder, &format!("{}.weights.safetensors", self.name))?)?)
    }

    /// Another file of tensors in the same folder, if it is there.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn tensors_beside(&self, file: &str) -> Result<Option<WeightsFile>, ParityError> {
        let path = self.folder.join(file);
        Ok(if path.exists() { Some(WeightsFile::open(path)?) } else { None })
    }

    /// Another JSON file in the same folder, if it is there.
    ///
    /// # Errors
    /// When it says something else.
    pub fn json_beside<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, ParityError> {
        if self.folder.join(file).exists() { read_json(&self.folder, file).map(Some) } else { Ok(None) }
    }

    /// Another fixture of the same folder.
    ///
    /// # Errors
    /// When one of its files is missing or damaged.
    pub fn sibling(&self, name: &str) -> Result<Self, ParityError> {
        let found = Found {
            family: String::new(),
            label: String::new(),
            name: name.to_owned(),
            folder: self.folder.clone(),
        };
        Self::open(&found, &self.device)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, key: &str) -> bool {
        self.io.tensors().contains_key(key)
    }

    /// The names that begin with `prefix`, without it.
    pub fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.io.tensors().keys().filter_map(move |key| key.strip_prefix(prefix))
    }

    /// The first parts of the names that begin with `prefix`: `a` and `b` for `prefix` + `a.x`, `a.y`, `b`.
    pub fn parts(&self, prefix: &str) -> BTreeSet<String> {
        self.keys(prefix).map(|rest| rest.split('.').next().unwrap_or(rest).to_owned()).collect()
    }

    /// The prefixes `c0.`, `c1.`, ... of the cases; the empty prefix if there are none.
    pub fn cases(&self) -> Vec<String> {
        let number = |part: &String| part.strip_prefix('c').and_then(|n| n.parse::<usize>().ok());
        let numbers: BTreeSet<usize> = self.parts("").iter().filter_map(number).collect();
        if numbers.is_empty() {
            return vec![String::new()];
        }
        numbers.into_iter().map(|n| format!("c{n}.")).collect()
    }

    /// A tensor's shape.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn shape(&self, key: &str) -> Result<Vec<usize>, ParityError> {
        Ok(self.io.info(key)?.shape.clone())
    }

    /// A float or integer tensor in double precision.
    ///
    /// # Errors
    /// When there is none of this name or it holds something else.
    pub fn numbers(&self, key: &str) -> Result<Numbers, ParityError> {
        let shape = self.shape(key)?;
        self.read.borrow_mut().insert(key.to_owned());
        let values = match self.io.integers(key) {
            Ok(values) => values.into_iter().map(|v| v as f64).collect(),
            Err(_) => self.io.floats(key)?,
        };
        Ok(Numbers { shape, values })
    }

    /// The single value of a tensor.
    ///
    /// # Errors
    /// When there is none of this name or it holds another number of values.
    pub fn scalar(&self, key: &str) -> Result<f64, ParityError> {
        let numbers = self.numbers(key)?;
        match numbers.values[..] {
            [value] => Ok(value),
            _ => Err(ParityError::content(key, "one value", format!("shape {:?}", numbers.shape))),
        }
    }

    /// A tensor of integers, such as ids and timesteps.
    ///
    /// # Errors
    /// When there is none of this name or a value is negative or a fraction.
    pub fn indices(&self, key: &str) -> Result<Vec<usize>, ParityError> {
        let whole = |v: f64| {
            let fits = v >= 0.0 && v.fract() == 0.0 && v < 1e15;
            if fits { Ok(v as usize) } else { Err(ParityError::content(key, "whole numbers", v)) }
        };
        self.numbers(key)?.values.into_iter().map(whole).collect()
    }

    /// A tensor of `dtype` on the fixture's device.
    ///
    /// # Errors
    /// When there is none of this name or its rank is not `D`.
    pub fn tensor<const D: usize>(&self, key: &str, dtype: DType) -> Result<Tensor<D>, ParityError> {
        let numbers = self.numbers(key)?;
        let wrong = || ParityError::content(key, format!("rank {D}"), format!("shape {:?}", numbers.shape));
        numbers.tensor(dtype, &self.device).ok_or_else(wrong)
    }

    /// The same as the leaf of an autodiff graph.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn leaf<const D: usize>(&self, key: &str, dtype: DType) -> Result<Tensor<D>, ParityError> {
        Ok(self.tensor(key, dtype)?.autodiff().require_grad())
    }

    /// Token ids `[B, N]`.
    ///
    /// # Errors
    /// When there is none of this name or it is no table of ids.
    pub fn ids(&self, key: &str) -> Result<Tensor<2, Int>, ParityError> {
        let shape = self.shape(key)?;
        let [b, n] = shape[..] else {
            return Err(ParityError::content(key, "ids [B, N]", format!("shape {shape:?}")));
        };
        let ids: Vec<i64> = self.indices(key)?.into_iter().map(|id| id as i64).collect();
        Ok(Tensor::from_data(TensorData::new(ids, [b, n]), &self.device))
    }

    /// The library's own difference between f32 and f64; 0 where none was recorded.
    pub fn rounding(&self, key: &str) -> f64 {
        self.facts["f32_vs_f64"][key][0].as_f64().unwrap_or(0.0)
    }

    /// Expected values that nobody asked for.
    pub(crate) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let input = |key: &str| key.split('.').any(|part| part == "in");
        self.io.tensors().keys().filter(|key| !read.contains(*key) && !input(key)).cloned().collect()
    }

    /// A failed row for each difference between the table of tensors in `<name>.json` and the file of tensors.
    pub(crate) fn differences_from_table(&self) -> Vec<ParityRow> {
        let Some(table) = self.facts["tensors"].as_object() else {
            let problem = ParityError::content("tensors", "a table of all tensors", &self.facts["tensors"]);
            return vec![ParityRow::failed(&format!("{}.json", self.name), &problem)];
        };
        let difference = |(key, stated): (&String, &Value)| {
            let Ok(info) = self.io.info(key) else {
                return Some(ParityRow::failed(key, "missing from the file of tensors"));
            };
            let shape = serde_json::json!(info.shape);
            let problem = ParityError::content("shape", &stated[1], &shape);
            (stated[1] != shape).then(|| ParityRow::failed(key, &problem))
        };
        table.iter().filter_map(difference).collect()
    }
}

fn present(folder: &Path, file: &str) -> Result<PathBuf, ParityError> {
    let path = folder.join(file);
    if path.exists() { Ok(path) } else { Err(ParityError::MissingFile(file.to_owned())) }
}

fn read_json<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<T, ParityError> {
    json::read(&present(folder, file)?, file)
}
