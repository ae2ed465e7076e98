//! The layers that the networks share: modules that own weights in `PyTorch`'s layout and call `add-kernels`.

mod attention;
mod conv2d;
mod conv_norm;
mod encoder;
mod init;
mod linear;
mod lora;
mod norm;

pub use add_kernels::{Checkpointing, ConvGeometry};
pub use attention::{Attention, join_heads, split_heads};
pub use conv_norm::ConvNorm;
pub use conv2d::Conv2d;
pub use encoder::{Activation, EncoderLayer, EncoderOptions};
pub use init::{Init, stream_of, unit};
pub use linear::{Embedding, Linear};
pub use lora::Lora;
pub use norm::{GroupNorm, LayerNorm};
