//! One batch of samples on the host.

use add_plugin::Pixels;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// The samples of one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The step it is for.
    pub step: u64,
    /// Side of the pictures, in pixels.
    pub size: usize,
    /// `[B, 3, size, size]`, row-major, values in `[-1, 1]`.
    pub pixels: Vec<f32>,
    /// One caption per picture.
    pub captions: Vec<String>,
    /// Which sample of the split each picture is.
    pub indices: Vec<usize>,
    /// Samples that could not be used and were replaced by the next usable one.
    pub skipped: Vec<Skipped>,
}

/// A sample that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its index in the split.
    pub index: usize,
    /// Where it lies.
    pub file: String,
    /// Why it cannot be used.
    pub reason: String,
}

impl Batch {
    /// The pictures as an f32 tensor `[B, 3, size, size]` on `device`.
    pub fn pixels(&self, device: &Device) -> Pixels {
        let shape = [self.captions.len(), 3, self.size, self.size];
        Pixels(Tensor::from_data(TensorData::new(self.pixels.clone(), shape), (device, DType::F32)))
    }
}
