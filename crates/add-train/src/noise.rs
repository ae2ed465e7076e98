//! Noise that is drawn by a picture's index.

use add_plugin::{Draw, Purpose};
use burn::tensor::{Device, Tensor, TensorData};

/// Standard normal noise; row `b` depends on its global index `first + b` alone, not on the batch around it.
pub fn normal(
    seed: u64,
    step: u64,
    first: u64,
    purpose: Purpose,
    shape: [usize; 4],
    device: &Device,
) -> Tensor<4> {
    let [batch, c, h, w] = shape;
    let rows =
        (0..batch as u64).flat_map(|b| Draw { seed, step, index: first + b }.normal(purpose, c * h * w));
    Tensor::from_data(TensorData::new(rows.collect::<Vec<f32>>(), shape), device)
}
