//! The single files of Stable Diffusion: all networks in one, under the names of the original training code.
//!
//! Rombach et al. 2022. The layers are numbered in the order of their execution, where diffusers names them by level:
//! `down_blocks.1.resnets.0` is `input_blocks.4.0`. `model.diffusion_model.*` is the U-Net, `first_stage_model.*` the
//! autoencoder, `cond_stage_model.*` or `conditioner.embedders.*` the text encoders.

use add_nn::{
    autoencoder_kl::AutoencoderKlConfig,
    unet::{UnetConfig, UpBlockType},
};
use serde_json::Value;

use super::{replaced, whole};
use crate::source::Source;

/// Residual blocks of a level on the way down, in every released model.
const LAYERS: usize = 2;

/// Prefix of the U-Net.
pub const UNET: &str = "model.diffusion_model.";
/// What the U-Net's names may begin with: in a single file, in a file of the denoiser alone as training code saves it, and
/// without any prefix.
pub const UNETS: [&str; 3] = [UNET, "diffusion_model.", ""];
/// Prefix of the autoencoder.
pub const AUTOENCODER: &str = "first_stage_model.";
/// Prefix of SD1's text encoder, in transformers' names.
pub const TEXT_SD1: &str = "cond_stage_model.transformer.";
/// Prefix of SD2's text encoder, in `open_clip`'s names.
pub const TEXT_SD2: &str = "cond_stage_model.model.";
/// Prefix of SDXL's first text encoder, in transformers' names.
pub const TEXT_SDXL_1: &str = "conditioner.embedders.0.transformer.";
/// Prefix of SDXL's second text encoder, in `open_clip`'s names.
pub const TEXT_SDXL_2: &str = "conditioner.embedders.1.model.";

/// The U-Net, behind [`UNET`]. Every level must have two residual blocks on the way down, as in all released models.
pub fn unet(config: &UnetConfig, name: &str) -> Source {
    let each = LAYERS + 1;
    let (place, rest) = match *name.splitn(5, '.').collect::<Vec<_>>().as_slice() {
        ["down_blocks", i, part, j, rest] => {
            let (i, j) = (number(i), number(j));
            match part {
                "resnets" => (format!("input_blocks.{}.0", i * each + j + 1), resnet(rest)),
                "attentions" => (format!("input_blocks.{}.1", i * each + j + 1), rest.to_owned()),
                _ => (format!("input_blocks.{}.0", (i + 1) * each), rest.replacen("conv", "op", 1)),
            }
        }
        ["up_blocks", i, part, j, rest] => {
            let (i, j) = (number(i), number(j));
            match part {
                "resnets" => (format!("output_blocks.{}.0", i * each + j), resnet(rest)),
                "attentions" => (format!("output_blocks.{}.1", i * each + j), rest.to_owned()),
                _ => {
                    let attends = config.up_block_types.get(i) == Some(&UpBlockType::CrossAttnUpBlock2D);
                    (
                        format!("output_blocks.{}.{}", i * each + LAYERS, 1 + usize::from(attends)),
                        rest.to_owned(),
                    )
                }
            }
        }
        ["mid_block", "resnets", j, first, second] => {
            (format!("middle_block.{}", 2 * number(j)), resnet(&format!("{first}.{second}")))
        }
        ["mid_block", "attentions", _, first, rest] => {
            ("middle_block.1".to_owned(), format!("{first}.{rest}"))
        }
        _ => {
            let pairs = [
                ("conv_in", "input_blocks.0.0"),
                ("time_embedding.linear_1", "time_embed.0"),
                ("time_embedding.linear_2", "time_embed.2"),
                ("add_embedding.linear_1", "label_emb.0.0"),
                ("add_embedding.linear_2", "label_emb.0.2"),
                ("conv_norm_out", "out.0"),
                ("conv_out", "out.2"),
            ];
            return whole(replaced(name, &pairs));
        }
    };
    whole(format!("{place}.{rest}"))
}

/// [`unet`] of the network that diffusers' `config.json` describes.
///
/// # Errors
/// When it describes none.
pub fn unet_of(config: Value) -> serde_json::Result<impl Fn(&str) -> Source> {
    let config: UnetConfig = serde_json::from_value(config)?;
    if config.time_cond_proj_dim.is_some() {
        return Err(serde::de::Error::custom(
            "its naming has no place for the embedding of a guidance scale",
        ));
    }
    Ok(move |name: &str| unet(&config, name))
}

