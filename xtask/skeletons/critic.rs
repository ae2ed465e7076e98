//! The states of one block of the teacher at one level. Replace it by what your heads look at, and name its source.

use add_plugin::{
    Backbone, Conditioning, Critic, Denoiser, Draw, Entry, NoiseSchedule, Plugin, PluginError, Purpose, Timesteps,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What the heads see of a sample, and when to choose it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Skeleton {
    /// The teacher's block.
    pub block: String,
    /// The timestep at which samples are looked at.
    pub t: f64,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { block: "mid_block".to_owned(), t: 500.0 }
    }
}

add_plugin::inventory::submit!(Entry::critic::<Skeleton>("Skeleton", "the paper and its section"));

impl Critic for Skeleton {
    fn hooks(&self, teacher: &Plugin<dyn Backbone>) -> Result<Vec<(String, usize)>, PluginError> {
        let found = teacher.feature_blocks().into_iter().find(|(name, _)| *name == self.block);
        let problem = || format!("{} has no block `{}`", teacher.name(), self.block);
        Ok(vec![found.ok_or_else(|| PluginError::Field { field: "block", problem: problem() })?])
    }

    fn timestep(&self, _schedule: &NoiseSchedule, _draw: &Draw, _purpose: Purpose) -> f64 {
        self.t
    }

    fn features(
        &self,
        teacher: &dyn Denoiser,
        schedule: &NoiseSchedule,
        x_t: Tensor<4>,
        t: &Timesteps,
        text: &Conditioning,
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        teacher.features(x_t, &schedule.network_times(t), text, std::slice::from_ref(&self.block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_have_defaults_and_others_are_refused() {
        assert_eq!(ron::from_str::<Skeleton>("()").expect("defaults"), Skeleton::default());
        assert!(ron::from_str::<Skeleton>("(blocks: [])").is_err());
    }
}
