//! `StyleGAN-T` heads, hinge losses and R1, with every parameter's gradient; those of R1 come from a double backward
//! pass in the reference and from the heads' tangents here.
//!
//! Head `k` sees `in.real.k` and `in.fake.k` `[B, C, N]` under the condition `in.c`; its weights are `w.k.*`.
//! `eval.logits_*` come before any power iteration, `train.logits_fake` after one and `train.logits_real` after two;
//! `after.*` are the vectors then. Losses: `paper` sums the heads' means; `sgt` takes the mean over the heads and
//! divides it by the batch once more. `r1_sum` penalises the gradient of the sum of a sample's logits, `r1_mean`
//! that of their mean, which is 1 / N of it. `grad.d_total` is that of `d_real + d_fake + gamma r1_sum`, `grad.r1` of
//! `r1_sum` alone, `grad.r1mean.k` of `r1_mean`, `grad.g.fake.k` of the generator's loss by the fake features,
//! `r1grad.k` of the logits' sum by the real ones.

use std::{collections::BTreeMap, num::NonZeroUsize};

use ::heads::{ProjectedHead, ProjectedHeads, stylegan_t_name};
use add_loss::{R1, R1Route, Reduction, hinge_discriminator, hinge_generator, input_gradients, r1};
use add_plugin::{Discriminator, Logits, Network};
use burn::tensor::{DType, Tensor};

use crate::{
    Fixture, ParityError,
    row::{Comparison, Tolerance, gradient, values},
};

const TOLERANCE: Tolerance = Tolerance::Relative { part: 1e-9, floor: 0.0 };

/// Parameter gradients smaller than this are rounding: those of the biases in front of a normalisation are zero.
const FLOOR: f64 = 1e-3;
/// The same in f32: the numbers that cancel to zero are near 1, and each is rounded by up to 6e-8.
const FLOOR_IN_F32: f64 = 1e-2;

type Gradients = BTreeMap<String, Vec<f64>>;

struct Case {
    heads: ProjectedHeads,
    real: Vec<Tensor<3>>,
    fake: Vec<Tensor<3>>,
    condition: Option<Tensor<2>>,
}

pub(super) fn compare(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    let mut case = Case::read(fixture)?;
    check_logits(rows, "eval.logits_real", &case.logits(&case.real));
    check_logits(rows, "eval.logits_fake", &case.logits(&case.fake));

    // The reference's order: the fakes, then the real ones, each after one power iteration.
    case.heads.power_iterate();
    let fake = case.logits(&case.fake);
    check_logits(rows, "train.logits_fake", &fake);
    let leaves: Vec<_> = case.fake.iter().map(|h| h.clone().autodiff().require_grad()).collect();
    let adversarial = case.heads.frozen().logits(&leaves, case.condition.clone());
    case.heads.power_iterate();
    let penalty = case.r1();
    check_logits(rows, "train.logits_real", &penalty.logits);
    case.heads.for_each_parameter(&mut |path, _, value| {
        if path.ends_with("weight_u") || path.ends_with("weight_v") {
            rows.check_tensor(&format!("after.{}", reference_name(path)), value, TOLERANCE);
        }
    });

    let by_features = input_gradients(&case.heads, &case.real, case.condition.as_ref());
    check_losses(fixture, rows, &case, &fake, &adversarial, &penalty, &by_features)?;
    let gradients = hinge_generator(&adversarial, Reduction::Sum).backward();
    for (k, leaf) in leaves.iter().enumerate() {
        rows.check_tensor(&format!("grad.g.fake.{k}"), gradient(leaf, &gradients), TOLERANCE);
    }
    for (k, g) in by_features.into_iter().enumerate() {
        rows.check_tensor(&format!("r1grad.{k}"), g, TOLERANCE);
    }

    let (on_real, on_fake) = hinge_discriminator(&penalty.logits, &fake, Reduction::Sum);
    let gamma = fixture.scalar("in.gamma")?;
    let total = case.gradients(on_real + on_fake + penalty.surrogate.mul_scalar(gamma));
    check_gradients(fixture, rows, "grad.d_total.", &total, &|_| 1.0);
    // Burn's tape serves one backward pass, so the penalty alone is computed once more.
    let of_penalty = case.gradients(case.r1().surrogate);
    check_gradients(fixture, rows, "grad.r1.", &of_penalty, &|_| 1.0);
    let mean = |name: &str| {
        let k = name.split('.').next().and_then(|k| k.parse::<usize>().ok());
        k.and_then(|k| case.real.get(k)).map_or(1.0, |h| (h.dims()[2] as f64).powi(-2))
    };
    check_gradients(fixture, rows, "grad.r1mean.", &of_penalty, &mean);
    Ok(())
}