/// [`autoencoder_kl`] of the network that diffusers' `config.json` describes.
///
/// # Errors
/// When it describes none.
pub fn autoencoder_kl_of(config: Value) -> serde_json::Result<impl Fn(&str) -> Source> {
    let config: AutoencoderKlConfig = serde_json::from_value(config)?;
    let levels = config.block_out_channels.len();
    Ok(move |name: &str| autoencoder_kl(levels, name))
}

fn resnet(rest: &str) -> String {
    let pairs = [
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("time_emb_proj", "emb_layers.1"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("conv_shortcut", "skip_connection"),
    ];
    replaced(rest, &pairs)
}

/// The autoencoder of `levels` levels, behind [`AUTOENCODER`], numbered from the finest in both directions.
pub fn autoencoder_kl(levels: usize, name: &str) -> Source {
    let parts = name.split('.').collect::<Vec<_>>();
    let name = match parts.as_slice() {
        [side, blocks @ ("down_blocks" | "up_blocks"), i, part, j, rest @ ..] => {
            let (way, i) = match *blocks {
                "down_blocks" => ("down", number(i)),
                _ => ("up", (levels - 1).saturating_sub(number(i))),
            };
            let part = match *part {
                "resnets" => format!("block.{j}"),
                "downsamplers" => "downsample".to_owned(),
                _ => "upsample".to_owned(),
            };
            format!("{side}.{way}.{i}.{part}.{}", rest.join("."))
        }
        [side, "mid_block", "resnets", j, rest @ ..] => {
            format!("{side}.mid.block_{}.{}", number(j) + 1, rest.join("."))
        }
        [side, "mid_block", "attentions", _, rest @ ..] => {
            let pairs = [
                ("group_norm.", "norm."),
                ("to_q.", "q."),
                ("to_k.", "k."),
                ("to_v.", "v."),
                ("to_out.0.", "proj_out."),
            ];
            format!("{side}.mid.attn_1.{}", replaced(&rest.join("."), &pairs))
        }
        _ => name.replace("conv_norm_out", "norm_out"),
    };
    whole(name.replace("conv_shortcut", "nin_shortcut"))
}

/// Names come from our own networks, whose list positions are numbers.
fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use add_nn::{
        autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
        layers::Init,
        unet::UNet2dCondition,
    };
    use add_parameters::Network;
    use burn::tensor::Device;

    use super::*;

    fn names(module: &dyn Network, source: impl Fn(&str) -> Source) -> BTreeSet<String> {
        let (mut names, mut count) = (BTreeSet::new(), 0);
        module.for_each_shape(&mut |name, _| {
            let Source::Whole(name) = source(name) else { panic!("{name} is not whole") };
            names.insert(name);
            count += 1;
        });
        assert_eq!(names.len(), count, "every parameter has its own place");
        names
    }

    /// A few of the names that the published `v1-5-pruned` file holds, from each kind of place.
    #[test]
    fn stable_diffusion_1_5_has_its_published_names() {
        let config = UnetConfig::default();
        let net = UNet2dCondition::new(&config, &Init::new(0, &Device::flex())).expect("valid");
        let found = names(&net, |name| unet(&config, name));
        assert_eq!(found.len(), 686);
        for name in [
            "time_embed.2.bias",
            "input_blocks.0.0.weight",
            "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.bias",
            "input_blocks.3.0.op.weight",
            "input_blocks.4.0.skip_connection.weight",
            "input_blocks.11.0.emb_layers.1.weight",
            "middle_block.1.proj_in.weight",
            "middle_block.2.out_layers.3.weight",
            "output_blocks.2.1.conv.weight",
            "output_blocks.5.2.conv.weight",
            "output_blocks.11.1.norm.weight",
            "out.2.bias",
        ] {
            assert!(found.contains(name), "{name}");
        }
    }

    #[test]
    fn the_autoencoder_has_its_published_names() {
        let config = AutoencoderKlConfig::default();
        let net = AutoencoderKl::new(&config, &Init::new(0, &Device::flex())).expect("valid");
        let found = names(&net, |name| autoencoder_kl(4, name));
        assert_eq!(found.len(), 248);
        for name in [
            "encoder.down.0.downsample.conv.weight",
            "encoder.down.2.block.0.nin_shortcut.weight",
            "encoder.mid.attn_1.proj_out.weight",
            "encoder.norm_out.bias",
            "decoder.up.3.upsample.conv.bias",
            "decoder.up.0.block.2.conv2.weight",
            "decoder.mid.block_2.norm1.weight",
            "post_quant_conv.weight",
        ] {
            assert!(found.contains(name), "{name}");
        }
    }
}
