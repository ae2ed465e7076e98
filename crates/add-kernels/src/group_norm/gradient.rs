//! The gradient of group normalisation, group by group.

use super::{After, GroupNorm, PART};
use crate::parallel::SharedMut;
use crate::simd::{LANES, Simd, Task, sigmoid};

pub(super) struct Backward<'a> {
    pub(super) norm: GroupNorm,
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) statistics: &'a [[f32; 2]],
    pub(super) out: SharedMut,
    /// For each channel of each sample: sum of `dz`, sum of `dz (x - mean) / deviation`.
    pub(super) sums: SharedMut,
    pub(super) range: std::ops::Range<usize>,
}

impl Task for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self { norm, x, weight, bias, dy, statistics, out, sums, range } = self;
        let (size, pixels) = (norm.size(), norm.pixels);
        let per_group = norm.channels / norm.groups;
        for group in range {
            let (x, dy) = (x[group * size..][..size].as_ptr(), dy[group * size..][..size].as_ptr());
            let dx = out.at(group * size);
            let [mean, inverse] = statistics[group];
            let (centre, inverse_vector) = (s.splat(mean), s.splat(inverse));
            // Of the group: sum of w dz, and of w dz times the normalised x.
            let (mut mean_1, mut mean_2) = (0.0_f64, 0.0_f64);
            for c in 0..per_group {
                let channel = group % norm.groups * per_group + c;
                let (w, b) = (s.splat(weight[channel]), s.splat(bias[channel]));
                let (mut total_1, mut total_2) = (0.0, 0.0);
                each_part!(pixels, |first, length| {
                    let (mut sum_1, mut sum_2) = (s.splat(0.0), s.splat(0.0));
                    each_vector!(length, |i, n| {
                        let at = c * pixels + first + i;
                        let normal = s.mul(s.sub(s.load_first(x.add(at), n), centre), inverse_vector);
                        let mut dz = s.load_first(dy.add(at), n);
                        if norm.after == After::Silu {
                            // silu'(z) = p + z p (1 - p)
                            let z = s.mul_add(normal, w, b);
                            let p = sigmoid(s, z);
                            dz = s.mul(dz, s.mul_add(s.mul(z, p), s.sub(s.splat(1.0), p), p));
                            s.store_first(dx.add(at), dz, n);
                        }
                        sum_1 = s.add(sum_1, dz);
                        sum_2 = s.mul_add(dz, normal, sum_2);
                    });
                    total_1 += f64::from(s.sum(sum_1));
                    total_2 += f64::from(s.sum(sum_2));
                });
                let at = group / norm.groups * norm.channels + channel;
                sums.at(2 * at).write(total_1 as f32);
                sums.at(2 * at + 1).write(total_2 as f32);
                mean_1 += f64::from(weight[channel]) * total_1;
                mean_2 += f64::from(weight[channel]) * total_2;
            }
            // dx = inverse (w dz - mean_1 - normal mean_2), a linear function of dz and x - mean.
            let of_group = f64::from(inverse) / size as f64;
            let constant = s.splat((-of_group * mean_1) as f32);
            let by_x = s.splat((-of_group * f64::from(inverse) * mean_2) as f32);
            for c in 0..per_group {
                let by_dz = s.splat(weight[group % norm.groups * per_group + c] * inverse);
                let dz = if norm.after == After::Silu { dx.cast_const() } else { dy };
                each_vector!(pixels, |i, n| {
                    let at = c * pixels + i;
                    let from_x = s.mul_add(s.sub(s.load_first(x.add(at), n), centre), by_x, constant);
                    s.store_first(dx.add(at), s.mul_add(s.load_first(dz.add(at), n), by_dz, from_x), n);
                });
            }
        }
    }
}
