//! The U-Net of Stable Diffusion: predicts noise, `v` or the image from a noised sample, its timestep and a text.
//!
//! Ronneberger et al. 2015, Ho et al. 2020, Rombach et al. 2022; the numbers and the parameter names are those of
//! diffusers' `UNet2DConditionModel` for SD1.5, SD2.1 and SDXL, and for small nets of the same blocks.

mod blocks;
mod conditions;
mod config;
mod embedding;
pub(crate) mod resnet;
mod transformer;

use std::ops::ControlFlow;

use add_kernels::Checkpointing;
use blocks::{Conditions, DownBlock, MidBlock, UpBlock};
use burn::{
    module::Module,
    tensor::{Bool, DType, Tensor},
};
pub use conditions::{AddedConditions, UnetConditions};
pub use config::{AdditionEmbedType, ClassEmbedType, DownBlockType, UnetConfig, UpBlockType};
pub use embedding::{Sinusoids, TimestepEmbedding};

use crate::{
    config::ConfigError,
    layers::{Conv2d, GroupNorm, Init, Linear},
    probe::Probe,
};

/// The denoiser.
#[derive(Module, Debug)]
pub struct UNet2dCondition {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<TimestepEmbedding>,
    add_embedding: Option<TimestepEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    time_proj: Sinusoids,
    #[module(skip)]
    add_time_proj: Sinusoids,
    #[module(skip)]
    guidance_channels: Option<usize>,
    #[module(skip)]
    checkpointing: Checkpointing,
}

/// Sees a part's name and the state after it, and says whether to go on.
type See<'a> = dyn FnMut(&str, &Tensor<4>) -> ControlFlow<()> + 'a;

impl UNet2dCondition {
    /// A network with fresh values.
    ///
    /// # Errors
    /// When the configuration does not hold together; see [`UnetConfig::check`].
    pub fn new(config: &UnetConfig, init: &Init) -> Result<Self, ConfigError> {
        config.check()?;
        let (levels, width) = (config.levels(), config.time_embed_dim());
        let finest = config.block_out_channels[0];
        let sinusoids = |channels| Sinusoids {
            channels,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift,
        };
        let projected = config.projection_class_embeddings_input_dim.unwrap_or(0);
        let embedding = |channels, name| TimestepEmbedding::new(channels, width, &init.at(name));
        let up = |k| UpBlock::new(config, levels - 1 - k, &init.at("up_blocks").at(k));
        Ok(Self {
            conv_in: Conv2d::same3(config.in_channels, finest, &init.at("conv_in")),
            time_embedding: match config.time_cond_proj_dim {
                None => embedding(finest, "time_embedding"),
                Some(condition) => embedding(finest, "time_embedding").with_condition(
                    condition,
                    finest,
                    &init.at("time_embedding"),
                ),
            },
            class_embedding: config
                .class_embed_type
                .map(|ClassEmbedType::Projection| embedding(projected, "class_embedding")),
            add_embedding: config
                .addition_embed_type
                .map(|AdditionEmbedType::TextTime| embedding(projected, "add_embedding")),
            down_blocks: (0..levels)
                .map(|i| DownBlock::new(config, i, &init.at("down_blocks").at(i)))
                .collect(),
            mid_block: MidBlock::new(config, &init.at("mid_block")),
            up_blocks: (0..levels).map(up).collect(),
            conv_norm_out: GroupNorm::new(
                config.norm_num_groups,
                finest,
                config.norm_eps,
                &init.at("conv_norm_out"),
            ),
            conv_out: Conv2d::same3(finest, config.out_channels, &init.at("conv_out")),
            time_proj: sinusoids(finest),
            add_time_proj: sinusoids(config.addition_time_embed_dim.unwrap_or(0)),
            guidance_channels: config.time_cond_proj_dim,
            checkpointing: Checkpointing::Off,
        })
    }

    /// With `Blocks`, each residual block and each transformer block is computed again in the backward pass.
    #[must_use]
    pub fn with_checkpointing(self, checkpointing: Checkpointing) -> Self {
        Self { checkpointing, ..self }
    }

