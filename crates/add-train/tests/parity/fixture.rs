//! A recorded training run: `<name>.config.json` (networks and hyper-parameters), `<name>.json` (order of the parameters),
//! `<name>.weights.safetensors` (initial values by the libraries' names) and `<name>.io.safetensors`.
//!
//! In the last one, row `i` of every `in.*` is what step `i` was given; `loss.*` and `norms.*` have one row per step,
//! `step0.*` looks into the first step, `final.*` are values after the last. `ADD_FIXTURES=DIR` reads the runs from
//! another collection, whose family is `DIR/train`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use add_nn::unet::UnetConfig;
use add_train::optimizer::AdamWConfig;
use add_weights::WeightsFile;
use burn::tensor::{DType, Device, Tensor};
use serde::Deserialize;

/// Networks and hyper-parameters of a run.
#[derive(Deserialize)]
pub(crate) struct Config {
    pub(crate) unet: UnetConfig,
    pub(crate) feat: VitShape,
    pub(crate) cimg: VitShape,
    pub(crate) hyper: Hyper,
}

/// A timm vision transformer.
#[derive(Deserialize)]
pub(crate) struct VitShape {
    pub(crate) img_size: usize,
    pub(crate) patch_size: usize,
    pub(crate) embed_dim: usize,
    pub(crate) depth: usize,
    pub(crate) num_heads: usize,
}

#[derive(Deserialize)]
pub(crate) struct Hyper {
    pub(crate) steps: usize,
    pub(crate) hooks: Vec<usize>,
    pub(crate) cmap_dim: usize,
    pub(crate) gamma: f64,
    pub(crate) lam: f64,
    pub(crate) weighting: String,
    pub(crate) reduction: String,
    pub(crate) teacher_steps: usize,
    pub(crate) cfg: f64,
    pub(crate) ema_decay: f64,
    pub(crate) opt_g: Optimizer,
    pub(crate) opt_d: Optimizer,
}

#[derive(Deserialize)]
pub(crate) struct Optimizer {
    pub(crate) lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl Optimizer {
    /// Without warm-up and clipping, which the recorded runs do not have.
    pub(crate) fn config(&self) -> AdamWConfig {
        let Self { lr, betas, eps, weight_decay } = *self;
        AdamWConfig { lr, betas, eps, weight_decay, warm_up: 0, cool_down: 0, clip_norm: f64::INFINITY }
    }
}

/// Names of the trainable parameters in the order of `norms.*`.
#[derive(Deserialize)]
pub(crate) struct ParamOrder {
    pub(crate) student: Vec<String>,
    pub(crate) heads: Vec<String>,
}

#[derive(Deserialize)]
struct Facts {
    param_order: ParamOrder,
}

/// One recorded run.
pub(crate) struct Fixture {
    pub(crate) config: Config,
    pub(crate) param_order: ParamOrder,
    pub(crate) weights: WeightsFile,
    io: WeightsFile,
}

impl Fixture {
    pub(crate) fn open(name: &str) -> Self {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let root = env::var_os("ADD_FIXTURES").map_or(default, PathBuf::from);
        let path = |suffix: &str| root.join("train").join(format!("{name}.{suffix}"));
        let text = |suffix: &str| {
            let path = path(suffix);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let weights =
            |suffix: &str| WeightsFile::open(path(suffix)).unwrap_or_else(|error| panic!("{error}"));
        let facts: Facts = serde_json::from_str(&text("json")).expect("the order of the parameters");
        Self {
            config: serde_json::from_str(&text("config.json")).expect("a configuration"),
            param_order: facts.param_order,
            weights: weights("weights.safetensors"),
            io: weights("io.safetensors"),
        }
    }

    /// The values of a float tensor.
    pub(crate) fn values(&self, key: &str) -> Vec<f64> {
        self.io.floats(key).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Row `step` of a float tensor's values.
    pub(crate) fn row(&self, key: &str, step: usize) -> Vec<f64> {
        let values = self.values(key);
        let length = values.len() / self.shape(key)[0];
        values[step * length..(step + 1) * length].to_vec()
    }

    /// Row `step` of a tensor of whole numbers.
    pub(crate) fn timesteps(&self, key: &str, step: usize) -> Vec<usize> {
        let values = self.io.integers(key).unwrap_or_else(|error| panic!("{error}"));
        let length = values.len() / self.shape(key)[0];
        values[step * length..(step + 1) * length].iter().map(|&t| t as usize).collect()
    }

    /// A float tensor on the plain device.
    pub(crate) fn tensor<const D: usize>(&self, key: &str) -> Tensor<D> {
        shaped(&self.values(key), self.shape(key))
    }

    /// Row `step` of a float tensor on the plain device.
    pub(crate) fn input<const D: usize>(&self, key: &str, step: usize) -> Tensor<D> {
        shaped(&self.row(key, step), &self.shape(key)[1..])
    }

    pub(crate) fn shape(&self, key: &str) -> &[usize] {
        &self.io.info(key).unwrap_or_else(|error| panic!("{error}")).shape
    }

    /// Names that start with `prefix`, without it.
    pub(crate) fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.io.tensors().keys().filter_map(move |key| key.strip_prefix(prefix))
    }
}

fn shaped<const D: usize>(values: &[f64], shape: &[usize]) -> Tensor<D> {
    let shape: [usize; D] = shape.try_into().expect("the rank that is asked for");
    Tensor::<1>::from_data(values, (&Device::flex(), DType::F64)).reshape(shape)
}
