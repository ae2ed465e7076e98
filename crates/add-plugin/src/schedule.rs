//! Family `Schedule`: how much signal and noise there is at each training timestep.

use std::{fmt, sync::Arc};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Fields, Timesteps, fields, per_sample, registry::Family};

/// A noise schedule, as the recipe states it.
pub trait Schedule: Family {
    /// `(alpha_t, sigma_t)` at every training timestep, and between two of them.
    fn tables(&self) -> NoiseSchedule;

    /// The fields of diffusers' `scheduler_config.json` that say the same.
    fn scheduler_fields(&self) -> Fields {
        let tables = self.tables();
        let Some(alpha_bars) = tables.alphas_cumprod() else {
            return fields(json!({ "num_train_timesteps": tables.steps() }));
        };
        let before = std::iter::once(&1.0).chain(alpha_bars);
        let betas: Vec<f64> = before.zip(alpha_bars).map(|(before, now)| 1.0 - now / before).collect();
        fields(json!({ "num_train_timesteps": betas.len(), "trained_betas": betas }))
    }
}

/// `(alpha_t, sigma_t)` as a function of a real-valued timestep.
type Level = dyn Fn(f64) -> (f64, f64) + Send + Sync;

/// `alpha_t` and `sigma_t` of `x_t = alpha_t x_0 + sigma_t eps`, for timesteps `t` from 0 to `steps - 1`.
///
/// A timestep is a real number in units of training steps. At whole numbers the tables are read exactly. In between, a
/// schedule with a formula of its own follows it; otherwise `log(alpha / sigma)` is interpolated linearly. The clean
/// sample is at `t = -1`; what lies outside of `[-1, steps - 1]` counts as the nearest end.
#[derive(Clone)]
pub struct NoiseSchedule {
    alpha: Vec<f64>,
    sigma: Vec<f64>,
    alphas_cumprod: Option<Vec<f64>>,
    formula: Option<Arc<Level>>,
    network_time: NetworkTime,
}

/// What a denoiser is told of a timestep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkTime {
    /// The timestep `t`, as diffusion models with a table of betas are.
    Timestep,
    /// `steps * sigma_t`, as the released rectified flow models are (Stable Diffusion 3, Flux).
    NoiseLevel,
}

impl NoiseSchedule {
    /// A variance preserving schedule, `alpha_t^2 + sigma_t^2 = 1`, from its `alpha_bar_t = alpha_t^2`.
    ///
    /// # Panics
    /// Panics when the table is empty or leaves `[0, 1]`.
    pub fn from_alphas_cumprod(alphas_cumprod: &[f64]) -> Self {
        assert!(!alphas_cumprod.is_empty(), "a schedule has at least one step");
        assert!(alphas_cumprod.iter().all(|a| (0.0..=1.0).contains(a)), "alpha_bar lies in [0, 1]");
        Self {
            alpha: alphas_cumprod.iter().map(|a| a.sqrt()).collect(),
            sigma: alphas_cumprod.iter().map(|a| (1.0 - a).sqrt()).collect(),
            alphas_cumprod: Some(alphas_cumprod.to_vec()),
            formula: None,
            network_time: NetworkTime::Timestep,
        }
    }

    /// Any schedule, from its pairs `(alpha_t, sigma_t)`.
    ///
    /// # Panics
    /// Panics when there is no pair, when a number is negative or not finite, or when both of a pair are 0.
    pub fn from_levels(levels: &[(f64, f64)]) -> Self {
        assert!(!levels.is_empty(), "a schedule has at least one step");
        let usable = |&(alpha, sigma): &(f64, f64)| {
            alpha >= 0.0 && sigma >= 0.0 && (alpha + sigma).is_finite() && alpha + sigma > 0.0
        };
        assert!(levels.iter().all(usable), "alpha and sigma are at least 0, finite, and not both 0");
        let (alpha, sigma) = levels.iter().copied().unzip();
        Self { alpha, sigma, alphas_cumprod: None, formula: None, network_time: NetworkTime::Timestep }
    }

    /// Any schedule of `steps` timesteps, from a formula `(alpha_t, sigma_t)` that holds for every real `t` in
    /// `[-1, steps - 1]`.
    ///
    /// # Panics
    /// As [`from_levels`](Self::from_levels).
    pub fn from_formula(steps: usize, level: impl Fn(f64) -> (f64, f64) + Send + Sync + 'static) -> Self {
        let levels: Vec<(f64, f64)> = (0..steps).map(|t| level(t as f64)).collect();
        Self { formula: Some(Arc::new(level)), ..Self::from_levels(&levels) }
    }

    /// The same, for denoisers that are told of their timestep in another way.
    #[must_use]
    pub fn with_network_time(self, network_time: NetworkTime) -> Self {
        Self { network_time, ..self }
    }

