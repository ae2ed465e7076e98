//! A denoiser together with what its output means.

use add_plugin::{Conditioning, Denoiser, Estimate, NoiseSchedule, Prediction, Timesteps, per_sample};
use burn::tensor::Tensor;

/// Schedule and prediction type of a diffusion model: what turns a raw output into `x_0` and `eps`.
#[derive(Debug, Clone)]
pub struct Diffusion {
    /// The forward process.
    pub schedule: NoiseSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
}

impl Diffusion {
    /// `x_t = alpha_t x_0 + sigma_t eps`.
    pub fn diffuse(&self, x_0: Tensor<4>, eps: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let (alpha, sigma) = self.schedule.coefficients(t, &x_0);
        add_loss::diffuse(x_0, eps, alpha, sigma)
    }

    /// `x_0` from a raw output.
    pub fn x0(&self, output: Tensor<4>, x_t: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let (alpha, sigma) = self.schedule.coefficients(t, &x_t);
        add_loss::x0(self.prediction, output, x_t, alpha, sigma)
    }

    /// `eps` from a raw output.
    pub fn epsilon(&self, output: Tensor<4>, x_t: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        let (alpha, sigma) = self.schedule.coefficients(t, &x_t);
        add_loss::epsilon(self.prediction, output, x_t, alpha, sigma)
    }

    /// The raw output that a perfect network would give.
    pub fn target(&self, x_0: Tensor<4>, eps: Tensor<4>, t: &Timesteps) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => eps,
            Prediction::X0 => x_0,
            Prediction::V => {
                let (alpha, sigma) = self.schedule.coefficients(t, &x_0);
                eps * alpha - x_0 * sigma
            }
        }
    }

    /// Both estimates from a raw output.
    pub fn estimate(&self, output: Tensor<4>, x_t: Tensor<4>, t: &Timesteps) -> Estimate {
        Estimate { x0: self.x0(output.clone(), x_t.clone(), t), epsilon: self.epsilon(output, x_t, t) }
    }
}

/// `output(null) + w (output(y) - output(null))`, classifier-free guidance with one scale `w` per sample.
///
/// Where every scale is 1 the unconditional half is not computed.
pub fn guided(
    denoiser: &dyn Denoiser,
    x_t: Tensor<4>,
    t: &Timesteps,
    conditioning: &Conditioning,
    null: &Conditioning,
    scales: &[f64],
) -> Tensor<4> {
    if scales.iter().all(|&w| (w - 1.0).abs() < f64::EPSILON) {
        return denoiser.predict(x_t, t, conditioning);
    }
    let batch = x_t.dims()[0];
    let both = conditioning.clone().cat(null.clone());
    let twice = Timesteps([t.0.as_slice(), t.0.as_slice()].concat());
    let output = denoiser.predict(Tensor::cat(vec![x_t.clone(), x_t.clone()], 0), &twice, &both);
    let (with, without) = (output.clone().narrow(0, 0, batch), output.narrow(0, batch, batch));
    add_loss::guide(with, without, per_sample(scales, &x_t))
}
