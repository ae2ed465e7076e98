//! The part of a recipe under `dtype`.

use serde::{Deserialize, Serialize};

/// In which type each network computes. Trained values, gradients, moments and averages are in f32 whatever stands here, and
/// so are heads, losses and everything between networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dtypes {
    /// The model that is trained or sampled. What stays as it is beside adapters is held in this type too.
    pub model: Dtype,
    /// The frozen teacher.
    pub teacher: Dtype,
    /// A text encoder with weights of its own, in distillation and sampling.
    pub text: Dtype,
    /// The codec, and the one that decodes for the distillation loss.
    pub codec: Dtype,
    /// What the heads look through, and what gives `c_img`.
    pub features: Dtype,
}

impl Dtypes {
    /// Whether every network computes in f32.
    pub fn are_f32(&self) -> bool {
        *self == Self::default()
    }
}

/// A type of numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16: 16 bits with the range of f32. A frozen network is held in it; one that is trained reads its f32 values
    /// as if they were. Sums inside of a layer are in f32.
    BF16,
}

impl Dtype {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::BF16 => 2,
        }
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::BF16 => "bf16",
        }
    }
}
