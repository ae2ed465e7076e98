//! Randomness without a shared generator.
//!
//! Every random number is a function of `(seed, step, global sample index, purpose)`, so a resumed run, a run on
//! more devices and a run with more workers draw the same numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// What a random number is for. Two purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of a network.
    Init = 1,
    /// Order of an epoch.
    Order = 2,
    /// Caption variant and augmentation of a sample.
    Sample = 3,
    /// Student timestep.
    StudentTimestep = 4,
    /// Noise of the student's input.
    StudentNoise = 5,
    /// Teacher timestep.
    TeacherTimestep = 6,
    /// Noise of the teacher's input.
    TeacherNoise = 7,
    /// Teacher guidance.
    Guidance = 8,
    /// Whether the caption is dropped.
    CaptionDropout = 9,
    /// Augmentation of the real pictures before the feature network.
    AugmentReal = 10,
    /// Augmentation of the fakes before the feature network.
    AugmentFake = 11,
    /// Noise that a sampler starts from.
    SampleNoise = 12,
    /// Fresh noise between sampler steps.
    SampleFresh = 13,
    /// Anything that only a test wants.
    Test = 14,
    /// Noise on the features of the approximate R1.
    R1Noise = 15,
    /// Whether a sample is simulated.
    Simulation = 16,
    /// Noise on the way of a simulated sample.
    SimulationNoise = 17,
    /// Which crop of a sample's latents the distillation loss looks at.
    Crop = 18,
    /// Timestep of a fake that the discriminator's update alone sees.
    DiscriminatorTimestep = 19,
    /// Noise of such a fake.
    DiscriminatorNoise = 20,
    /// Level at which a critic looks at a fake.
    CriticFakeLevel = 21,
    /// Noise of that level.
    CriticFakeNoise = 22,
    /// Level at which a critic looks at a real sample.
    CriticRealLevel = 23,
    /// Noise of that level.
    CriticRealNoise = 24,
    /// Noise of an autoencoder's latents.
    PosteriorNoise = 25,
    /// Whether a step compares guided outputs.
    GuidedStep = 26,
}

/// The source of the random numbers of one sample at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The recipe's seed.
    pub seed: u64,
    /// Training step, or sampler step.
    pub step: u64,
    /// Index of the sample in the run: `step * global batch + position`.
    pub index: u64,
}

impl Draw {
    /// The generator for `purpose`.
    pub fn rng(&self, purpose: Purpose) -> ChaCha8Rng {
        // The key is the four numbers side by side: distinct inputs are distinct keys.
        let mut key = [0; 32];
        for (slot, word) in key.chunks_exact_mut(8).zip([self.seed, self.step, self.index, purpose as u64]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&self, purpose: Purpose) -> f64 {
        self.rng(purpose).random()
    }

    /// Uniform in `0 .. bound`.
    pub fn below(&self, purpose: Purpose, bound: usize) -> usize {
        self.rng(purpose).random_range(0..bound)
    }

    /// `n` standard normal numbers.
    pub fn normal(&self, purpose: Purpose, n: usize) -> Vec<f32> {
        let mut rng = self.rng(purpose);
        (0..n).map(|_| rng.sample::<f32, _>(StandardNormal)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Draw = Draw { seed: 7, step: 3, index: 40 };

    #[test]
    fn the_same_key_gives_the_same_numbers() {
        assert_eq!(DRAW.normal(Purpose::Test, 16), DRAW.normal(Purpose::Test, 16));
    }

    #[test]
    fn each_part_of_the_key_matters() {
        let reference = DRAW.normal(Purpose::Test, 4);
        for other in [Draw { seed: 8, ..DRAW }, Draw { step: 4, ..DRAW }, Draw { index: 41, ..DRAW }] {
            assert_ne!(other.normal(Purpose::Test, 4), reference);
        }
        assert_ne!(DRAW.normal(Purpose::Init, 4), reference);
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let values = DRAW.normal(Purpose::Test, 40_000);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / 40_000.0;
        let variance = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 40_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
