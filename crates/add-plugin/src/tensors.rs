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

/// One timestep per sample, in units of training steps: `0` is almost clean, `steps - 1` almost (or wholly) noise.
///
/// They are real numbers, since a schedule has levels between two of its training steps
/// ([`NoiseSchedule`](crate::NoiseSchedule)); training itself mostly draws whole ones. They live on the host, since they
/// come from the recipe's seed and index host tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Timesteps(pub Vec<f64>);

impl Timesteps {
    /// Whole timesteps.
    pub fn whole(t: impl IntoIterator<Item = usize>) -> Self {
        Self(t.into_iter().map(|t| t as f64).collect())
    }

    /// The same timestep for each of `batch` samples.
    pub fn same(t: f64, batch: usize) -> Self {
        Self(vec![t; batch])
    }

    /// As a float tensor `[B]` for a network's timestep embedding.
    pub fn to_tensor(&self, device: &Device, dtype: DType) -> Tensor<1> {
        Tensor::from_data(TensorData::new(self.0.clone(), [self.0.len()]), (device, dtype))
    }
}

/// One number per sample as `[B, 1, 1, 1]`, on the device and in the number type of `like`.
pub fn per_sample(values: &[f64], like: &Tensor<4>) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}
