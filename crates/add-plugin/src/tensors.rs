//! Newtypes where a mix-up would train silently.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Pictures `[B, 3, H, W]`, values in `[-1, 1]`.
#[derive(Debug, Clone)]
pub struct Pixels(pub Tensor<4>);

/// What the diffusion runs on `[B, C, H, W]`: the codec's scaled latents, or pixels under `Identity`.
#[derive(Debug, Clone)]
pub struct Latents(pub Tensor<4>);

/// A discriminator head's logits `[B, N]`, one per token.
#[derive(Debug, Clone)]
pub struct Logits(pub Tensor<2>);

/// One training timestep per sample, 0-based: `0` is almost clean, `steps - 1` almost (or wholly) noise.
///
/// They live on the host, since they come from the recipe's seed and index host tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timesteps(pub Vec<usize>);

impl Timesteps {
    /// The same timestep for each of `batch` samples.
    pub fn same(t: usize, batch: usize) -> Self {
        Self(vec![t; batch])
    }

    /// As a float tensor `[B]` for a network's timestep embedding.
    pub fn to_tensor(&self, device: &Device, dtype: DType) -> Tensor<1> {
        let values: Vec<f64> = self.0.iter().map(|&t| t as f64).collect();
        Tensor::from_data(TensorData::new(values, [self.0.len()]), (device, dtype))
    }
}

/// One number per sample as `[B, 1, 1, 1]`, on the device and in the number type of `like`.
pub fn per_sample(values: &[f64], like: &Tensor<4>) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}
