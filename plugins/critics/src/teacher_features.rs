//! The teacher's own features of noisy latents, as in Latent Adversarial Diffusion Distillation (Sauer et al. 2024, section 3).

use add_plugin::{
    Backbone, Conditioning, Critic, Denoiser, Draw, Entry, NoiseSchedule, Plugin, PluginError, Purpose,
    Timesteps, feature_hooks,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Samples are diffused to a level drawn for each, and the heads read the states of these blocks of the teacher. No picture is
/// decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherFeatures {
    /// Names of the teacher's blocks, such as `mid_block`; each gets a head.
    pub blocks: Vec<String>,
    /// Where the levels are drawn.
    #[serde(default)]
    pub levels: Levels,
}

/// The distribution of the levels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Levels {
    /// `t = sigmoid(mean + std n) (T - 1)` with normal `n`: a larger mean looks at more noise, and so at structure.
    LogitNormal {
        /// Mean of the logit.
        mean: f64,
        /// Its standard deviation.
        std: f64,
    },
    /// Uniform between two timesteps.
    Uniform(f64, f64),
}

impl Default for Levels {
    fn default() -> Self {
        Self::LogitNormal { mean: 1.0, std: 1.0 }
    }
}

add_plugin::inventory::submit!(Entry::critic::<TeacherFeatures>("TeacherFeatures", "LADD, section 3"));

impl Critic for TeacherFeatures {
    fn hooks(&self, teacher: &Plugin<dyn Backbone>) -> Result<Vec<(String, usize)>, PluginError> {
        feature_hooks(teacher, &self.blocks)
    }

    fn timestep(&self, schedule: &NoiseSchedule, draw: &Draw, purpose: Purpose) -> f64 {
        let last = (schedule.steps() - 1) as f64;
        match self.levels {
            Levels::Uniform(low, high) => low + draw.uniform(purpose) * (high - low),
            Levels::LogitNormal { mean, std } => {
                let logit = mean + std * f64::from(draw.normal(purpose, 1)[0]);
                last / (1.0 + (-logit).exp())
            }
        }
    }

    fn problems(&self, schedule: &NoiseSchedule) -> Vec<(&'static str, String)> {
        let last = (schedule.steps() - 1) as f64;
        let holds = match self.levels {
            Levels::Uniform(low, high) => 0.0 <= low && low <= high && high <= last,
            Levels::LogitNormal { mean, std } => mean.is_finite() && std.is_finite() && std >= 0.0,
        };
        let expected =
            format!("expected finite numbers, and timesteps from 0 to {last}, got {:?}", self.levels);
        if holds { Vec::new() } else { vec![("levels", expected)] }
    }

    fn features(
        &self,
        teacher: &dyn Denoiser,
        schedule: &NoiseSchedule,
        x_t: Tensor<4>,
        t: &Timesteps,
        text: &Conditioning,
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        teacher.features(x_t, &schedule.network_times(t), text, &self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{Registered, Schedule};
    use {backbones as _, schedules as _};

    use super::*;

    /// Reads a plugin as a recipe would.
    fn read<T: ?Sized + Registered>(text: &str) -> Plugin<T> {
        let options = ron::Options::default();
        let options = options.with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
        options.from_str(text).expect("linked")
    }

    fn schedule() -> NoiseSchedule {
        let linear: Plugin<dyn Schedule> = read("ScaledLinear()");
        linear.tables()
    }

    fn times(levels: Levels, n: u64) -> Vec<f64> {
        let critic = TeacherFeatures { blocks: Vec::new(), levels };
        let draw = |index| Draw { seed: 1, step: 2, index };
        (0..n).map(|i| critic.timestep(&schedule(), &draw(i), Purpose::CriticFakeLevel)).collect()
    }

    #[test]
    fn levels_have_the_stated_distribution() {
        let logits: Vec<f64> =
            times(Levels::default(), 4000).iter().map(|t| (t / (999.0 - t)).ln()).collect();
        let mean = logits.iter().sum::<f64>() / 4000.0;
        let variance = logits.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 1.0).abs() < 0.06 && (variance - 1.0).abs() < 0.08, "{mean} {variance}");
        let uniform = times(Levels::Uniform(100.0, 300.0), 40_000);
        assert!(uniform.iter().all(|t| (100.0..300.0).contains(t)));
        let mean = uniform.iter().sum::<f64>() / 40_000.0;
        assert!((mean - 200.0).abs() < 1.2, "{mean}");
    }

    #[test]
    fn blocks_that_the_teacher_lacks_are_named_with_those_that_it_has() {
        let teacher: Plugin<dyn Backbone> = read("Mini(channels: [16, 32])");
        let critic = |blocks: &[&str]| TeacherFeatures {
            blocks: blocks.iter().map(|&block| block.to_owned()).collect(),
            levels: Levels::default(),
        };
        let hooks = critic(&["mid_block", "up_blocks.1"]).hooks(&teacher).expect("two of its blocks");
        assert_eq!(hooks, [("mid_block".to_owned(), 32), ("up_blocks.1".to_owned(), 16)]);
        let said = critic(&["up_blocks.7"]).hooks(&teacher).expect_err("there is none").to_string();
        assert!(said.contains("`up_blocks.7`") && said.contains("down_blocks.0"), "{said}");
        assert!(critic(&[]).hooks(&teacher).is_err());
        assert!(critic(&["mid_block"]).problems(&schedule()).is_empty());
        let wrong = TeacherFeatures { levels: Levels::Uniform(5.0, 2000.0), ..critic(&["mid_block"]) };
        assert_eq!(wrong.problems(&schedule())[0].0, "levels");
    }
}
