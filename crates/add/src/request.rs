//! What a caller wants to see.

use std::path::PathBuf;

use add_core::recipe::Dimensions;

/// Captions, and how their pictures are made. What is not stated is taken from the pipeline's recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub(crate) captions: Vec<String>,
    pub(crate) negative: String,
    pub(crate) count: usize,
    pub(crate) steps: Option<usize>,
    pub(crate) guidance: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) index: u64,
    pub(crate) size: Option<Dimensions>,
    pub(crate) start: Option<(PathBuf, f64)>,
    pub(crate) mask: Option<PathBuf>,
    pub(crate) noise: Option<PathBuf>,
}

impl Request {
    /// One picture of `caption` from seed 0.
    pub fn new(caption: impl Into<String>) -> Self {
        Self::of([caption])
    }

    /// One picture of each of `captions` from seed 0.
    pub fn of(captions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            captions: captions.into_iter().map(Into::into).collect(),
            negative: String::new(),
            count: 1,
            steps: None,
            guidance: None,
            seed: 0,
            index: 0,
            size: None,
            start: None,
            mask: None,
            noise: None,
        }
    }

    /// Pictures of each caption, from noises of their own; 1 unless stated.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        Self { count, ..self }
    }

    /// Denoiser calls, 1 to 1000.
    #[must_use]
    pub fn steps(self, steps: usize) -> Self {
        Self { steps: Some(steps), ..self }
    }

    /// Scale of classifier-free guidance, 0 to 100; 1 is none, and 0 is taken as 1.
    #[must_use]
    pub fn guidance(self, scale: f64) -> Self {
        Self { guidance: Some(scale), ..self }
    }

    /// What guidance leads away from.
    #[must_use]
    pub fn negative(self, caption: impl Into<String>) -> Self {
        Self { negative: caption.into(), ..self }
    }

    /// Seed of the noise: a picture follows from the seed and its own index in the request.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Index of the first picture, 0 unless stated: with it a picture of a larger request is made alone.
    #[must_use]
    pub fn index(self, index: u64) -> Self {
        Self { index, ..self }
    }

    /// Width and height in pixels; a square of the recipe's size unless stated.
    #[must_use]
    pub fn size(self, width: usize, height: usize) -> Self {
        Self { size: Some(Dimensions { width, height }), ..self }
    }

    /// Makes anew what is white in the picture at `mask`, which has the size of the one to start from; black is kept.
    #[must_use]
    pub fn mask(self, mask: impl Into<PathBuf>) -> Self {
        Self { mask: Some(mask.into()), ..self }
    }

    /// Begins with standard normal noise from a safetensors file: `latents` `[N, C, h, w]`, a row for each index, or one row
    /// for all.
    #[must_use]
    pub fn noise(self, file: impl Into<PathBuf>) -> Self {
        Self { noise: Some(file.into()), ..self }
    }

    /// Begins with the picture in a file instead of noise alone, cut to the shape of what is made and resized; or with clean
    /// latents in a safetensors file. `strength`, above 0 up to 1, is the part of the steps that is done, and so how much of
    /// the picture is made anew.
    #[must_use]
    pub fn start(self, picture: impl Into<PathBuf>, strength: f64) -> Self {
        Self { start: Some((picture.into(), strength)), ..self }
    }
}
