//! The gated linear unit with GELU of the spatial transformers.

use burn::tensor::{Tensor, activation};

/// `x: [B, N, 2 C]`, split into value and gate, to `value * gelu(gate)`: `[B, N, C]`; the exact (erf) GELU.
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    geglu_reference(x)
}

/// The same by pure operations.
#[doc(hidden)]
pub fn geglu_reference(x: Tensor<3>) -> Tensor<3> {
    let [_, _, two_c] = x.dims();
    let value = x.clone().narrow(2, 0, two_c / 2);
    let gate = x.narrow(2, two_c / 2, two_c / 2);
    value * activation::gelu(gate)
}
