//! A denoiser that knows the answer, and a record of what it was asked.

use add_plugin::{Estimate, NoiseSchedule, Plugin, Sampler, SamplerContext, Start, Timesteps};
use burn::tensor::{DType, Device, Tensor};

/// Reads a sampler as a recipe would.
pub(crate) fn recipe(text: &str) -> Plugin<dyn Sampler> {
    use ron::extensions::Extensions;
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One run on a picture of one pixel.
pub(crate) struct Run {
    pub(crate) steps: usize,
    pub(crate) schedule: NoiseSchedule,
    pub(crate) student_timesteps: Vec<usize>,
    /// The clean value that the denoiser always answers.
    pub(crate) x0: f64,
    /// The noise that the run starts from.
    pub(crate) noise: f64,
    /// The noise of every later step.
    pub(crate) fresh: f64,
    /// A picture that is there before, with its strength.
    pub(crate) picture: Option<(f64, f64)>,
    /// Timesteps that the denoiser was asked at.
    pub(crate) asked: Vec<f64>,
    /// What it was given there.
    pub(crate) inputs: Vec<f64>,
}

impl Run {
    /// On Stable Diffusion's schedule.
    pub(crate) fn new(steps: usize) -> Self {
        let (first, last) = (0.00085_f64.sqrt(), 0.012_f64.sqrt());
        let beta = |t: usize| (first + (last - first) * t as f64 / 999.0).powi(2);
        let alphas_cumprod = (0..1000).scan(1.0, |signal, t| {
            *signal *= 1.0 - beta(t);
            Some(*signal)
        });
        Self::on(&alphas_cumprod.collect::<Vec<f64>>(), steps)
    }

    /// On a schedule of `alpha_bar`.
    pub(crate) fn on(alphas_cumprod: &[f64], steps: usize) -> Self {
        Self::under(NoiseSchedule::from_alphas_cumprod(alphas_cumprod), steps)
    }

    /// On rectified flow, `sigma = shift tau / (1 + (shift - 1) tau)` with `tau = (t + 1) / 1000`.
    pub(crate) fn on_flow(shift: f64, steps: usize) -> Self {
        let level = move |t: f64| {
            let tau = (t + 1.0) / 1000.0;
            let total = 1.0 - tau + shift * tau;
            ((1.0 - tau) / total, shift * tau / total)
        };
        Self::under(NoiseSchedule::from_formula(1000, level), steps)
    }

    fn under(schedule: NoiseSchedule, steps: usize) -> Self {
        Self {
            steps,
            schedule,
            student_timesteps: Vec::new(),
            x0: 0.7,
            noise: -1.3,
            fresh: 0.4,
            picture: None,
            asked: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// Runs `sampler` with the denoiser that knows `x0`, and returns its sample.
    pub(crate) fn sample(&mut self, sampler: &dyn Sampler) -> f64 {
        let pixel = |value: f64| Tensor::<4>::full([1, 1, 1, 1], value, (&Device::flex(), DType::F64));
        let (schedule, x0, fresh) = (self.schedule.clone(), self.x0, self.fresh);
        let mut context = SamplerContext {
            steps: self.steps,
            schedule: &schedule,
            student_timesteps: &self.student_timesteps,
            noise: pixel(self.noise),
            start: match self.picture {
                None => Start::Noise,
                Some((x_0, strength)) => Start::Picture { x_0: pixel(x_0), strength },
            },
            fresh_noise: &mut |_| pixel(fresh),
        };
        let (asked, inputs) = (&mut self.asked, &mut self.inputs);
        let mut denoiser = |x_t: Tensor<4>, t: &Timesteps| {
            let t = t.0[0];
            asked.push(t);
            inputs.push(x_t.clone().into_scalar::<f64>());
            let epsilon = x_t.sub_scalar(schedule.alpha(t) * x0).div_scalar(schedule.sigma(t));
            Estimate { x0: pixel(x0), epsilon }
        };
        sampler.sample(&mut context, &mut denoiser).into_scalar()
    }
}

/// Laws that hold for every sampler.
mod laws {
    use proptest::prelude::*;

    use super::{Run, recipe};

    const SAMPLERS: [&str; 10] = [
        "AddRefine()",
        "Ddim()",
        "Ddim(eta: 1.0, spacing: Leading)",
        "Euler()",
        "Euler(spacing: Linspace)",
        "EulerAncestral()",
        "DpmSolver2M()",
        "DpmSolver2M(spacing: Leading)",
        "DpmSolver2M(sigmas: Karras)",
        "Lcm(timestep_scaling: 1e9)",
    ];

    proptest! {
        #[test]
        fn with_the_true_denoiser_every_sampler_recovers_the_clean_sample(
            which in 0..SAMPLERS.len(), steps in 1_usize..40, x0 in -2.0..2.0_f64, noise in -2.0..2.0_f64,
            zero_terminal in any::<bool>(),
        ) {
            let mut run = Run::new(steps);
            if zero_terminal {
                let mut alphas = run.schedule.alphas_cumprod().expect("variance preserving").to_vec();
                alphas[999] = 0.0;
                run = Run::on(&alphas, steps);
            }
            (run.x0, run.noise) = (x0, noise);
            let sample = run.sample(&*recipe(SAMPLERS[which]));
            prop_assert!((sample - x0).abs() < 1e-6, "{}: {sample} for {x0}", SAMPLERS[which]);
            prop_assert_eq!(run.asked.len(), steps);
        }

        #[test]
        fn with_the_true_denoiser_they_do_so_on_rectified_flow_too(
            which in 0..SAMPLERS.len(), steps in 1_usize..40, x0 in -2.0..2.0_f64, noise in -2.0..2.0_f64,
            shift in prop_oneof![Just(1.0), 0.3..9.0_f64],
        ) {
            let mut run = Run::on_flow(shift, steps);
            (run.x0, run.noise) = (x0, noise);
            let sample = run.sample(&*recipe(SAMPLERS[which]));
            prop_assert!((sample - x0).abs() < 1e-6, "{}: {sample} for {x0}", SAMPLERS[which]);
            prop_assert_eq!(run.asked.len(), steps);
            prop_assert!(run.asked.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", run.asked);
        }

        #[test]
        fn a_picture_is_noised_to_where_its_part_of_the_steps_begins(
            which in 0..SAMPLERS.len(), steps in 1_usize..30, strength in 0.0..1.0_f64,
        ) {
            let sampler = recipe(SAMPLERS[which]);
            let mut whole = Run::new(steps);
            whole.sample(&*sampler);
            let mut run = Run::new(steps);
            run.picture = Some((-0.4, strength));
            let sample = run.sample(&*sampler);
            let left = ((steps as f64 * strength) as usize).max(1);
            prop_assert_eq!(&run.asked, &whole.asked[steps - left..]);
            prop_assert!((sample - run.x0).abs() < 1e-6, "{}: {sample}", SAMPLERS[which]);
            // Karras levels lie beside their timesteps.
            if !SAMPLERS[which].contains("Karras") {
                let (alpha, sigma) = (run.schedule.alpha(run.asked[0]), run.schedule.sigma(run.asked[0]));
                prop_assert!((run.inputs[0] - (alpha * -0.4 + sigma * run.noise)).abs() < 1e-12);
            }
        }

        #[test]
        fn a_student_is_asked_at_its_own_timesteps(which in 0..SAMPLERS.len(), steps in 1_usize..5) {
            let mut run = Run::new(steps);
            run.student_timesteps = vec![699, 799, 899, 999];
            run.sample(&*recipe(SAMPLERS[which]));
            prop_assert!((run.asked[0] - 999.0).abs() < 1e-9);
            prop_assert!(run.asked.iter().all(|t| run.student_timesteps.iter().any(|s| (*s as f64 - t).abs() < 1e-12)), "{:?}", run.asked);
            prop_assert_eq!(run.asked.len(), steps);
        }

        #[test]
        fn no_number_of_steps_panics(which in 0..SAMPLERS.len(), steps in 0_usize..30) {
            let mut run = Run::on(&[0.9, 0.5, 0.2], steps);
            prop_assert!(run.sample(&*recipe(SAMPLERS[which])).is_finite());
        }
    }
}
