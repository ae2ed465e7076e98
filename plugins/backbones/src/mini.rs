//! `Mini`: the blocks of Stable Diffusion on a small picture, for a laptop's CPU.
//!
//! Convolutions at full resolution are what a small picture spends its time on, so the U-Net works on 2x2 patches
//! (`[B, 3, 32, 32]` becomes `[B, 12, 16, 16]`). A patch's four pixels then come from four separate rows of the
//! last layer, which leaves a 2-pixel grid; two thin convolutions at full resolution, which also see the input, mend it.
//! On latents it works place by place, without patches and without those convolutions.

use add_kernels::{ConvGeometry, silu};
use add_nn::{
    config::PerLevel,
    layers::{Conv2d, Init},
    unet::{ClassEmbedType, DownBlockType, UnetConfig, UpBlockType},
};
use add_plugin::{
    Backbone, BackboneInfo, Conditioning, Denoiser, Entry, LoraConfig, PluginError, Prediction, TextInfo,
    Timesteps, inventory, within,
};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::unet::{UnetDenoiser, adapted, check_guidance};

/// A small denoiser of pictures, or of small latents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mini {
    /// What it predicts.
    pub prediction: Prediction,
    /// Channels of the latents that it works on; `None` for pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent_channels: Option<usize>,
    /// Channels of each level of the U-Net, finest (the latents' side, or half the picture's) first; multiples of 16.
    pub channels: Vec<usize>,
    /// Residual blocks of a level on the way down; the way up has one more.
    pub layers: usize,
    /// Levels, counted from the coarsest, that attend to the text.
    pub attending_levels: usize,
    /// Attention heads of each level.
    pub heads: usize,
    /// Channels of the two thin convolutions at full resolution; on latents there are none.
    pub detail: usize,
    /// Width of the embedding of the guidance scale, for a network that is told it and asked once; even. `None` for one
    /// that is guided by being asked with and without the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_embedding: Option<usize>,
}

impl Default for Mini {
    fn default() -> Self {
        Self {
            prediction: Prediction::V,
            latent_channels: None,
            channels: vec![64, 96, 128],
            layers: 1,
            attending_levels: 2,
            heads: 4,
            detail: 16,
            guidance_embedding: None,
        }
    }
}

/// Pixels per patch in each direction.
const PATCH: usize = 2;
/// Most levels, blocks of a level and channels: SDXL has 3, 2 and 1280.
const MAX_LEVELS: usize = 8;
const MAX_LAYERS: usize = 16;
const MAX_CHANNELS: usize = 4096;
/// Pixel channels.
const RGB: usize = 3;

impl Mini {
    fn config(&self, text: TextInfo) -> UnetConfig {
        let levels = self.channels.len();
        let [in_channels, out_channels] = match self.latent_channels {
            Some(channels) => [channels; 2],
            None => [RGB * PATCH * PATCH, self.detail * PATCH * PATCH],
        };
        let attends = |level: usize| level + self.attending_levels >= levels;
        let down = |level| {
            if attends(level) { DownBlockType::CrossAttnDownBlock2D } else { DownBlockType::DownBlock2D }
        };
        let up =
            |level| if attends(level) { UpBlockType::CrossAttnUpBlock2D } else { UpBlockType::UpBlock2D };
        UnetConfig {
            in_channels,
            out_channels,
            block_out_channels: self.channels.clone(),
            down_block_types: (0..levels).map(down).collect(),
            up_block_types: (0..levels).rev().map(up).collect(),
            layers_per_block: PerLevel::All(self.layers),
            norm_num_groups: 16,
            cross_attention_dim: PerLevel::All(text.width),
            attention_head_dim: PerLevel::All(self.heads),
            use_linear_projection: true,
            class_embed_type: Some(ClassEmbedType::Projection),
            projection_class_embeddings_input_dim: Some(text.pooled),
            time_cond_proj_dim: self.guidance_embedding,
            ..UnetConfig::default()
        }
    }
}