impl Case {
    /// The fixture's heads, trainable, in its widest type; every size is that of a tensor.
    fn read(fixture: &Fixture) -> Result<Self, ParityError> {
        let features = |kind: &str| -> Result<Vec<Tensor<3>>, ParityError> {
            let count = fixture.parts(&format!("in.{kind}.")).len();
            (0..count).map(|k| fixture.tensor(&format!("in.{kind}.{k}"), fixture.wide())).collect()
        };
        let (real, fake) = (features("real")?, features("fake")?);
        let condition =
            if fixture.has("in.c") { Some(fixture.tensor("in.c", fixture.wide())?) } else { None };
        let channels: Vec<usize> = real.iter().map(|h: &Tensor<3>| h.dims()[1]).collect();
        let config = configuration(fixture)?;
        let condition_width = condition.as_ref().map_or(0, |c: &Tensor<2>| c.dims()[1]);
        let mut heads = config.build(&channels, condition_width, 0, &fixture.device().clone().autodiff())?;
        for h in real.iter().chain(&fake) {
            heads.check_batch(h.dims()[0])?;
        }
        let mut weights = BTreeMap::new();
        let mut problem = None;
        heads.for_each_shape(&mut |path, shape| {
            let key = format!("w.{}", reference_name(path));
            match fixture.numbers(&key) {
                Ok(numbers) if numbers.shape == shape => {
                    weights.insert(path.to_owned(), numbers.values);
                }
                Ok(numbers) => {
                    let got = format!("{:?}", numbers.shape);
                    problem.get_or_insert(ParityError::content(&key, format!("shape {shape:?}"), got));
                }
                Err(error) => {
                    problem.get_or_insert(error);
                }
            }
        });
        if let Some(problem) = problem {
            return Err(problem);
        }
        heads.map_parameters(&mut |path, _, _| {
            Tensor::from_data(weights[path].as_slice(), (fixture.device(), fixture.wide()))
        });
        Ok(Self { heads, real, fake, condition })
    }

    fn logits(&self, features: &[Tensor<3>]) -> Vec<Logits> {
        self.heads.logits(features, self.condition.clone())
    }

    fn r1(&self) -> R1 {
        r1(&self.heads, &self.real, self.condition.as_ref(), R1Route::Tangent, &[], Reduction::Sum)
    }

    /// The gradients of `loss` by the reference's names.
    fn gradients(&self, loss: Tensor<1>) -> Gradients {
        let taken = self.heads.take_gradients(&mut loss.backward());
        taken.into_iter().map(|(path, gradient)| (reference_name(&path), values(gradient))).collect()
    }
}

/// Kernels and projection width from the first head's weights, the group of the normalisation from the facts.
fn configuration(fixture: &Fixture) -> Result<ProjectedHead, ParityError> {
    let block = |i: usize| {
        let key =
            if i == 0 { "w.0.main.0.0.weight_orig".into() } else { format!("w.0.main.{i}.fn.0.weight_orig") };
        fixture.shape(&key).ok()?.get(2).copied()
    };
    let positive = |what: &str, n: usize| {
        NonZeroUsize::new(n).ok_or_else(|| ParityError::content(what, "a positive number", n))
    };
    let width = fixture.shape("w.0.cls.bias")?.iter().product();
    Ok(ProjectedHead {
        kernels: (0..).map_while(block).collect(),
        projection_width: positive("w.0.cls.bias", width)?,
        virtual_batch: positive("virtual_bs", fixture.fact("virtual_bs")? as usize)?,
        ..ProjectedHead::default()
    })
}

/// `0.main...` for `heads.0.main...`.
fn reference_name(path: &str) -> String {
    stylegan_t_name(path).trim_start_matches("heads.").to_owned()
}

fn check_logits(rows: &mut Comparison, key: &str, logits: &[Logits]) {
    for (k, Logits(logits)) in logits.iter().enumerate() {
        rows.check_tensor(&format!("{key}.{k}"), logits.clone(), TOLERANCE);
    }
}

fn check_losses(
    fixture: &Fixture,
    rows: &mut Comparison,
    case: &Case,
    fake: &[Logits],
    adversarial: &[Logits],
    penalty: &R1,
    by_features: &[Tensor<3>],
) -> Result<(), ParityError> {
    let scalar = |loss: Tensor<1>| values(loss)[0];
    let tolerance = rows.computed(TOLERANCE);
    let mut check = |key: &str, got: f64| rows.check_values(key, &[got], tolerance);
    let batch = case.real[0].dims()[0] as f64;
    for (reduction, name, divisor) in [(Reduction::Sum, "paper", 1.0), (Reduction::Mean, "sgt", batch)] {
        let (on_real, on_fake) = hinge_discriminator(&penalty.logits, fake, reduction);
        check(&format!("loss.d_real.{name}"), scalar(on_real) / divisor);
        check(&format!("loss.d_fake.{name}"), scalar(on_fake) / divisor);
        check(&format!("loss.g.{name}"), scalar(hinge_generator(adversarial, reduction)) / divisor);
    }
    let r1_sum = scalar(penalty.value.clone());
    check("loss.r1_sum", r1_sum);
    let of_mean = |g: &Tensor<3>| {
        let [b, _, n] = g.dims();
        scalar(g.clone().square().sum()) / (b * n * n) as f64
    };
    check("loss.r1_mean", by_features.iter().map(of_mean).sum());
    let (on_real, on_fake) = hinge_discriminator(&penalty.logits, fake, Reduction::Sum);
    check("loss.d_total", scalar(on_real) + scalar(on_fake) + fixture.scalar("in.gamma")? * r1_sum);
    Ok(())
}

/// Compares each gradient that the fixture has, `factor(name)` times ours; a parameter without one has zero.
fn check_gradients(
    fixture: &Fixture,
    rows: &mut Comparison,
    prefix: &str,
    gradients: &Gradients,
    factor: &dyn Fn(&str) -> f64,
) {
    let floor = if fixture.wide() == DType::F64 { FLOOR } else { FLOOR_IN_F32 };
    for name in fixture.keys(prefix) {
        let key = format!("{prefix}{name}");
        let factor = factor(name);
        let tolerance = rows.computed(Tolerance::Relative { part: 1e-9, floor: floor * factor });
        let got = match gradients.get(name) {
            Some(gradient) => gradient.iter().map(|g| g * factor).collect(),
            None => vec![0.0; fixture.shape(&key).map_or(0, |shape| shape.iter().product())],
        };
        rows.check_values(&key, &got, tolerance);
    }
}
