//! Backward simulation: student inputs made from the student's own pictures.
//!
//! The paper noises real pictures, `x_s = alpha_s x_0 + sigma_s eps`, at every student timestep. A sampler of several steps
//! shows the student its own pictures there. A simulated sample walks down the student's timesteps as the sampler does,
//! without gradient, and what it has become stands in for `x_0` in its input.
//!
//! Beyond the paper; the name is that of Yin et al., "Improved Distribution Matching Distillation", section 4.4.

use add_plugin::{Draw, Purpose, Timesteps};
use add_train::noise::normal;
use burn::tensor::{Device, Tensor};

use super::StudentInput;

/// Which samples of a part are simulated, and every random number of their way.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// Whether the sample is simulated. One at the last student timestep has no way to walk and stays at its `x_0`.
    pub rows: Vec<bool>,
    /// The student's timesteps, descending from the last, with the noise `[B, C, H, W]` added at each.
    pub path: Vec<(f64, Tensor<4>)>,
}

impl Simulation {
    /// Which of the samples of `draws`, whose student inputs are at `s`, are simulated: each below the last of the ascending
    /// `timesteps` with a chance of `chance`. `None` if none is; `shape` is that of the latents.
    pub(crate) fn drawn(
        timesteps: &[usize],
        chance: f64,
        draws: &[Draw],
        s: &Timesteps,
        shape: [usize; 4],
        device: &Device,
    ) -> Option<Self> {
        let last = *timesteps.last()? as f64;
        let simulated = |(draw, &s): (&Draw, &f64)| s < last && draw.uniform(Purpose::Simulation) < chance;
        let rows: Vec<bool> = draws.iter().zip(&s.0).map(simulated).collect();
        let (first, _) = (draws.first()?, rows.iter().find(|simulated| **simulated)?);
        let [b, c, h, w] = shape;
        let levels = timesteps.len();
        let Draw { seed, step, index } = *first;
        let noise = normal(seed, step, index, Purpose::SimulationNoise, [b, levels * c, h, w], device);
        let path = timesteps.iter().rev().map(|&t| t as f64).zip(noise.split(c, 1)).collect();
        Some(Self { rows, path })
    }

    /// What the student's inputs at `s` are made from `[B, C, H, W]`: rows of `x_0` and the student's own pictures.
    ///
    /// `denoise(x, input, rows)` is `x_hat_theta` for the samples `rows` of the part, noised from `x`.
    pub(crate) fn start(
        &self,
        x_0: Tensor<4>,
        s: &Timesteps,
        denoise: impl Fn(Tensor<4>, &StudentInput, &[usize]) -> Tensor<4>,
    ) -> Tensor<4> {
        let mut pictures: Vec<Tensor<4>> = x_0.split(1, 0);
        for (t, noise) in &self.path {
            // Those whose own timestep is still below.
            let moving: Vec<usize> = (0..pictures.len()).filter(|&i| self.rows[i] && s.0[i] < *t).collect();
            if moving.is_empty() {
                break;
            }
            let x = Tensor::cat(moving.iter().map(|&i| pictures[i].clone()).collect(), 0);
            let eps = Tensor::cat(moving.iter().map(|&i| noise.clone().narrow(0, i, 1)).collect(), 0);
            let input = StudentInput { s: Timesteps::same(*t, moving.len()), eps };
            let after = denoise(x, &input, &moving).split(1, 0);
            for (i, picture) in moving.into_iter().zip(after) {
                pictures[i] = picture;
            }
        }
        Tensor::cat(pictures, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A column of numbers as pictures of one value.
    fn pictures<const N: usize>(values: [f32; N]) -> Tensor<4> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape([N, 1, 1, 1])
    }

    fn numbers(x: &Tensor<4>) -> Vec<f32> {
        x.to_data().try_to_vec().expect("f32")
    }

    #[test]
    fn a_sample_walks_to_the_timestep_above_its_own() {
        let simulation = Simulation {
            rows: vec![true, true, true, false, true],
            path: vec![
                (9.0, pictures([1.0, 2.0, 3.0, 4.0, 5.0])),
                (6.0, pictures([10.0, 20.0, 30.0, 40.0, 50.0])),
                (3.0, pictures([100.0, 200.0, 300.0, 400.0, 500.0])),
            ],
        };
        let s = Timesteps(vec![9.0, 6.0, 3.0, 3.0, 0.0]);
        // A tenth of the picture before, the step's noise, and a thousand times the sample's number in the part.
        let denoise = |x: Tensor<4>, input: &StudentInput, rows: &[usize]| {
            assert!(rows.iter().all(|&i| s.0[i] < input.s.0[0]), "{rows:?} at {:?}", input.s);
            let whose: Vec<f32> = rows.iter().map(|&i| i as f32 * 1000.0).collect();
            let whose = Tensor::<1>::from_floats(&*whose, &Device::flex()).reshape(x.dims());
            x * 0.1 + input.eps.clone() + whose
        };
        let start = simulation.start(pictures([7.0, 7.0, 7.0, 7.0, 7.0]), &s, denoise);
        for (got, want) in numbers(&start).into_iter().zip([7.0, 1002.7, 2230.37, 7.0, 4945.057]) {
            assert!((got - want).abs() < 1e-2, "{got} {want}");
        }
    }
}