impl Backbone for Mini {
    fn info(&self) -> BackboneInfo {
        BackboneInfo {
            channels: self.latent_channels.unwrap_or(RGB),
            prediction: self.prediction,
            // Of a number of levels that `init` refuses, any multiple will do.
            multiple_of: self.patch() << (self.channels.len().clamp(1, MAX_LEVELS) - 1),
        }
    }

    fn takes_guidance(&self) -> bool {
        self.guidance_embedding.is_some()
    }

    fn feature_blocks(&self) -> Vec<(String, usize)> {
        UnetConfig { block_out_channels: self.channels.clone(), ..UnetConfig::default() }.blocks()
    }

    fn init(&self, text: TextInfo, seed: u64, device: &Device) -> Result<Box<dyn Denoiser>, PluginError> {
        self.at(text, &Init::new(seed, device))
    }

    fn adapted(
        &self,
        text: TextInfo,
        lora: &LoraConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Box<dyn Denoiser>, PluginError> {
        self.at(text, &adapted(lora, seed, device)?)
    }
}

impl Mini {
    /// Places of its input per place of the U-Net, in each direction.
    fn patch(&self) -> usize {
        if self.latent_channels.is_some() { 1 } else { PATCH }
    }

    fn at(&self, text: TextInfo, init: &Init) -> Result<Box<dyn Denoiser>, PluginError> {
        within("channels", self.channels.len(), 1..=MAX_LEVELS)?;
        for &channels in &self.channels {
            within("channels", channels, 1..=MAX_CHANNELS)?;
        }
        within("layers", self.layers, 1..=MAX_LAYERS)?;
        within("heads", self.heads, 1..=MAX_CHANNELS)?;
        within("detail", self.detail, 1..=MAX_CHANNELS)?;
        check_guidance(self.guidance_embedding)?;
        if let Some(channels) = self.latent_channels {
            within("latent_channels", channels, 1..=MAX_CHANNELS)?;
            return Ok(Box::new(UnetDenoiser::new(&self.config(text), init)?));
        }
        let same = ConvGeometry::square(1, 1);
        Ok(Box::new(MiniDenoiser {
            denoiser: UnetDenoiser::new(&self.config(text), init)?,
            detail_in: Conv2d::new(self.detail + RGB, self.detail, 3, same, &init.at("detail_in")),
            detail_out: Conv2d::new(self.detail, RGB, 3, same, &init.at("detail_out")),
        }))
    }
}

#[derive(Module, Debug)]
struct MiniDenoiser {
    denoiser: UnetDenoiser,
    detail_in: Conv2d,
    detail_out: Conv2d,
}

impl Denoiser for MiniDenoiser {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let coarse = self.denoiser.predict(to_patches(x_t.clone()), t, conditioning);
        let fine = silu(from_patches(coarse));
        let fine = self.detail_in.forward(Tensor::cat(vec![fine, x_t], 1));
        self.detail_out.forward(silu(fine))
    }

    fn takes_guidance(&self) -> bool {
        self.denoiser.takes_guidance()
    }

    fn features(
        &self,
        x_t: Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
        blocks: &[String],
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        self.denoiser.features(to_patches(x_t), t, conditioning, blocks)
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(self.valid())
    }
}

/// `[B, C, 2 H, 2 W]` to `[B, 4 C, H, W]`; channel `4 c + 2 i + j` holds pixel `(i, j)` of each patch.
fn to_patches(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let [h, w] = [h / PATCH, w / PATCH];
    x.reshape([b, c, h, PATCH, w, PATCH]).permute([0, 1, 3, 5, 2, 4]).reshape([b, c * PATCH * PATCH, h, w])
}

/// The inverse of [`to_patches`].
fn from_patches(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let c = c / (PATCH * PATCH);
    x.reshape([b, c, PATCH, PATCH, h, w]).permute([0, 1, 4, 2, 5, 3]).reshape([b, c, h * PATCH, w * PATCH])
}

inventory::submit!(Entry::backbone::<Mini>("Mini", "the blocks of Rombach et al. 2022, small"));

#[cfg(test)]
mod tests {
    use add_plugin::parameter_count;
    use burn::tensor::{DType, TensorData};

    use super::*;

    const TEXT: TextInfo = TextInfo { tokens: 16, width: 128, pooled: 128 };

