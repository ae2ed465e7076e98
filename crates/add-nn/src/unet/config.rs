//! `config.json` of diffusers' `UNet2DConditionModel`, as far as the released Stable Diffusion models use it.
//!
//! `attention_head_dim` is the **number** of heads, despite its name (8 in SD1.5, not a width of 8): a known
//! misnomer that diffusers keeps for the sake of the published files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{ConfigError, PerLevel, require};

/// Shape and options of a [`UNet2dCondition`](super::UNet2dCondition). Reads diffusers' `config.json`;
/// defaults are those of diffusers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnetConfig {
    /// Channels of the noised sample.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Channels of each level, from the finest to the coarsest.
    pub block_out_channels: Vec<usize>,
    /// `DownBlock2D` or `CrossAttnDownBlock2D` for each level, from the finest.
    pub down_block_types: Vec<DownBlockType>,
    /// `UpBlock2D` or `CrossAttnUpBlock2D` for each level, from the coarsest.
    pub up_block_types: Vec<UpBlockType>,
    /// Residual blocks of each level; the way up has one more.
    pub layers_per_block: PerLevel,
    /// Padding of the strided convolutions between levels.
    pub downsample_padding: usize,
    /// Groups of every group normalisation.
    pub norm_num_groups: usize,
    /// Added to the variance in the residual blocks' normalisations.
    pub norm_eps: f64,
    /// Width of the text states.
    pub cross_attention_dim: PerLevel,
    /// Transformer blocks in each spatial transformer of a level.
    pub transformer_layers_per_block: PerLevel,
    /// Number of attention heads of each level.
    pub attention_head_dim: PerLevel,
    /// Whether a transformer's input and output projections are stored as matrices or as 1x1 convolutions.
    pub use_linear_projection: bool,
    /// Cosine before sine in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the timestep embedding.
    pub freq_shift: f64,
    /// A second vector that is added to the timestep embedding.
    pub class_embed_type: Option<ClassEmbedType>,
    /// SDXL's additional conditions.
    pub addition_embed_type: Option<AdditionEmbedType>,
    /// Width of the sinusoidal embedding of each of SDXL's six size numbers.
    pub addition_time_embed_dim: Option<usize>,
    /// Width of the vector that `class_embed_type` or `addition_embed_type` projects.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// Width of the embedding of the guidance scale, for a network that is told it instead of being guided; even. Meng et
    /// al. 2023; Luo et al. 2023 (LCM) have 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_cond_proj_dim: Option<usize>,
    /// All other fields of the file: informative, or checked to hold the only supported value.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A level on the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks.
    DownBlock2D,
    /// Residual blocks, each followed by a spatial transformer.
    CrossAttnDownBlock2D,
}

/// A level on the way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks.
    UpBlock2D,
    /// Residual blocks, each followed by a spatial transformer.
    CrossAttnUpBlock2D,
}

/// How a vector of the user joins the timestep embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedType {
    /// Two linear layers with a `SiLU` between them.
    Projection,
}

/// What SDXL adds to the timestep embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdditionEmbedType {
    /// The pooled text embedding and six numbers on size and crop.
    TextTime,
}

impl Default for UnetConfig {
    fn default() -> Self {
        use DownBlockType::{CrossAttnDownBlock2D as CrossDown, DownBlock2D as Down};
        use UpBlockType::{CrossAttnUpBlock2D as CrossUp, UpBlock2D as Up};
        Self {
            in_channels: 4,
            out_channels: 4,
            block_out_channels: vec![320, 640, 1280, 1280],
            down_block_types: vec![CrossDown, CrossDown, CrossDown, Down],
            up_block_types: vec![Up, CrossUp, CrossUp, CrossUp],
            layers_per_block: PerLevel::All(2),
            downsample_padding: 1,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: PerLevel::All(1280),
            transformer_layers_per_block: PerLevel::All(1),
            attention_head_dim: PerLevel::All(8),
            use_linear_projection: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            class_embed_type: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_cond_proj_dim: None,
            other: BTreeMap::new(),
        }
    }
}

