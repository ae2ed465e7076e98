//! The part of a recipe under `kernels`.

use serde::{Deserialize, Serialize};

/// How the kernels of `device: Flex()` compute. It holds for the whole process: all threads, replicas and ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernels {
    /// Whether 3x3 convolutions of stride 1 may take Winograd's `F(2x2, 3x3)`: half the time, with sums of transformed numbers
    /// in place of plain ones. Its error is held to that of `PyTorch`'s f32; numbers differ between the two by rounding alone.
    pub winograd: bool,
    /// Whether linear layers and convolutions of networks that compute in bf16, their gradients, and attention without a tape
    /// multiply bf16 numbers where the processor has AMX or AVX512-BF16, with sums in f32. On other processors, and with `false`,
    /// they are widened and multiplied in f32; numbers differ between the two by rounding alone.
    pub bf16_products: bool,
}

impl Default for Kernels {
    fn default() -> Self {
        Self { winograd: true, bf16_products: true }
    }
}

impl Kernels {
    /// Whether nothing is turned off.
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}
