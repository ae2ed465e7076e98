//! What a step is given: a part of the batch with every random number, drawn by step and sample.

use add_loss::{augmented_view, resize};
use add_plugin::{Conditioning, Draw, Latents, Pixels, Purpose, Timesteps};
use add_recipe::slot::{FEATURES, IMAGE_ENCODER, TEXT};
use add_train::{networks::AnyNetwork, noise::normal};
use burn::tensor::Tensor;

use super::{
    HEADS_TEXT, TEACHER_TEXT,
    inputs::{AddInputs, PictureView, Prompts, TeacherInput},
    run::{AddRun, TeacherText},
};
use crate::{
    critic::CriticLevels,
    student::{Simulation, StudentInput, draw_timestep},
};

impl<'a> AddRun<'a> {
    /// A student timestep, drawn by the recipe's weights.
    fn timestep(&self, draw: &Draw, purpose: Purpose) -> usize {
        draw_timestep(&self.timesteps, &self.method.timestep_weights, draw, purpose)
    }

    /// A teacher timestep, uniform in the recipe's range.
    fn teacher_timestep(&self, draw: &Draw) -> usize {
        let (low, high) = self.method.teacher.timesteps;
        low + draw.below(Purpose::TeacherTimestep, high - low + 1)
    }

    pub(super) fn prompts(&self, captions: Conditioning) -> Prompts {
        Prompts { captions, null: self.null.clone(), negative: self.negative.clone() }
    }

    /// The text of a teacher with an encoder of its own.
    pub(super) fn teacher_prompts(&self, captions: &[String]) -> Option<Prompts> {
        let TeacherText { text, null, negative } = self.teacher_text.as_ref()?;
        let captions = text.captions(self.trainer.networks.text(TEACHER_TEXT), captions);
        Some(Prompts { captions, null: null.clone(), negative: negative.clone() })
    }

    /// The shape of the teacher's latents beside the student's `[B, C, H, W]`.
    fn teacher_shape(&self, student: [usize; 4]) -> [usize; 4] {
        let Some(own) = self.method.teacher.model.pipeline() else { return student };
        let info = own.codec.info();
        let side = self.recipe.data.size() / info.reduction;
        [student[0], info.channels, side, side]
    }

    /// A part of the batch, of which `first` is the first sample's number in the whole run.
    pub(super) fn part(
        &self,
        step: u64,
        first: u64,
        real: (Pixels, Latents),
        captions: &[String],
    ) -> AddInputs<'a> {
        let networks = &self.trainer.networks;
        let c_text = self.heads_text.as_ref();
        let c_text = c_text.map(|text| text.captions(networks.text(HEADS_TEXT), captions).pooled);
        let teacher_prompts = self.teacher_prompts(captions);
        let captions = self.captions.captions(networks.text(TEXT), captions);
        let (seed, (pixels, x_0)) = (self.recipe.seed, real);
        let [count, _, h, w] = pixels.0.dims();
        let draws: Vec<Draw> = (0..count as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let shape = x_0.0.dims();
        let noise = |purpose| normal(seed, step, first, purpose, shape, &self.device);
        // A critic of latents looks at no picture.
        let size = match self.trainer.networks.get(FEATURES) {
            Some(AnyNetwork::Features(features)) => features.input_size(),
            _ => h,
        };
        let embedding_size = match self.trainer.networks.get(IMAGE_ENCODER) {
            Some(AnyNetwork::Features(encoder)) => encoder.input_size(),
            _ => size,
        };
        let augment = &self.method.adversarial.augment;
        let augmented = |purpose| -> PictureView<'a> {
            let each: Vec<_> = draws.iter().map(|draw| augment.draw([h, w], draw, purpose)).collect();
            Box::new(move |x| augmented_view(x, &each, [size; 2]))
        };
        let generator = StudentInput {
            s: Timesteps::whole(draws.iter().map(|d| self.timestep(d, Purpose::StudentTimestep))),
            eps: noise(Purpose::StudentNoise),
        };
        AddInputs {
            simulation: Simulation::drawn(
                &self.timesteps,
                self.method.backward_simulation,
                &draws,
                &generator.s,
                shape,
                &self.device,
            ),
            pixels,
            x_0,
            prompts: self.prompts(captions),
            c_text,
            discriminator: (!self.method.adversarial.fakes.are_shared()).then(|| StudentInput {
                s: Timesteps::whole(draws.iter().map(|d| self.timestep(d, Purpose::DiscriminatorTimestep))),
                eps: noise(Purpose::DiscriminatorNoise),
            }),
            teacher: TeacherInput {
                t: Timesteps::whole(draws.iter().map(|d| self.teacher_timestep(d))),
                eps: correlated(
                    generator.eps.clone(),
                    normal(seed, step, first, Purpose::TeacherNoise, self.teacher_shape(shape), &self.device),
                    self.method.teacher.noise_correlation,
                ),
                guidance: draws.iter().map(|d| self.method.teacher.guidance.draw(d)).collect(),
            },
            teacher_prompts,
            levels: self.method.adversarial.critic().map(|critic| {
                let schedule = &self.trainer.method.teacher_diffusion.schedule;
                CriticLevels::drawn(&**critic, schedule, &draws, shape, &self.device)
            }),
            generator,
            real_view: augmented(Purpose::AugmentReal),
            fake_view: augmented(Purpose::AugmentFake),
            embedding_view: Box::new(move |x| resize(x, [embedding_size; 2])),
            draws,
        }
    }
}

/// Noise of unit variance whose correlation with `noise` is `rho`, the rest being `fresh`.
fn correlated(noise: Tensor<4>, fresh: Tensor<4>, rho: f64) -> Tensor<4> {
    // Exact at both ends: what is not mixed is not rounded.
    if rho == 0.0 {
        return fresh;
    }
    noise.mul_scalar(rho) + fresh.mul_scalar((1.0 - rho * rho).sqrt())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn correlated_noise_has_unit_variance_and_the_stated_correlation() {
        let shape = [4, 3, 32, 32];
        let draw = |purpose| normal(1, 0, 0, purpose, shape, &Device::flex());
        let (noise, fresh) = (draw(Purpose::StudentNoise), draw(Purpose::TeacherNoise));
        let mean = |x: Tensor<4>| f64::from(x.mean().into_scalar::<f32>());
        for rho in [0.0, 0.4, 1.0] {
            let mixed = correlated(noise.clone(), fresh.clone(), rho);
            assert!((mean(mixed.clone().square()) - 1.0).abs() < 0.05, "{rho}");
            assert!((mean(mixed * noise.clone()) - rho).abs() < 0.05, "{rho}");
        }
    }
}
