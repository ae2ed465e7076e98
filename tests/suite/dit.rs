//! A diffusion transformer as CONTRIBUTING.md tells its reader to add one: this file is all there is of it.
//!
//! Peebles and Xie 2023 (DiT, adaLN-Zero), small, trained as a rectified flow. The text joins the time through its pooled
//! embedding.

use std::{fs, path::Path};

use add_nn::{
    layers::{Attention, Init, Linear},
    unet::{Sinusoids, TimestepEmbedding},
};
use add_plugin::{
    Backbone, BackboneInfo, Conditioning, Denoiser, Entry, PluginError, Prediction, TextInfo, Timesteps,
    frozen, inventory, within,
};
use add_train::run::{Ending, StartFrom};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, activation},
};
use serde::{Deserialize, Serialize};

use crate::{root, runs::go};

/// A small transformer over patches of pixels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TinyDit {
    /// Side of the pictures in pixels.
    size: usize,
    /// Side of a patch in pixels.
    patch: usize,
    /// Width of a token, a multiple of the heads.
    width: usize,
    /// Attention heads.
    heads: usize,
    /// Number of blocks.
    depth: usize,
}

impl Default for TinyDit {
    fn default() -> Self {
        Self { size: 32, patch: 4, width: 48, heads: 4, depth: 2 }
    }
}

/// Pixel channels.
const RGB: usize = 3;
/// Width of the sinusoids of the time.
const SINUSOIDS: usize = 64;
/// Where the plugin's row in the table of all plugins says that it comes from.
pub(super) const SOURCE: &str = "a test";

impl Backbone for TinyDit {
    fn info(&self) -> BackboneInfo {
        BackboneInfo { channels: RGB, prediction: Prediction::Flow, multiple_of: self.size }
    }

    fn feature_blocks(&self) -> Vec<(String, usize)> {
        (0..self.depth).map(|i| (block_name(i), self.width)).collect()
    }

    fn init(&self, text: TextInfo, seed: u64, device: &Device) -> Result<Box<dyn Denoiser>, PluginError> {
        within("depth", self.depth, 1..=64)?;
        if self.patch == 0 || !self.size.is_multiple_of(self.patch) || !self.width.is_multiple_of(self.heads)
        {
            let problem = "expected a patch that divides the size and heads that divide the width".to_owned();
            return Err(PluginError::Mismatch(problem));
        }
        Ok(Box::new(Dit::new(self, text, &Init::new(seed, device))))
    }
}

inventory::submit!(Entry::backbone::<TinyDit>("TinyDit", SOURCE));

fn block_name(i: usize) -> String {
    format!("blocks.{i}")
}

#[derive(Module, Debug)]
struct Dit {
    patches: Linear,
    position: Param<Tensor<2>>,
    time: TimestepEmbedding,
    text: Linear,
    blocks: Vec<Block>,
    modulation: Linear,
    out: Linear,
    #[module(skip)]
    patch: usize,
}

impl Dit {
    fn new(plugin: &TinyDit, text: TextInfo, init: &Init) -> Self {
        let &TinyDit { size, patch, width, heads, depth } = plugin;
        let (tokens, values) = ((size / patch).pow(2), RGB * patch * patch);
        Self {
            patches: Linear::new(values, width, &init.at("patches")),
            position: init.normal("position", [tokens, width], 0.02),
            time: TimestepEmbedding::new(SINUSOIDS, width, &init.at("time")),
            text: Linear::new(text.pooled, width, &init.at("text")),
            blocks: (0..depth).map(|i| Block::new(width, heads, &init.at(block_name(i)))).collect(),
            modulation: zero(width, 2 * width, &init.at("modulation")),
            out: zero(width, values, &init.at("out")),
            patch,
        }
    }

    /// Tokens `[B, N, C]` and what they are modulated by `[B, C]`.
    fn begin(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> (Tensor<3>, Tensor<2>) {
        let sinusoids = Sinusoids { channels: SINUSOIDS, flip_sin_to_cos: true, freq_shift: 0.0 };
        let time = sinusoids.embed(t.to_tensor(&x_t.device(), x_t.dtype()));
        let text = self.text.forward_rows(conditioning.pooled.clone());
        let [b, c, h, w] = x_t.dims();
        let [rows, columns, p] = [h / self.patch, w / self.patch, self.patch];
        let patches = x_t.reshape([b, c, rows, p, columns, p]).permute([0, 2, 4, 1, 3, 5]);
        let tokens = self.patches.forward(patches.reshape([b, rows * columns, c * p * p]));
        (tokens + self.position.val().unsqueeze_dim(0), activation::silu(self.time.forward(time) + text))
    }
}

impl Denoiser for Dit {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let [b, c, h, w] = x_t.dims();
        let (tokens, condition) = self.begin(x_t, t, conditioning);
        let tokens = self.blocks.iter().fold(tokens, |tokens, block| block.forward(tokens, &condition));
        let [shift, scale] = parts(&self.modulation, &condition);
        let values = self.out.forward(modulated(tokens, shift, scale));
        let [rows, columns, p] = [h / self.patch, w / self.patch, self.patch];
        values.reshape([b, rows, columns, c, p, p]).permute([0, 3, 1, 4, 2, 5]).reshape([b, c, h, w])
    }

