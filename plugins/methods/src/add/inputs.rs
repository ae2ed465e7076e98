//! What one ADD step is given.

use add_plugin::{Conditioning, Draw, Latents, Pixels, Timesteps};
use burn::tensor::Tensor;

use crate::{
    critic::CriticLevels,
    student::{Simulation, StudentInput},
};

/// Text, encoded, on the plain device.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// One caption per sample.
    pub captions: Conditioning,
    /// The empty caption, batch of one.
    pub null: Conditioning,
    /// The negative prompt, batch of one.
    pub negative: Conditioning,
}

/// Teacher timesteps with their noise and guidance.
#[derive(Debug, Clone)]
pub struct TeacherInput {
    /// `t`.
    pub t: Timesteps,
    /// `eps'` `[B, C, H, W]`.
    pub eps: Tensor<4>,
    /// Guidance scale per sample.
    pub guidance: Vec<f64>,
}

/// A view of a picture as the feature network gets it: augmented and resized.
pub type PictureView<'a> = Box<dyn Fn(Tensor<4>) -> Tensor<4> + Send + Sync + 'a>;

/// A part of the batch with every random number of the step; tensors on the plain device.
pub struct AddInputs<'a> {
    /// Real pictures.
    pub pixels: Pixels,
    /// The same, encoded.
    pub x_0: Latents,
    /// Their captions, and what guidance compares them with.
    pub prompts: Prompts,
    /// `c_text` `[B, K]`, where it is not the pooled embedding of the captions.
    pub c_text: Option<Tensor<2>>,
    /// What the student is given in its own update.
    pub generator: StudentInput,
    /// Samples whose input in the student's update begins at its own picture; `None` begins all at `x_0`, as in the paper.
    pub simulation: Option<Simulation>,
    /// What the student is given in the discriminator's update; `None` shares the fakes of both.
    pub discriminator: Option<StudentInput>,
    /// What the teacher is given.
    pub teacher: TeacherInput,
    /// The text of a teacher with an encoder of its own; `None` where it shares the student's.
    pub teacher_prompts: Option<Prompts>,
    /// Source of each sample's random numbers, for the routes of R1 that want some.
    pub draws: Vec<Draw>,
    /// Levels of a critic that looks at latents; `None` where a network looks at pictures.
    pub levels: Option<CriticLevels>,
    /// How real pictures are seen.
    pub real_view: PictureView<'a>,
    /// How fakes are seen.
    pub fake_view: PictureView<'a>,
    /// How the image encoder sees real pictures (resized, never augmented).
    pub embedding_view: PictureView<'a>,
}

impl AddInputs<'_> {
    /// Samples in this part.
    pub fn batch(&self) -> usize {
        self.pixels.0.dims()[0]
    }
}
