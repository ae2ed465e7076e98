//! What a caller wants to see.

use std::path::PathBuf;

/// Captions, and how their pictures are made. What is not stated is taken from the pipeline's recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub(crate) captions: Vec<String>,
    pub(crate) negative: String,
    pub(crate) count: usize,
    pub(crate) steps: Option<usize>,
    pub(crate) guidance: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) start: Option<(PathBuf, f64)>,
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
            start: None,
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

    /// Scale of classifier-free guidance, 0 to 100; 1 is none.
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

    /// Begins with the picture in a file instead of noise alone: its central square, resized. `strength`, above 0 up to 1,
    /// is the part of the steps that is done, and so how much of the picture is made anew.
    #[must_use]
    pub fn start(self, picture: impl Into<PathBuf>, strength: f64) -> Self {
        Self { start: Some((picture.into(), strength)), ..self }
    }
}
