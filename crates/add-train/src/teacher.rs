//! The frozen teacher with its text and guidance bound, as a weighting sees it.

use add_loss::consecutive_estimate;
use add_plugin::{Conditioning, Denoiser, NoiseSchedule, Prompt, Teacher, Timesteps};
use burn::tensor::Tensor;

use crate::process::{Process, guided};

/// The teacher for one batch.
pub struct BoundTeacher<'a> {
    /// Its network, on the plain device.
    pub denoiser: &'a dyn Denoiser,
    /// Schedule and prediction type.
    pub diffusion: &'a Process,
    /// The captions.
    pub conditioning: &'a Conditioning,
    /// The empty caption, repeated over the batch.
    pub null: &'a Conditioning,
    /// The negative prompt, repeated over the batch.
    pub negative: &'a Conditioning,
    /// Guidance scale of each sample.
    pub guidance: &'a [f64],
    /// Consecutive denoising steps (ADD, Table 1f).
    pub steps: usize,
}

impl Teacher for BoundTeacher<'_> {
    fn x0(&self, x_t: &Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let mut call = |x_t: Tensor<4>, t: &Timesteps| {
            let output = guided(
                self.diffusion,
                self.denoiser,
                x_t.clone(),
                t,
                self.conditioning,
                self.null,
                self.guidance,
            );
            self.diffusion.estimate(output, x_t, t)
        };
        consecutive_estimate(x_t.clone(), t, self.steps, &self.diffusion.schedule, &mut call)
    }

    fn epsilon(&self, x_t: &Tensor<4>, t: &Timesteps, prompt: Prompt) -> Tensor<4> {
        let conditioning = match prompt {
            Prompt::Caption => self.conditioning,
            Prompt::Null => self.null,
            Prompt::Negative => self.negative,
        };
        let output = self.diffusion.predict(self.denoiser, x_t.clone(), t, conditioning);
        self.diffusion.epsilon(output, x_t.clone(), t)
    }

    fn schedule(&self) -> &NoiseSchedule {
        &self.diffusion.schedule
    }
}