    /// Number of training timesteps.
    pub fn steps(&self) -> usize {
        self.alpha.len()
    }

    /// `alpha_t`, the factor of the signal.
    pub fn alpha(&self, t: f64) -> f64 {
        self.level(t).0
    }

    /// `sigma_t`, the factor of the noise.
    pub fn sigma(&self, t: f64) -> f64 {
        self.level(t).1
    }

    /// `SNR(t) = alpha_t^2 / sigma_t^2`.
    pub fn snr(&self, t: f64) -> f64 {
        let (alpha, sigma) = self.level(t);
        (alpha / sigma).powi(2)
    }

    /// `(alpha_t, sigma_t)`.
    pub fn level(&self, t: f64) -> (f64, f64) {
        let t = t.clamp(-1.0, (self.steps() - 1) as f64);
        if t >= 0.0 && t.fract() == 0.0 {
            return self.at_whole(t);
        }
        match &self.formula {
            Some(formula) => formula(t),
            None => between(self.at_whole(t.floor()), self.at_whole(t.floor() + 1.0), t - t.floor()),
        }
    }

    /// The table's entry; below 0 the clean sample's.
    fn at_whole(&self, t: f64) -> (f64, f64) {
        if t < 0.0 {
            return (1.0, 0.0);
        }
        let t = (t as usize).min(self.steps() - 1);
        (self.alpha[t], self.sigma[t])
    }

    /// `alpha_bar_t`, from which a variance preserving schedule was made; `None` for any other.
    pub fn alphas_cumprod(&self) -> Option<&[f64]> {
        self.alphas_cumprod.as_deref()
    }

    /// Whether `alpha_t^2 + sigma_t^2 = 1`.
    pub fn is_variance_preserving(&self) -> bool {
        self.alphas_cumprod.is_some()
    }

    /// Whether its timesteps are samples of a formula, so that there is no reason to prefer whole ones.
    pub fn is_continuous(&self) -> bool {
        self.formula.is_some()
    }

    /// Whether the last timestep holds no signal at all.
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.alpha[self.steps() - 1] == 0.0
    }

    /// `(alpha_t, sigma_t)` per sample, for a tensor like `like`.
    pub fn coefficients(&self, t: &Timesteps, like: &Tensor<4>) -> Coefficients {
        let (alpha, sigma): (Vec<f64>, Vec<f64>) = t.0.iter().map(|&t| self.level(t)).unzip();
        let power = |(alpha, sigma): (&f64, &f64)| alpha * alpha + sigma * sigma;
        let power: Option<Vec<f64>> =
            (!self.is_variance_preserving()).then(|| alpha.iter().zip(&sigma).map(power).collect());
        Coefficients {
            alpha: per_sample(&alpha, like),
            sigma: per_sample(&sigma, like),
            power: power.map(|power| per_sample(&power, like)),
        }
    }

    /// What a denoiser is told of the timesteps `t`.
    #[must_use]
    pub fn network_times(&self, t: &Timesteps) -> Timesteps {
        match self.network_time {
            NetworkTime::Timestep => t.clone(),
            NetworkTime::NoiseLevel => {
                Timesteps(t.0.iter().map(|&t| self.steps() as f64 * self.sigma(t)).collect())
            }
        }
    }
}

impl fmt::Debug for NoiseSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseSchedule")
            .field("steps", &self.steps())
            .field("variance_preserving", &self.is_variance_preserving())
            .field("network_time", &self.network_time)
            .finish_non_exhaustive()
    }
}

/// `alpha_t` and `sigma_t` of each sample of a batch, `[B, 1, 1, 1]`.
#[derive(Debug, Clone)]
pub struct Coefficients {
    /// The factor of the signal.
    pub alpha: Tensor<4>,
    /// The factor of the noise.
    pub sigma: Tensor<4>,
    /// `alpha^2 + sigma^2`; `None` where it is 1 by the construction of the schedule, so that nothing is multiplied by it.
    pub power: Option<Tensor<4>>,
}

impl Coefficients {
    /// The coefficients of a schedule with `alpha^2 + sigma^2 = 1`.
    pub fn variance_preserving(alpha: Tensor<4>, sigma: Tensor<4>) -> Self {
        Self { alpha, sigma, power: None }
    }

    /// The coefficients of any schedule.
    pub fn any(alpha: Tensor<4>, sigma: Tensor<4>) -> Self {
        let power = alpha.clone() * alpha.clone() + sigma.clone() * sigma.clone();
        Self { alpha, sigma, power: Some(power) }
    }
}

/// What a denoiser's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prediction {
    /// The noise `eps`.
    Epsilon,
    /// The velocity `v = alpha_t eps - sigma_t x_0`.
    V,
    /// The clean sample `x_0`.
    X0,
    /// The direction `eps - x_0` of a straight path from the sample to the noise (rectified flow).
    Flow,
}

