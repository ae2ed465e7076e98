//! What a U-Net is told beside the timestep and the text states.

use burn::tensor::Tensor;

/// Conditions beside the text states.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one for each forward pass")]
pub enum AddedConditions {
    /// SDXL (`addition_embed_type: "text_time"`).
    TextTime {
        /// Pooled text embedding, `[B, C]`.
        text_embeds: Tensor<2>,
        /// Original height and width, crop top and left, target height and width, `[B, 6]`.
        time_ids: Tensor<2>,
    },
    /// One vector for each sample, `[B, C]` (`class_embed_type: "projection"`).
    Pooled(Tensor<2>),
}

/// What a U-Net is told beside the timestep and the text states; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct UnetConditions {
    /// Vectors that join the timestep embedding, as the configuration asks for them.
    pub added: Option<AddedConditions>,
    /// Guidance scale of each sample, `[B]`, where 1 is no guidance (`time_cond_proj_dim`). Without it nothing is added, as
    /// in diffusers.
    pub guidance: Option<Tensor<1>>,
    /// `[B, M]`: 0 where a text state is padding that is not attended to, else 1.
    pub mask: Option<Tensor<2>>,
}

impl From<Option<AddedConditions>> for UnetConditions {
    fn from(added: Option<AddedConditions>) -> Self {
        Self { added, ..Self::default() }
    }
}