    fn features(
        &self,
        x_t: Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
        blocks: &[String],
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        let (mut tokens, condition) = self.begin(x_t, t, conditioning);
        let mut states = Vec::new();
        for block in &self.blocks {
            tokens = block.forward(tokens, &condition);
            states.push(tokens.clone().swap_dims(1, 2));
        }
        let named = |name: &String| {
            let found = (0..states.len()).find(|&i| block_name(i) == *name).map(|i| states[i].clone());
            found.ok_or_else(|| PluginError::Mismatch(format!("there is no block `{name}`")))
        };
        blocks.iter().map(named).collect()
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(frozen(self))
    }
}

/// Attention and two layers, each scaled, shifted and gated by the condition; all gates begin closed (adaLN-Zero).
#[derive(Module, Debug)]
struct Block {
    attention: Attention,
    widen: Linear,
    narrow: Linear,
    modulation: Linear,
}

impl Block {
    fn new(width: usize, heads: usize, init: &Init) -> Self {
        Self {
            attention: Attention::new(width, width, heads, &init.at("attention")),
            widen: Linear::new(width, 4 * width, &init.at("widen")),
            narrow: Linear::new(4 * width, width, &init.at("narrow")),
            modulation: zero(width, 6 * width, &init.at("modulation")),
        }
    }

    fn forward(&self, x: Tensor<3>, condition: &Tensor<2>) -> Tensor<3> {
        let [shift, scale, gate, shift_2, scale_2, gate_2] = parts(&self.modulation, condition);
        let h = modulated(x.clone(), shift, scale);
        let x = x + self.attention.forward(h.clone(), h) * gate;
        let h = self.widen.forward(modulated(x.clone(), shift_2, scale_2));
        x + self.narrow.forward(activation::gelu(h)) * gate_2
    }
}

/// A linear layer that begins as zero.
fn zero(c_in: usize, c_out: usize, init: &Init) -> Linear {
    Linear {
        weight: init.constant("weight", [c_out, c_in], 0.0),
        bias: Some(init.constant("bias", [c_out], 0.0)),
        ..Linear::new(c_in, c_out, init)
    }
}

/// `K` rows `[B, 1, C]` of a projection of the condition.
fn parts<const K: usize>(modulation: &Linear, condition: &Tensor<2>) -> [Tensor<3>; K] {
    let all = modulation.forward_rows(condition.clone()).unsqueeze_dim::<3>(1);
    let width = all.dims()[2] / K;
    std::array::from_fn(|k| all.clone().narrow(2, k * width, width))
}

/// `norm(x) (1 + scale) + shift`, with a normalisation that has no weights.
fn modulated(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    let x = x.clone() - x.mean_dim(2);
    let deviation = x.clone().square().mean_dim(2).add_scalar(1e-6).sqrt();
    x / deviation * scale.add_scalar(1.0) + shift
}

/// The recipe of the emoji teacher with this backbone on a rectified flow.
fn recipe(steps: u64) -> add_core::read::LoadedRecipe {
    let sets = [
        "model.backbone=TinyDit()",
        "model.schedule=RectifiedFlow(shift: 1.5)",
        "batch=16",
        "preview.prompts=[]",
        "run.log_every=1",
        "sampling.sampler=Euler()",
        "sampling.steps=4",
        "objective.optimizer.lr=2e-3",
        "objective.optimizer.warm_up=0",
        "objective.optimizer.cool_down=0",
    ];
    let mut sets: Vec<String> = sets.map(str::to_owned).to_vec();
    sets.push(format!("run.steps={steps}"));
    sets.push(format!("run.checkpoint_every={steps}"));
    add_core::read::read(&root().join("configs/pretrain/emoji-teacher.ron"), &sets).unwrap()
}

fn losses(out: &Path) -> Vec<f64> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64();
    text.lines().filter_map(line).collect()
}

#[test]
fn a_diffusion_transformer_in_one_file_learns_a_rectified_flow() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert_eq!(go(&recipe(40), &out, &StartFrom::Fresh), Ending::Finished);
    let losses = losses(&out);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(losses.len() >= 40 && last < 0.8 * first, "{first} to {last} in {} steps", losses.len());
}

#[test]
fn its_blocks_are_named_before_there_are_weights_and_seen_on_the_tape_of_the_input() {
    let plugin = TinyDit::default();
    let text = TextInfo { tokens: 2, width: 6, pooled: 5 };
    let device = Device::flex();
    let network = plugin.init(text, 1, &device.clone().autodiff()).unwrap().frozen();
    let x = Tensor::<4>::ones([2, 3, 32, 32], &device).autodiff().require_grad();
    let conditioning = Conditioning::new(Tensor::ones([2, 2, 6], &device), Tensor::ones([2, 5], &device));
    let t = Timesteps(vec![12.5, 999.0]);
    let (names, channels): (Vec<String>, Vec<usize>) = plugin.feature_blocks().into_iter().unzip();
    let states = network.features(x.clone(), &t, &conditioning, &names).unwrap();
    for (state, channels) in states.iter().zip(channels) {
        assert_eq!(state.dims(), [2, channels, 64]);
    }
    let gradients = states[1].clone().square().sum().backward();
    assert!(x.grad(&gradients).unwrap().abs().sum().into_scalar::<f32>() > 0.0);
    let refused = network.features(x, &t, &conditioning, &["blocks.7".to_owned()]).unwrap_err().to_string();
    assert!(refused.contains("blocks.7"), "{refused}");
}
