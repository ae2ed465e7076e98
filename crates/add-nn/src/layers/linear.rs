//! `y = x W^T + b` and the table look-up, with weights as `PyTorch` stores them.

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor, module::embedding},
};

use super::{Init, Lora};

/// An affine map of the last dimension; `weight: [C_out, C_in]`, `bias: [C_out]`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[C_out, C_in]`.
    pub weight: Param<Tensor<2>>,
    /// `[C_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Its adapter.
    pub lora: Option<Lora<2>>,
}

impl Linear {
    /// With a bias.
    pub fn new(c_in: usize, c_out: usize, init: &Init) -> Self {
        let bound = 1.0 / (c_in as f64).sqrt();
        Self { bias: Some(init.uniform("bias", [c_out], bound)), ..Self::without_bias(c_in, c_out, init) }
    }

    /// Without a bias.
    pub fn without_bias(c_in: usize, c_out: usize, init: &Init) -> Self {
        let bound = 1.0 / (c_in as f64).sqrt();
        let shape = [c_out, c_in];
        Self { weight: init.uniform("weight", shape, bound), bias: None, lora: Lora::<2>::of(shape, init) }
    }

    /// `[B, N, C_in]` to `[B, N, C_out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let bias = self.bias.as_ref().map(Param::val);
        match &self.lora {
            None => add_kernels::linear(x, self.weight.val(), bias),
            Some(lora) => add_kernels::linear(x.clone(), self.weight.val(), bias) + lora.forward(x),
        }
    }

    /// `value gelu(gate)` of the two halves of [`forward`](Self::forward), `[B, N, C_in]` to `[B, N, C_out / 2]`.
    pub fn forward_geglu(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.lora {
            None => add_kernels::linear_geglu(x, self.weight.val(), self.bias.as_ref().map(Param::val)),
            Some(_) => add_kernels::geglu(self.forward(x)),
        }
    }

    /// `[B, C_in]` to `[B, C_out]`.
    pub fn forward_rows(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward(x.unsqueeze_dim(1)).squeeze_dim(1)
    }
}

/// A table of `[rows, C]`.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, C]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// A table that starts from `N(0, std^2)`; `PyTorch`'s own layer has `std` 1.
    pub fn new(rows: usize, channels: usize, std: f64, init: &Init) -> Self {
        Self { weight: init.normal("weight", [rows, channels], std) }
    }

    /// Rows by number: `[B, N]` to `[B, N, C]`. Every id must be below the number of rows.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        embedding(self.weight.val(), ids)
    }
}