    /// Puts `projection` in the place of the one of the guidance scale's embedding, and gives what was there. A released
    /// network that knows no guidance scale is loaded without it.
    pub fn replace_guidance(&mut self, projection: Option<Linear>) -> Option<Linear> {
        self.time_embedding.replace_condition(projection)
    }

    /// `sample: [B, C_in, H, W]`, `timesteps: [B]` in training steps, `encoder_hidden_states: [B, M, C_context]`
    /// to the prediction `[B, C_out, H, W]`. The number type of the timesteps, of the guidance scales and of SDXL's numbers
    /// decides that of their angles ([`Sinusoids::embed`]) and may differ from the network's.
    ///
    /// # Panics
    /// When `conditions` are not what the configuration asks for.
    pub fn forward(
        &self,
        sample: Tensor<4>,
        timesteps: Tensor<1>,
        encoder_hidden_states: Tensor<3>,
        conditions: impl Into<UnetConditions>,
    ) -> Tensor<4> {
        self.forward_probed(sample, timesteps, encoder_hidden_states, conditions, &mut Probe::off())
    }

    /// As [`forward`](Self::forward), showing the state after every part to `probe` under the part's name.
    ///
    /// # Panics
    /// When `conditions` are not what the configuration asks for.
    pub fn forward_probed(
        &self,
        sample: Tensor<4>,
        timesteps: Tensor<1>,
        encoder_hidden_states: Tensor<3>,
        conditions: impl Into<UnetConditions>,
        probe: &mut Probe,
    ) -> Tensor<4> {
        let to = self.conditions(timesteps, encoder_hidden_states, conditions.into(), sample.dtype(), probe);
        let x = self.walk(sample, &to, &mut |name, x| {
            probe.see(name, x);
            ControlFlow::Continue(())
        });
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }

