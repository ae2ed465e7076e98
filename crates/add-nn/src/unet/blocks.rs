//! The levels of the U-Net: down, middle and up.

use add_kernels::Checkpointing;
use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};

use super::{
    config::UnetConfig,
    resnet::{Downsample, NormOptions, ResnetBlock, Upsample},
    transformer::{SpatialTransformer, TransformerOptions},
};
use crate::layers::Init;

/// What every level needs from outside: timestep embedding `[B, width]`, text states `[B, M, C_context]` and which of
/// them are hidden `[B, 1, 1, M]`; and what it keeps for the backward pass.
pub(super) struct Conditions {
    pub(super) emb: Tensor<2>,
    pub(super) context: Tensor<3>,
    pub(super) mask: Option<Tensor<4, Bool>>,
    pub(super) checkpointing: Checkpointing,
}

impl Conditions {
    fn through(&self, resnet: &ResnetBlock, x: Tensor<4>) -> Tensor<4> {
        self.checkpointing.binary(resnet, x, self.emb.clone(), ResnetBlock::forward_in_time)
    }
}

/// Builds the parts of level `i` (0 = finest).
struct Level<'a> {
    config: &'a UnetConfig,
    i: usize,
}

impl Level<'_> {
    fn resnet(&self, c_in: usize, init: &Init) -> ResnetBlock {
        let norm = NormOptions { groups: self.config.norm_num_groups, eps: self.config.norm_eps };
        ResnetBlock::with_time(c_in, self.channels(), self.config.time_embed_dim(), norm, init)
    }

    fn transformer(&self, init: &Init) -> SpatialTransformer {
        let options = TransformerOptions {
            channels: self.channels(),
            heads: self.config.attention_head_dim.at(self.i),
            depth: self.config.transformer_layers_per_block.at(self.i),
            context: self.config.cross_attention_dim.at(self.i),
            groups: self.config.norm_num_groups,
            linear_projection: self.config.use_linear_projection,
        };
        SpatialTransformer::new(options, init)
    }

    fn channels(&self) -> usize {
        self.config.block_out_channels[self.i]
    }
}

/// Residual blocks with or without transformers, then halving unless it is the coarsest level.
#[derive(Module, Debug)]
pub(super) struct DownBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<SpatialTransformer>,
    downsamplers: Vec<Downsample>,
}

impl DownBlock {
    pub(super) fn new(config: &UnetConfig, i: usize, init: &Init) -> Self {
        let level = Level { config, i };
        let c_in = config.block_out_channels[i.saturating_sub(1)];
        let layers = config.layers_per_block.at(i);
        let attending = if config.attends(i).0 { layers } else { 0 };
        let down = usize::from(i + 1 < config.levels());
        let resnet =
            |j| level.resnet(if j == 0 { c_in } else { level.channels() }, &init.at("resnets").at(j));
        let downsample =
            |j| Downsample::new(level.channels(), config.downsample_padding, &init.at("downsamplers").at(j));
        Self {
            resnets: (0..layers).map(resnet).collect(),
            attentions: (0..attending).map(|j| level.transformer(&init.at("attentions").at(j))).collect(),
            downsamplers: (0..down).map(downsample).collect(),
        }
    }

    /// Pushes the state after every layer onto `skips`.
    pub(super) fn forward(&self, mut x: Tensor<4>, to: &Conditions, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (j, resnet) in self.resnets.iter().enumerate() {
            x = to.through(resnet, x);
            if let Some(attention) = self.attentions.get(j) {
                x = attention.forward(x, &to.context, to.mask.as_ref(), to.checkpointing);
            }
            skips.push(x.clone());
        }
        for downsample in &self.downsamplers {
            x = downsample.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

/// Residual block, transformer, residual block at the coarsest level.
#[derive(Module, Debug)]
pub(super) struct MidBlock {
    attentions: [SpatialTransformer; 1],
    resnets: [ResnetBlock; 2],
}

impl MidBlock {
    pub(super) fn new(config: &UnetConfig, init: &Init) -> Self {
        let level = Level { config, i: config.levels() - 1 };
        Self {
            attentions: [level.transformer(&init.at("attentions.0"))],
            resnets: [0, 1].map(|j| level.resnet(level.channels(), &init.at("resnets").at(j))),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>, to: &Conditions) -> Tensor<4> {
        let x = to.through(&self.resnets[0], x);
        let x = self.attentions[0].forward(x, &to.context, to.mask.as_ref(), to.checkpointing);
        to.through(&self.resnets[1], x)
    }
}

/// Residual blocks on the state joined with its skip, then enlargement unless it is the finest level.
#[derive(Module, Debug)]
pub(super) struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<SpatialTransformer>,
    upsamplers: Vec<Upsample>,
}

impl UpBlock {
    /// `i` counts from the finest level, `init` stands at `up_blocks.(levels - 1 - i)`.
    pub(super) fn new(config: &UnetConfig, i: usize, init: &Init) -> Self {
        let level = Level { config, i };
        let layers = config.layers_per_block.at(i) + 1;
        let attending = if config.attends(i).1 { layers } else { 0 };
        let up = usize::from(i > 0);
        // The first layer continues the coarser level; the last skip was made by the finer one.
        let coarser = config.block_out_channels[(i + 1).min(config.levels() - 1)];
        let finer = config.block_out_channels[i.saturating_sub(1)];
        let resnet = |j| {
            let from = if j == 0 { coarser } else { level.channels() };
            let skip = if j + 1 == layers { finer } else { level.channels() };
            level.resnet(from + skip, &init.at("resnets").at(j))
        };
        Self {
            resnets: (0..layers).map(resnet).collect(),
            attentions: (0..attending).map(|j| level.transformer(&init.at("attentions").at(j))).collect(),
            upsamplers: (0..up)
                .map(|j| Upsample::new(level.channels(), &init.at("upsamplers").at(j)))
                .collect(),
        }
    }

    /// Takes one of `skips` for every layer.
    pub(super) fn forward(&self, mut x: Tensor<4>, to: &Conditions, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (j, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down pushed one skip for each layer");
            x = to.through(resnet, Tensor::cat(vec![x, skip], 1));
            if let Some(attention) = self.attentions.get(j) {
                x = attention.forward(x, &to.context, to.mask.as_ref(), to.checkpointing);
            }
        }
        for upsample in &self.upsamplers {
            // The next skip's size, which is not twice this one where the way down rounded up.
            let [_, _, h, w] = skips.last().expect("a finer level follows").dims();
            x = upsample.forward(x, [h, w]);
        }
        x
    }
}