/// Options that every released model leaves at this value, and that the network therefore does not have.
const ONLY: [(&str, &str); 27] = [
    ("act_fn", "\"silu\""),
    ("attention_type", "\"default\""),
    ("center_input_sample", "false"),
    ("class_embeddings_concat", "false"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("cross_attention_norm", "null"),
    ("dropout", "0"),
    ("dual_cross_attention", "false"),
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("mid_block_only_cross_attention", "false"),
    ("mid_block_scale_factor", "1"),
    ("mid_block_type", "\"UNetMidBlock2DCrossAttn\""),
    ("num_attention_heads", "null"),
    ("num_class_embeds", "null"),
    ("only_cross_attention", "false"),
    ("resnet_out_scale_factor", "1"),
    ("resnet_skip_time_act", "false"),
    ("resnet_time_scale_shift", "\"default\""),
    ("reverse_transformer_layers_per_block", "null"),
    ("time_embedding_act_fn", "null"),
    ("time_embedding_dim", "null"),
    ("time_embedding_type", "\"positional\""),
    ("timestep_post_act", "null"),
    ("transformer_layers_per_mid_block", "null"),
    ("attention_bias", "false"),
];

impl UnetConfig {
    /// Stable Diffusion 1.5, as its published `unet/config.json`. Rombach et al. 2022.
    pub fn sd15() -> Self {
        Self { cross_attention_dim: PerLevel::All(768), ..Self::default() }
    }

    /// Stable Diffusion 2.1 and SD-Turbo, as their published `unet/config.json`.
    pub fn sd21() -> Self {
        Self {
            cross_attention_dim: PerLevel::All(1024),
            attention_head_dim: PerLevel::Each(vec![5, 10, 20, 20]),
            use_linear_projection: true,
            ..Self::default()
        }
    }

    /// Stable Diffusion XL and SDXL-Turbo, as their published `unet/config.json`. Podell et al. 2023.
    pub fn sdxl() -> Self {
        use DownBlockType::{CrossAttnDownBlock2D as CrossDown, DownBlock2D as Down};
        use UpBlockType::{CrossAttnUpBlock2D as CrossUp, UpBlock2D as Up};
        Self {
            block_out_channels: vec![320, 640, 1280],
            down_block_types: vec![Down, CrossDown, CrossDown],
            up_block_types: vec![CrossUp, CrossUp, Up],
            cross_attention_dim: PerLevel::All(2048),
            transformer_layers_per_block: PerLevel::Each(vec![1, 2, 10]),
            attention_head_dim: PerLevel::Each(vec![5, 10, 20]),
            use_linear_projection: true,
            addition_embed_type: Some(AdditionEmbedType::TextTime),
            addition_time_embed_dim: Some(256),
            projection_class_embeddings_input_dim: Some(2816),
            ..Self::default()
        }
    }

    /// The parts whose states [`UNet2dCondition::features`](super::UNet2dCondition::features) gives, in the order in which
    /// they are computed, with the channels of each.
    pub fn blocks(&self) -> Vec<(String, usize)> {
        let channels = &self.block_out_channels;
        let down = channels.iter().enumerate().map(|(i, &channels)| (format!("down_blocks.{i}"), channels));
        let middle = channels.last().map(|&channels| ("mid_block".to_owned(), channels));
        let up = channels.iter().rev().enumerate().map(|(i, &channels)| (format!("up_blocks.{i}"), channels));
        down.chain(middle).chain(up).collect()
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Width of the timestep embedding.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    /// Whether level `i` (0 = finest) attends to the text on the way down and up.
    pub(super) fn attends(&self, i: usize) -> (bool, bool) {
        let down = self.down_block_types[i] == DownBlockType::CrossAttnDownBlock2D;
        let up = self.up_block_types[self.levels() - 1 - i] == UpBlockType::CrossAttnUpBlock2D;
        (down, up)
    }

    /// Checks that a network can be built.
    ///
    /// # Errors
    /// Names the first field whose value does not fit the others or is not supported.
    pub fn check(&self) -> Result<(), ConfigError> {
        crate::config::check_only(&self.other, &ONLY)?;
        let levels = self.levels();
        require(levels > 0, "block_out_channels", "at least one level", "none")?;
        let count = |field, len: usize| require(len == levels, field, format!("{levels} entries"), len);
        count("down_block_types", self.down_block_types.len())?;
        count("up_block_types", self.up_block_types.len())?;
        for (field, values) in [
            ("layers_per_block", &self.layers_per_block),
            ("cross_attention_dim", &self.cross_attention_dim),
            ("transformer_layers_per_block", &self.transformer_layers_per_block),
            ("attention_head_dim", &self.attention_head_dim),
        ] {
            values.check(field, levels)?;
        }
        for channels in [self.in_channels, self.out_channels, self.norm_num_groups] {
            require(
                channels > 0,
                "in_channels, out_channels, norm_num_groups",
                "positive numbers",
                channels,
            )?;
        }
        let even = self.block_out_channels[0].is_multiple_of(2);
        require(even, "block_out_channels", "an even first entry", self.block_out_channels[0])?;
        for (i, &channels) in self.block_out_channels.iter().enumerate() {
            let grouped = channels > 0 && channels.is_multiple_of(self.norm_num_groups);
            let groups = format!("multiples of norm_num_groups = {}", self.norm_num_groups);
            require(grouped, "block_out_channels", groups, channels)?;
            let (down, up) = self.attends(i);
            let heads = self.attention_head_dim.at(i);
            if down || up || i + 1 == levels {
                let divides = channels.is_multiple_of(heads);
                require(
                    divides,
                    "attention_head_dim",
                    format!("heads that divide {channels} channels"),
                    heads,
                )?;
            }
        }
        self.check_conditions()
    }

    fn check_conditions(&self) -> Result<(), ConfigError> {
        if let Some(width) = self.time_cond_proj_dim {
            let usable = width > 2 && width.is_multiple_of(2);
            require(usable, "time_cond_proj_dim", "an even number from 4 on", width)?;
        }
        let width = self.projection_class_embeddings_input_dim;
        if self.class_embed_type.is_some() || self.addition_embed_type.is_some() {
            let field = "projection_class_embeddings_input_dim";
            require(width.is_some_and(|w| w > 0), field, "a positive number", format!("{width:?}"))?;
        }
        if self.addition_embed_type.is_some() {
            let each = self.addition_time_embed_dim.unwrap_or(0);
            let fits = each > 0 && each.is_multiple_of(2) && width.is_some_and(|w| w > 6 * each);
            let expected = "an even number below a sixth of projection_class_embeddings_input_dim";
            require(fits, "addition_time_embed_dim", expected, each)?;
        }
        Ok(())
    }
}
