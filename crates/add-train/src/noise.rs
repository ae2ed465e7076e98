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
    let rows: Vec<Draw> = (0..shape[0] as u64).map(|b| Draw { seed, step, index: first + b }).collect();
    normal_of(&rows, purpose, shape, device)
}

/// Standard normal noise `[B, C, H, W]` of which each row has a key of its own; `shape` states as many rows as there are keys.
pub fn normal_of(rows: &[Draw], purpose: Purpose, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let [_, c, h, w] = shape;
    let values = rows.iter().flat_map(|draw| draw.normal(purpose, c * h * w));
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
}
