//! What is there before the first step of a sampler, and what of it stays.

use add_plugin::{Estimate, Pixels, Start, Timesteps};
use add_train::process::Process;
use burn::tensor::Tensor;

/// What pictures are made from, beside their captions; by default noise alone.
#[derive(Debug, Clone, Default)]
pub struct Beginning {
    /// Noise, or the latents of a picture under it, a batch of one.
    pub start: Start,
    /// Standard normal noise `[N, C, h, w]`, a row for each caption, in place of that which follows from the seed.
    pub noise: Option<Tensor<4>>,
    /// What of the picture of `start` is made anew; without it all of it is.
    pub mask: Option<Mask>,
}

/// Which part of a picture is made anew; the rest is kept.
#[derive(Debug, Clone)]
pub struct Mask {
    /// `[1, 1, h, w]`: 1 where latents are made anew, 0 where they are the picture's.
    pub latents: Tensor<4>,
    /// `[1, 1, H, W]`: the same of pixels, with any share between.
    pub pixels: Tensor<4>,
    /// The picture `[1, 3, H, W]`.
    pub picture: Pixels,
}

impl Mask {
    /// Made pixels `[N, 3, H, W]` inside of the mask, those of the picture outside of it.
    pub(crate) fn over(&self, made: Pixels) -> Pixels {
        let batch = made.0.dims()[0];
        let inside = self.pixels.clone().repeat_dim(0, batch);
        Pixels(blend(&inside, made.0, self.picture.0.clone().repeat_dim(0, batch)))
    }
}

/// The latents outside of a mask, along the steps of a sampler.
///
/// The denoiser is asked with the picture itself at the step's level of noise there, and what it says of that part is
/// replaced by what is known; so every sampler can do it. Source: ComfyUI's `KSamplerX0Inpaint`.
pub(crate) struct Kept {
    /// `[N, 1, h, w]`.
    inside: Tensor<4>,
    /// `[N, C, h, w]`.
    x_0: Tensor<4>,
    noise: Tensor<4>,
}

impl Kept {
    /// What a beginning keeps, for pictures that start from `noise`.
    pub(crate) fn of(beginning: &Beginning, noise: &Tensor<4>) -> Option<Self> {
        let (Some(mask), Start::Picture { x_0, .. }) = (&beginning.mask, &beginning.start) else {
            return None;
        };
        let batch = noise.dims()[0];
        let inside = mask.latents.clone().repeat_dim(0, batch);
        Some(Self { inside, x_0: x_0.clone().repeat_dim(0, batch), noise: noise.clone() })
    }

    /// `x_t` with the picture outside of the mask.
    pub(crate) fn input(&self, process: &Process, x_t: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let outside = process.diffuse(self.x_0.clone(), self.noise.clone(), t);
        blend(&self.inside, x_t, outside)
    }

    /// An estimate with what is known outside of the mask.
    pub(crate) fn estimate(&self, estimate: Estimate) -> Estimate {
        Estimate {
            x0: blend(&self.inside, estimate.x0, self.x_0.clone()),
            epsilon: blend(&self.inside, estimate.epsilon, self.noise.clone()),
        }
    }
}

/// `inside a + (1 - inside) b`.
fn blend(inside: &Tensor<4>, a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    b.clone() + (a - b) * inside.clone()
}
