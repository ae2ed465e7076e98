//! Resizing of a square table of position embeddings to another grid.
//!
//! Every published code does it in its own way, and the network's numbers change in the third digit when it is done
//! in another's; so the way belongs to the weights. All are linear and separable: `out = R_h P R_w^T` with the
//! matrices of a [`Filter`].

use add_kernels::Filter;
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Who resizes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PositionResize {
    /// DINO and `DINOv2` without registers, facebook's own code: cubic, at the scale `(n + 0.1) / M` rather than `n / M`.
    HubOffset,
    /// `DINOv2` with registers (facebook's own code) and everything of timm: cubic, antialiased.
    Antialiased,
    /// transformers' CLIP and `DINOv2`: cubic.
    Cubic,
    /// `StyleGAN-T` on DINO: linear.
    Linear,
}

impl PositionResize {
    /// `table: [m * m, C]` (row-major grid) to `[h * w, C]`. A table that already fits is returned as it is.
    pub(super) fn apply(self, table: Tensor<2>, [h, w]: [usize; 2]) -> Tensor<2> {
        let [n, c] = table.dims();
        let m = n.isqrt();
        if [h, w] == [m, m] {
            return table;
        }
        let (device, dtype) = (table.device(), table.dtype());
        // [h, m] x [m, m * C], then [w, m] x [h, m, C].
        let rows = self.matrix(m, h, &device, dtype).matmul(table.reshape([m, m * c]));
        let columns = self.matrix(m, w, &device, dtype).unsqueeze::<3>();
        columns.matmul(rows.reshape([h, m, c])).reshape([h * w, c])
    }

    fn matrix(self, from: usize, to: usize, device: &Device, dtype: DType) -> Tensor<2> {
        let weights = self.filter().matrix(from, to);
        Tensor::from_data(TensorData::new(weights, [to, from]), (&device.clone().without_autodiff(), dtype))
    }

    fn filter(self) -> Filter {
        match self {
            Self::HubOffset => Filter::CubicOffset,
            Self::Antialiased => Filter::CubicAntialiased,
            Self::Cubic => Filter::Cubic,
            Self::Linear => Filter::Linear,
        }
    }
}