    /// The states after the named parts ([`UnetConfig::blocks`]) for the inputs of [`forward`](Self::forward),
    /// `[B, C, H_i, W_i]` each, in the order of `names` and on the tape of the sample. Nothing after the last of them is
    /// computed; a name that there is not gives `None`.
    ///
    /// # Panics
    /// When `conditions` are not what the configuration asks for.
    pub fn features(
        &self,
        sample: Tensor<4>,
        timesteps: Tensor<1>,
        encoder_hidden_states: Tensor<3>,
        conditions: impl Into<UnetConditions>,
        names: &[String],
    ) -> Vec<Option<Tensor<4>>> {
        let mut found = vec![None; names.len()];
        let off = &mut Probe::off();
        let to = self.conditions(timesteps, encoder_hidden_states, conditions.into(), sample.dtype(), off);
        self.walk(sample, &to, &mut |name, x| {
            for (found, wanted) in found.iter_mut().zip(names) {
                if wanted == name {
                    *found = Some(x.clone());
                }
            }
            if found.iter().all(Option::is_some) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }

    /// From the sample to what the last convolutions take, or to where `see` breaks off.
    fn walk(&self, sample: Tensor<4>, to: &Conditions, see: &mut See<'_>) -> Tensor<4> {
        let mut x = self.conv_in.forward(sample);
        if see("conv_in", &x).is_break() {
            return x;
        }
        let mut skips = vec![x.clone()];
        for (i, block) in self.down_blocks.iter().enumerate() {
            x = block.forward(x, to, &mut skips);
            if see(&format!("down_blocks.{i}"), &x).is_break() {
                return x;
            }
        }
        x = self.mid_block.forward(x, to);
        if see("mid_block", &x).is_break() {
            return x;
        }
        for (i, block) in self.up_blocks.iter().enumerate() {
            x = block.forward(x, to, &mut skips);
            if see(&format!("up_blocks.{i}"), &x).is_break() {
                return x;
            }
        }
        x
    }

    /// What every level receives.
    fn conditions(
        &self,
        timesteps: Tensor<1>,
        context: Tensor<3>,
        conditions: UnetConditions,
        dtype: DType,
        probe: &mut Probe,
    ) -> Conditions {
        let UnetConditions { added, guidance, mask } = conditions;
        let emb = self.embed(timesteps, guidance, added, dtype, probe);
        Conditions { emb, context, mask: mask.map(hidden), checkpointing: self.checkpointing }
    }

    /// The sum of all embeddings that every residual block receives, `[B, width]`, of the network's number type
    /// whatever that of the timesteps is.
    fn embed(
        &self,
        timesteps: Tensor<1>,
        guidance: Option<Tensor<1>>,
        added: Option<AddedConditions>,
        dtype: DType,
        probe: &mut Probe,
    ) -> Tensor<2> {
        let sinusoids = self.time_proj.embed(timesteps).cast(dtype);
        probe.see("time_proj", &sinusoids);
        let emb = match (self.guidance_channels, guidance) {
            (None, Some(_)) => {
                panic!("the configuration has no time_cond_proj_dim, so it takes no guidance scale")
            }
            (Some(channels), Some(scale)) => {
                let guidance = Sinusoids::embed_guidance(channels, scale.sub_scalar(1.0)).cast(dtype);
                self.time_embedding.forward_with(sinusoids, guidance)
            }
            (_, None) => self.time_embedding.forward(sinusoids),
        };
        probe.see("time_embedding", &emb);
        match (&self.class_embedding, &self.add_embedding, added) {
            (None, None, None) => emb,
            (Some(class_embedding), None, Some(AddedConditions::Pooled(pooled))) => {
                emb + class_embedding.forward(pooled)
            }
            (None, Some(add_embedding), Some(AddedConditions::TextTime { text_embeds, time_ids })) => {
                let [b, n] = time_ids.dims();
                let times = self.add_time_proj.embed(time_ids.reshape([b * n])).cast(dtype);
                probe.see("add_time_proj", &times);
                let times = times.reshape([b, n * self.add_time_proj.channels]);
                let added = add_embedding.forward(Tensor::cat(vec![text_embeds, times], 1));
                probe.see("add_embedding", &added);
                emb + added
            }
            (_, _, added) => panic!("the configuration asks for other added conditions than {added:?}"),
        }
    }
}

/// From a mask `[B, M]` with 1 where a key counts to attention's, `[B, 1, 1, M]` and true where it does not.
fn hidden(mask: Tensor<2>) -> Tensor<4, Bool> {
    mask.lower_elem(0.5).unsqueeze_dims(&[1, 2])
}

#[cfg(test)]
mod tests {
    use add_parameters::{Network, parameter_count};
    use burn::tensor::Device;

    use super::*;
    use crate::config::PerLevel;

    /// The released models' sizes, from their model cards: 859,520,964 for SD1.5, 865,910,724 for SD2.1 and
    /// 2,567,463,684 for SDXL.
    #[test]
    fn released_models_have_their_known_parameter_counts() {
        let count = |config: &UnetConfig| {
            parameter_count(&UNet2dCondition::new(config, &Init::new(0, &Device::flex())).expect("valid"))
        };
        let sd15 = UnetConfig { cross_attention_dim: PerLevel::All(768), ..UnetConfig::default() };
        assert_eq!(count(&sd15), 859_520_964);
        let sd21 = UnetConfig {
            cross_attention_dim: PerLevel::All(1024),
            attention_head_dim: PerLevel::Each(vec![5, 10, 20, 20]),
            use_linear_projection: true,
            ..UnetConfig::default()
        };
        assert_eq!(count(&sd21), 865_910_724);
        let sdxl = UnetConfig {
            block_out_channels: vec![320, 640, 1280],
            down_block_types: vec![
                DownBlockType::DownBlock2D,
                DownBlockType::CrossAttnDownBlock2D,
                DownBlockType::CrossAttnDownBlock2D,
            ],
            up_block_types: vec![
                UpBlockType::CrossAttnUpBlock2D,
                UpBlockType::CrossAttnUpBlock2D,
                UpBlockType::UpBlock2D,
            ],
            cross_attention_dim: PerLevel::All(2048),
            transformer_layers_per_block: PerLevel::Each(vec![1, 2, 10]),
            attention_head_dim: PerLevel::Each(vec![5, 10, 20]),
            addition_embed_type: Some(AdditionEmbedType::TextTime),
            addition_time_embed_dim: Some(256),
            projection_class_embeddings_input_dim: Some(2816),
            ..sd21
        };
        assert_eq!(count(&sdxl), 2_567_463_684);
    }

    fn small() -> UnetConfig {
        UnetConfig {
            block_out_channels: vec![8, 16],
            down_block_types: vec![DownBlockType::DownBlock2D, DownBlockType::CrossAttnDownBlock2D],
            up_block_types: vec![UpBlockType::CrossAttnUpBlock2D, UpBlockType::UpBlock2D],
            layers_per_block: PerLevel::All(1),
            norm_num_groups: 4,
            cross_attention_dim: PerLevel::All(6),
            attention_head_dim: PerLevel::All(2),
            class_embed_type: Some(ClassEmbedType::Projection),
            projection_class_embeddings_input_dim: Some(5),
            ..UnetConfig::default()
        }
    }

    #[test]
    fn blocks_that_are_computed_again_have_the_same_gradients() {
        let device = Device::flex();
        let net = UNet2dCondition::new(&small(), &Init::new(0, &device.clone().autodiff())).expect("valid");
        let ramp = |shape: [usize; 4]| {
            let count = shape.iter().product::<usize>() as i64;
            (Tensor::<1, burn::tensor::Int>::arange(0..count, &device).float() * 0.7).sin().reshape(shape)
        };
        let gradients = |kept| {
            let net = net.clone().with_checkpointing(kept);
            let x = ramp([2, 4, 6, 4]).autodiff().require_grad();
            let text = ramp([2, 3, 6, 1]).reshape([2, 3, 6]);
            let added = Some(AddedConditions::Pooled(ramp([2, 5, 1, 1]).reshape([2, 5])));
            let y = net.forward(x.clone(), Tensor::from_floats([3.0, 900.0], &device), text, added);
            let mut gradients = (y * ramp([2, 4, 6, 4])).sum().backward();
            let mut found = net.take_gradients(&mut gradients);
            found.insert("x".to_owned(), x.grad(&gradients).expect("a gradient").flatten(0, 3));
            found
        };
        let (kept, again) = (gradients(Checkpointing::Off), gradients(Checkpointing::Blocks));
        assert!(kept.len() > 100 && kept.keys().eq(again.keys()), "{} and {}", kept.len(), again.len());
        for (name, kept) in kept {
            let scale = kept.clone().abs().max().into_scalar::<f32>() + 1e-3;
            let difference = (kept - again[&name].clone()).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-5 * scale, "{name}: {difference} of {scale}");
        }
    }

    #[test]
    fn a_small_net_takes_a_pooled_vector_and_keeps_the_size() {
        let device = Device::flex();
        let net = UNet2dCondition::new(&small(), &Init::new(0, &device)).expect("valid");
        let predict = |pooled: f32| {
            let pooled = Tensor::full([2, 5], pooled, &device);
            let [x, t, text] = [
                Tensor::ones([2, 4, 6, 4], &device),
                Tensor::ones([2, 1, 1, 1], &device),
                Tensor::ones([2, 3, 6, 1], &device),
            ];
            let added = Some(AddedConditions::Pooled(pooled));
            net.forward(x, t.reshape([2]), text.reshape([2, 3, 6]), added)
        };
        let change = (predict(1.0) - predict(0.0)).abs().max().into_scalar::<f32>();
        assert_eq!(predict(0.0).dims(), [2, 4, 6, 4]);
        assert!(change > 1e-4, "the pooled vector changes the prediction by {change}");
    }

    #[test]
    fn an_unsupported_option_is_refused_by_name() {
        let mut config = UnetConfig::default();
        config.other.insert("dual_cross_attention".to_owned(), true.into());
        let error = UNet2dCondition::new(&config, &Init::new(0, &Device::flex())).expect_err("unsupported");
        assert_eq!(error.field, "dual_cross_attention");
    }
}
