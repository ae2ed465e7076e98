//! The networks: UNet2DCondition, autoencoders, CLIP, ViT, MobileNetV2, InceptionV3.
//!
//! Every network is a Burn [`Module`](burn::module::Module) whose parameters carry the names and the layout of the
//! released checkpoints ([`add_parameters`]), built from a configuration in the checkpoint's own format and from a seed
//! ([`layers::Init`]). A network on a plain device is frozen: its weights are constants, and gradients flow
//! through it to its input.

pub mod autoencoder_kl;
pub mod autoencoder_mini;
pub mod autoencoder_tiny;
pub mod clip_text;
pub mod config;
pub mod inception_v3;
pub mod layers;
pub mod mobilenet_v2;
pub mod open_clip;
pub mod probe;
pub mod unet;
pub mod vit;