    #[test]
    fn patches_go_there_and_back() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 6).map(|i| i as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 4, 6]), &Device::flex());
        let patches = to_patches(x.clone());
        assert_eq!(patches.dims(), [2, 12, 2, 3]);
        // Channel 0, patch (0, 1): its pixel (1, 0) is row 1, column 2 of the picture.
        let value = patches.clone().slice([0..1, 2..3, 0..1, 1..2]).into_scalar::<f32>();
        assert!((value - 8.0).abs() < 1e-6, "{value}");
        from_patches(patches).into_data().assert_eq(&x.into_data(), true);
    }

    #[test]
    fn the_prediction_has_the_shape_of_the_picture_and_depends_on_the_text() {
        let device = Device::flex();
        let mini = Mini::default();
        let network = mini.init(TEXT, 1, &device).unwrap();
        assert!(parameter_count(&*network) < 7_000_000, "{}", parameter_count(&*network));
        let x = Tensor::<4>::ones([2, 3, 32, 32], (&device, DType::F32));
        let conditioning = |value: f64| {
            Conditioning::new(
                Tensor::ones([2, 16, 128], (&device, DType::F32)) * value,
                Tensor::ones([2, 128], (&device, DType::F32)) * value,
            )
        };
        let t = Timesteps(vec![10.0, 999.0]);
        let [a, b] = [0.1, 0.9].map(|v| network.predict(x.clone(), &t, &conditioning(v)));
        assert_eq!(a.dims(), [2, 3, 32, 32]);
        assert!((a - b).abs().max().into_scalar::<f32>() > 1e-5);
    }

    #[test]
    fn on_latents_it_is_the_u_net_alone() {
        let device = Device::flex();
        let mini = Mini { latent_channels: Some(4), channels: vec![16, 32], ..Mini::default() };
        assert_eq!((mini.info().channels, mini.info().multiple_of), (4, 2));
        let network = mini.init(TEXT, 1, &device).unwrap();
        let x = Tensor::<4>::ones([2, 4, 6, 4], &device);
        assert_eq!(network.predict(x, &Timesteps(vec![10.0, 999.0]), &text(0.3)).dims(), [2, 4, 6, 4]);
        network.for_each_shape(&mut |path, _| assert!(!path.contains("detail"), "{path}"));
        let none = Mini { latent_channels: Some(0), ..mini };
        assert!(none.init(TEXT, 1, &device).unwrap_err().to_string().contains("latent_channels"));
    }

    fn text(value: f32) -> Conditioning {
        let device = Device::flex();
        Conditioning::new(Tensor::full([2, 16, 128], value, &device), Tensor::full([2, 128], value, &device))
    }

    fn largest_difference(a: Tensor<4>, b: Tensor<4>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn a_guidance_embedding_begins_as_nothing_and_is_then_told_the_scale() {
        let device = Device::flex();
        let mini = Mini { channels: vec![16, 32], ..Mini::default() };
        let told = Mini { guidance_embedding: Some(32), ..mini.clone() };
        let (plain, mut network) =
            (mini.init(TEXT, 1, &device).unwrap(), told.init(TEXT, 1, &device).unwrap());
        assert!(network.takes_guidance() && !plain.takes_guidance());
        let x = Tensor::<4>::ones([2, 3, 16, 16], &device);
        let t = Timesteps(vec![10.0, 999.5]);
        let predict = |network: &dyn Denoiser, scale: f64| {
            network.predict(x.clone(), &t, &text(0.3).with_guidance(&[scale; 2]))
        };
        // A network without the embedding does not look at the scale.
        assert!(largest_difference(predict(&*plain, 3.0), predict(&*network, 7.5)) == 0.0);
        network.map_parameters(&mut |path, _, value| {
            if path.contains("cond_proj") { value + 0.1 } else { value }
        });
        assert!(largest_difference(predict(&*network, 3.0), predict(&*network, 7.5)) > 1e-4);
        let odd = Mini { guidance_embedding: Some(7), ..mini };
        let refused = odd.init(TEXT, 1, &device).unwrap_err().to_string();
        assert_eq!(refused, "guidance_embedding: expected an even number, got 7");
    }

    #[test]
    fn a_masked_token_does_not_matter() {
        let device = Device::flex();
        let network = Mini { channels: vec![16, 32], ..Mini::default() }.init(TEXT, 1, &device).unwrap();
        let predict = |last: f32, mask: Option<Tensor<2>>| {
            let mut conditioning = text(0.3);
            let states = conditioning.tokens.clone().narrow(1, 0, 15);
            let padding = Tensor::full([2, 1, 128], last, &device);
            conditioning.tokens = Tensor::cat(vec![states, padding], 1);
            let x = Tensor::<4>::ones([2, 3, 16, 16], &device);
            network.predict(x, &Timesteps::same(500.0, 2), &Conditioning { mask, ..conditioning })
        };
        let mask = Tensor::cat(vec![Tensor::ones([2, 15], &device), Tensor::zeros([2, 1], &device)], 1);
        assert!(largest_difference(predict(5.0, None), predict(-5.0, None)) > 1e-5);
        assert!(largest_difference(predict(5.0, Some(mask.clone())), predict(-5.0, Some(mask))) == 0.0);
    }

    #[test]
    fn features_have_the_stated_widths_and_lie_on_the_tape_of_the_input() {
        let device = Device::flex();
        let mini = Mini { channels: vec![16, 32], ..Mini::default() };
        let network = mini.init(TEXT, 1, &device.clone().autodiff()).unwrap().frozen();
        let x = Tensor::<4>::ones([2, 3, 16, 16], &device).autodiff().require_grad();
        let (names, channels): (Vec<String>, Vec<usize>) = mini.feature_blocks().into_iter().unzip();
        assert_eq!(names, ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]);
        let t = Timesteps::same(500.0, 2);
        let states = network.features(x.clone(), &t, &text(0.3), &names).unwrap();
        let sizes: Vec<[usize; 3]> = states.iter().map(Tensor::dims).collect();
        let want: Vec<[usize; 3]> =
            channels.into_iter().zip([16, 16, 16, 64, 64]).map(|(c, n)| [2, c, n]).collect();
        assert_eq!(sizes, want);
        let gradients = states[2].clone().square().mean().backward();
        assert!(x.grad(&gradients).unwrap().abs().sum().into_scalar::<f32>() > 0.0);
        let refused =
            network.features(x, &t, &text(0.3), &["up_blocks.2".to_owned()]).unwrap_err().to_string();
        assert!(refused.contains("`up_blocks.2`"), "{refused}");
    }

    /// The kernels of this project run on one of them only.
    #[test]
    #[expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")]
    fn flex_and_ndarray_agree() {
        let mini = Mini { channels: vec![16, 32], ..Mini::default() };
        let run = |device: &Device| {
            let network = mini.init(TEXT, 1, &device.clone().autodiff()).unwrap();
            let ramp = |shape: &[usize]| {
                let values = (0..shape.iter().product()).map(|i: usize| ((i * 37 % 101) as f32) / 50.0 - 1.0);
                TensorData::new(values.collect::<Vec<_>>(), shape.to_vec())
            };
            let conditioning = Conditioning::new(
                Tensor::from_data(ramp(&[2, 16, 128]), device),
                Tensor::from_data(ramp(&[2, 128]), device),
            );
            let x = Tensor::<4>::from_data(ramp(&[2, 3, 16, 16]), device).autodiff().require_grad();
            let prediction = network.predict(x.clone(), &Timesteps(vec![10.0, 999.0]), &conditioning);
            let gradient = x.grad(&prediction.clone().square().mean().backward()).unwrap();
            [prediction.inner(), gradient].map(|x| x.into_data().try_to_vec::<f32>().unwrap())
        };
        let [flex, ndarray] = [Device::flex(), Device::ndarray()].map(|device| run(&device));
        // A gradient goes through twice as many roundings, and is a difference of larger numbers.
        for ((flex, ndarray), rounding) in flex.iter().zip(&ndarray).zip([1e-5, 2e-4]) {
            let largest = flex.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let worst = flex.iter().zip(ndarray).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(largest > 0.0 && worst <= rounding * largest, "{worst} of {largest}");
        }
    }
}