/// The level at `place`, from 0 to 1, between two levels: linear in `log(alpha / sigma)` and in the norm. Where one of
/// the two holds no signal or no noise, linear in the angle `atan(sigma / alpha)`.
fn between(low: (f64, f64), high: (f64, f64), place: f64) -> (f64, f64) {
    let mix = |low: f64, high: f64| low + place * (high - low);
    let log_ratio = |(alpha, sigma): (f64, f64)| alpha.ln() - sigma.ln();
    let angle = |(alpha, sigma): (f64, f64)| sigma.atan2(alpha);
    let norm = mix(low.0.hypot(low.1), high.0.hypot(high.1));
    let lambda = mix(log_ratio(low), log_ratio(high));
    if lambda.is_finite() {
        let share = |x: f64| norm * (1.0 + x.exp()).recip().sqrt();
        return (share(-2.0 * lambda), share(2.0 * lambda));
    }
    let (sin, cos) = mix(angle(low), angle(high)).sin_cos();
    (norm * cos, norm * sin)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    fn rectified(steps: usize) -> NoiseSchedule {
        NoiseSchedule::from_formula(steps, move |t| {
            let sigma = (t + 1.0) / steps as f64;
            (1.0 - sigma, sigma)
        })
        .with_network_time(NetworkTime::NoiseLevel)
    }

    #[test]
    fn whole_timesteps_are_the_tables_own_numbers() {
        let alpha_bars = [0.9, 0.7, 0.4, 0.1];
        let schedule = NoiseSchedule::from_alphas_cumprod(&alpha_bars);
        for (t, alpha_bar) in alpha_bars.into_iter().enumerate() {
            assert_eq!(schedule.level(t as f64), (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()));
        }
        assert_eq!(schedule.level(7.0), schedule.level(3.0));
        assert_eq!(schedule.level(-5.0), (1.0, 0.0));
    }

    #[test]
    fn between_two_timesteps_the_log_ratio_is_interpolated() {
        // alpha / sigma is 2 and 1/2, so 1 in the middle: alpha = sigma = sqrt(1/2).
        let schedule = NoiseSchedule::from_alphas_cumprod(&[0.8, 0.2]);
        let (alpha, sigma) = schedule.level(0.5);
        assert!((alpha - 0.5_f64.sqrt()).abs() < 1e-15 && (sigma - 0.5_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn beside_pure_noise_the_angle_is_interpolated() {
        let (alpha, sigma) = NoiseSchedule::from_alphas_cumprod(&[0.5, 0.0]).level(0.5);
        let angle = 67.5_f64.to_radians();
        assert!((alpha - angle.cos()).abs() < 1e-15 && (sigma - angle.sin()).abs() < 1e-15);
    }

    #[test]
    fn a_formula_holds_in_between_and_the_network_is_told_the_noise_level() {
        let schedule = rectified(4);
        assert_eq!(schedule.level(1.5), (0.375, 0.625));
        assert_eq!(schedule.network_times(&Timesteps(vec![-1.0, 1.5, 3.0])), Timesteps(vec![0.0, 2.5, 4.0]));
        assert!(schedule.has_zero_terminal_snr() && !schedule.is_variance_preserving());
    }

    #[test]
    fn coefficients_state_the_power_only_where_it_is_not_one() {
        let like = Tensor::<4>::zeros([1, 1, 1, 1], (&Device::flex(), DType::F64));
        let t = Timesteps(vec![1.0]);
        let power = |schedule: NoiseSchedule| {
            schedule.coefficients(&t, &like).power.map(burn::tensor::Tensor::into_scalar::<f64>)
        };
        assert_eq!(power(NoiseSchedule::from_alphas_cumprod(&[0.9, 0.5])), None);
        assert_eq!(power(rectified(4)), Some(0.5));
    }

    proptest! {
        #[test]
        fn the_ratio_of_noise_to_signal_never_falls_with_time(
            mut alpha_bars in prop::collection::vec(0.0..1.0_f64, 1..6), a in -1.5..7.0_f64, b in -1.5..7.0_f64,
        ) {
            alpha_bars.sort_by(|a, b| b.total_cmp(a));
            let schedule = NoiseSchedule::from_alphas_cumprod(&alpha_bars);
            let angle = |t: f64| { let (alpha, sigma) = schedule.level(t); sigma.atan2(alpha) };
            prop_assert!(angle(a.min(b)) <= angle(a.max(b)) + 1e-12);
            let (alpha, sigma) = schedule.level(a);
            prop_assert!((alpha.hypot(sigma) - 1.0).abs() < 1e-12);
        }
    }
}
