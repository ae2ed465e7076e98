//! Operations where Burn's CPU path or its autodiff falls short.
//!
//! Each is one function over plain tensors, and one file. On the `flex` CPU device it runs a kernel of ours with its own
//! backward pass, which computes in f32 and reads and writes f32 and bf16; on every other device and number type it runs the
//! same formula as pure Burn operations. Property tests hold the two to the same numbers. The output has the type of the first
//! input; weights may have another.
//!
//! How exact they are is held to PyTorch: add-parity's `tests/kernels.rs` compares the errors of both in f32.

#![allow(unsafe_code, reason = "vector instructions, and memory that is written by several threads")]
#![allow(unsafe_op_in_unsafe_fn, reason = "the bodies are nothing but pointer arithmetic and intrinsics")]
#![allow(
    clippy::inline_always,
    reason = "a function that is not inlined into `simd::dispatch` loses its instruction set"
)]
#![allow(clippy::too_many_arguments, reason = "a matrix is a pointer and its strides")]
#![allow(
    clippy::needless_range_loop,
    reason = "indices known to the compiler are what keeps a tile in registers"
)]

mod activation;
mod adamw;
mod add;
mod attention;
mod checkpoint;
mod conv2d;
mod environment;
mod geglu;
mod group_norm;
mod half;
mod layer_norm;
mod linear;
mod memory;
mod nearest;
mod parallel;
mod product;
mod resize;
mod simd;
mod tape;
#[cfg(test)]
mod testing;

pub use activation::{gelu, quick_gelu, relu, relu6, silu};
pub use adamw::{AdamWStep, adamw_step, ema_lerp};
pub use add::add;
pub use attention::attention;
pub use checkpoint::Checkpointing;
pub use conv2d::{ConvGeometry, allow_winograd, conv2d, winograd_is_allowed};
pub use environment::keep_gpus_in_their_order;
pub use geglu::{geglu, linear_geglu};
pub use group_norm::{group_norm, group_norm_silu};
pub use half::{as_type, wide_type, widened};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use memory::{keep_free_memory, peak_resident, reset_peak_resident};
pub use nearest::resize_nearest;
pub use parallel::compute_on_this_thread;
pub use product::{allow_bf16_products, bf16_products, computes_bf16_products};
pub use resize::{Filter, resize, separable};

/// The same operations by pure Burn operations, for tests and timing.
#[doc(hidden)]
pub mod reference {
    pub use crate::adamw::adamw_step_reference as adamw_step;
    pub use crate::attention::attention_reference as attention;
    pub use crate::conv2d::conv2d_reference as conv2d;
    pub use crate::geglu::geglu_reference as geglu;
    pub use crate::group_norm::{
        group_norm_reference as group_norm, group_norm_silu_reference as group_norm_silu,
    };
    pub use crate::layer_norm::layer_norm_reference as layer_norm;
    pub use crate::linear::linear_reference as linear;
    pub use crate::nearest::resize_nearest_reference as resize_nearest;
}
