//! Resizing of a square table of position embeddings to another grid.
//!
//! Every published code does it in its own way, and the network's numbers change in the third digit when it is done
//! in another's; so the way belongs to the weights. All are linear and separable: `out = R_h P R_w^T` with the
//! interpolation matrices of this file. Keys (1981) cubic kernel, with `a = -0.75` in `PyTorch`'s plain resize and
//! `a = -0.5` in its antialiased one.

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
        let weights = self.weights(from, to);
        Tensor::from_data(TensorData::new(weights, [to, from]), (&device.clone().without_autodiff(), dtype))
    }

    /// Row-major `[to, from]`.
    fn weights(self, from: usize, to: usize) -> Vec<f64> {
        let mut weights = vec![0.0; to * from];
        for (i, row) in weights.chunks_exact_mut(from).enumerate() {
            let size = match self {
                Self::HubOffset => to as f64 + 0.1,
                _ => to as f64,
            };
            match self {
                Self::HubOffset | Self::Cubic => cubic_row(row, i, (from as f64 / size) as f32),
                Self::Linear => {
                    let at = ((i as f64 + 0.5) * from as f64 / size - 0.5).max(0.0);
                    let low = (at as usize).min(from - 1);
                    row[low] += 1.0 - at.fract();
                    row[(low + 1).min(from - 1)] += at.fract();
                }
                Self::Antialiased => antialiased_row(row, i, from as f64 / size),
            }
        }
        weights
    }
}

/// Four taps around the place of output `i`; those beyond the edge fall on it. In f32, as the peers compute it
/// whatever the network's type: at place 37 the rounding is 4e-6, more than the parity tests allow.
fn cubic_row(row: &mut [f64], i: usize, scale: f32) {
    let at = scale * (i as f32 + 0.5) - 0.5;
    let base = at.floor();
    let last = row.len() as i64 - 1;
    for tap in -1..=2_i64 {
        let place = (base as i64 + tap).clamp(0, last) as usize;
        row[place] += cubic(f64::from(at - base) - tap as f64, -0.75);
    }
}

/// The kernel widened by `scale` when shrinking; taps beyond the edge are left out and the rest rescaled to sum 1.
fn antialiased_row(row: &mut [f64], i: usize, scale: f64) {
    let widened = scale.max(1.0);
    let (centre, support) = (scale * (i as f64 + 0.5), 2.0 * widened);
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(row.len());
    for (j, weight) in row.iter_mut().enumerate().take(end).skip(first) {
        *weight = cubic((j as f64 - centre + 0.5) / widened, -0.5);
    }
    let sum: f64 = row.iter().sum();
    for weight in row {
        *weight /= sum;
    }
}

fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_table_stays_constant() {
        for way in [
            PositionResize::HubOffset,
            PositionResize::Antialiased,
            PositionResize::Cubic,
            PositionResize::Linear,
        ] {
            for (from, to) in [(37, 16), (14, 10), (4, 9), (5, 5)] {
                for row in way.weights(from, to).chunks_exact(from) {
                    assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{way:?} {from} -> {to}");
                }
            }
        }
    }

    #[test]
    fn linear_resize_of_a_ramp_is_a_ramp_inside() {
        let weights = PositionResize::Linear.weights(8, 4);
        for (i, row) in weights.chunks_exact(8).enumerate() {
            let value: f64 = row.iter().enumerate().map(|(j, w)| j as f64 * w).sum();
            assert!((value - (2.0 * i as f64 + 0.5)).abs() < 1e-12);
        }
    }
}
