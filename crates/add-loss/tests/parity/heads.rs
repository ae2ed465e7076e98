//! `ProjectedHead`, hinge and R1: `losses/heads_*`. Every parameter gradient, those of R1 by double backward.

use std::{collections::BTreeMap, num::NonZeroUsize};

use add_loss::{R1, R1Route, Reduction, hinge_discriminator, hinge_generator, input_gradients, r1};
use add_plugin::{Discriminator, Logits, Network};
use burn::tensor::{DType, Device, Tensor};
use heads::{ProjectedHead, ProjectedHeads, stylegan_t_name};

use crate::fixture::{Fixture, close, tensor, values};

const TOLERANCE: f64 = 1e-9;

/// Gradients smaller than this are rounding: those of the biases in front of a normalisation are zero.
const FLOOR: f64 = 1e-3;

pub(crate) struct Case {
    pub(crate) fixture: Fixture,
    pub(crate) heads: ProjectedHeads,
    pub(crate) real: Vec<Tensor<3>>,
    pub(crate) fake: Vec<Tensor<3>>,
    pub(crate) condition: Option<Tensor<2>>,
}

/// The fixture's heads, trainable, in float64.
pub(crate) fn case(name: &str) -> Case {
    let fixture = Fixture::open("losses", name);
    let features = |kind: &str| {
        let count = fixture.names(&format!("in.{kind}.")).len();
        (0..count).map(|k| fixture.tensor::<3>(&format!("in.{kind}.{k}"))).collect::<Vec<_>>()
    };
    let (real, fake) = (features("real"), features("fake"));
    let condition = fixture.names("in.").contains(&"c".to_owned()).then(|| fixture.tensor::<2>("in.c"));
    let channels: Vec<usize> = real.iter().map(|h| h.dims()[1]).collect();
    let width = fixture.shape("w.0.cls.bias")[0];
    let config = ProjectedHead {
        projection_width: NonZeroUsize::new(width).expect("a width"),
        ..ProjectedHead::default()
    };
    let condition_width = condition.as_ref().map_or(0, |c| c.dims()[1]);
    let device = Device::flex().autodiff();
    let mut heads = config.build(&channels, condition_width, 0, &device).expect("heads");
    let mut read = 0;
    heads.map_parameters(&mut |path, shape, _| {
        let key = format!("w.{}", reference_name(path));
        assert_eq!(fixture.shape(&key), shape, "{key}");
        read += 1;
        tensor(&fixture.values(&key), [shape.iter().product()])
    });
    assert_eq!(read, fixture.names("w.").len(), "every weight is read");
    Case { fixture, heads, real, fake, condition }
}

/// `0.main...` for `heads.0.main...`.
fn reference_name(path: &str) -> String {
    stylegan_t_name(path).trim_start_matches("heads.").to_owned()
}

impl Case {
    fn logits(&self, features: &[Tensor<3>]) -> Vec<Logits> {
        self.heads.logits(features, self.condition.clone())
    }

    pub(crate) fn r1(&self, route: R1Route) -> R1 {
        r1(&self.heads, &self.real, self.condition.as_ref(), route, &[], Reduction::Sum)
    }

    fn check_logits(&self, key: &str, logits: &[Logits]) {
        for (k, Logits(logits)) in logits.iter().enumerate() {
            self.fixture.check(&format!("{key}.{k}"), logits.clone(), TOLERANCE);
        }
    }

    /// The gradients of `loss` by the reference's names; a parameter without one has zero.
    pub(crate) fn gradients(&self, loss: Tensor<1>) -> BTreeMap<String, Vec<f64>> {
        let taken = self.heads.take_gradients(&mut loss.backward());
        taken.into_iter().map(|(path, gradient)| (reference_name(&path), values(gradient))).collect()
    }

    pub(crate) fn check_gradients(&self, key: &str, gradients: &BTreeMap<String, Vec<f64>>, relative: f64) {
        let names = self.fixture.names(key);
        assert!(names.len() >= 10, "{key} has {} gradients", names.len());
        for name in names {
            let want = self.fixture.values(&format!("{key}{name}"));
            let zeros = vec![0.0; want.len()];
            close(&format!("{key}{name}"), gradients.get(&name).unwrap_or(&zeros), &want, relative, FLOOR);
        }
    }
}

fn check(name: &str) {
    let mut case = case(name);
    case.check_logits("eval.logits_real", &case.logits(&case.real));
    case.check_logits("eval.logits_fake", &case.logits(&case.fake));

    case.heads.power_iterate();
    let fake = case.logits(&case.fake);
    case.check_logits("train.logits_fake", &fake);
    let adversarial = {
        let leaves: Vec<_> = case.fake.iter().map(|h| h.clone().autodiff().require_grad()).collect();
        let logits = case.heads.frozen().logits(&leaves, case.condition.clone());
        (leaves, hinge_generator(&logits, Reduction::Sum))
    };
    case.heads.power_iterate();
    let penalty = case.r1(R1Route::Tangent);
    case.check_logits("train.logits_real", &penalty.logits);
    case.heads.for_each_parameter(&mut |path, _, value| {
        if path.ends_with("weight_u") || path.ends_with("weight_v") {
            case.fixture.check(&format!("after.{}", reference_name(path)), value, TOLERANCE);
        }
    });

    let scalar = |key: &str, got: Tensor<1>| case.fixture.check_values(key, &values(got), TOLERANCE, 0.0);
    let (on_real, on_fake) = hinge_discriminator(&penalty.logits, &fake, Reduction::Sum);
    scalar("loss.d_real.paper", on_real.clone());
    scalar("loss.d_fake.paper", on_fake.clone());
    scalar("loss.g.paper", adversarial.1.clone());
    scalar("loss.r1_sum", penalty.value.clone());
    let gradients = adversarial.1.backward();
    for (k, leaf) in adversarial.0.iter().enumerate() {
        case.fixture.check(
            &format!("grad.g.fake.{k}"),
            leaf.grad(&gradients).expect("a gradient"),
            TOLERANCE,
        );
    }
    for (k, g) in input_gradients(&case.heads, &case.real, case.condition.as_ref()).into_iter().enumerate() {
        case.fixture.check(&format!("r1grad.{k}"), g, TOLERANCE);
    }

    let gamma = case.fixture.scalar("in.gamma");
    let total = on_real + on_fake + penalty.surrogate.mul_scalar(gamma);
    case.check_gradients("grad.d_total.", &case.gradients(total), TOLERANCE);
    // Burn's tape serves one backward pass, so the penalty alone is computed once more.
    case.check_gradients("grad.r1.", &case.gradients(case.r1(R1Route::Tangent).surrogate), TOLERANCE);
}

#[test]
fn five_conditional_heads() {
    check("heads_b4");
}

#[test]
fn two_normalisation_groups() {
    check("heads_b16_two_groups");
}

#[test]
fn unconditional_heads() {
    check("heads_uncond");
}

#[test]
fn logits_are_linear_in_the_mapped_condition() {
    let case = case("heads_b4");
    let heads = case.heads.frozen();
    let c = case.condition.clone().expect("a condition");
    let logits = |c: Tensor<2>| values(heads.logits(&case.real, Some(c))[0].0.clone());
    // An affine map of the condition: D(2 c) - D(c) = D(c) - D(0).
    let [none, once, twice] = [0.0, 1.0, 2.0].map(|k| logits(c.clone().mul_scalar(k)));
    let rise = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
    close("linearity", &rise(&twice, &once), &rise(&once, &none), 1e-12, 0.0);
}

#[test]
fn a_frozen_copy_gives_the_parameters_no_gradient() {
    let case = case("heads_uncond");
    let leaves: Vec<_> = case.fake.iter().map(|h| h.clone().autodiff().require_grad()).collect();
    let loss = hinge_generator(&case.heads.frozen().logits(&leaves, None), Reduction::Mean);
    let mut gradients = loss.backward();
    assert!(case.heads.take_gradients(&mut gradients).is_empty());
    assert!(leaves[0].grad(&gradients).is_some());
}

#[test]
fn f32_heads_agree_with_f64() {
    let case = case("heads_b4");
    let single = |h: &Tensor<3>| h.clone().cast(DType::F32);
    let mut heads = case.heads.clone();
    heads.map_parameters(&mut |_, _, value| value.cast(DType::F32));
    let features: Vec<_> = case.real.iter().map(single).collect();
    let condition = case.condition.clone().map(|c| c.cast(DType::F32));
    let penalty = r1(&heads, &features, condition.as_ref(), R1Route::Tangent, &[], Reduction::Sum);
    let value = values(penalty.value.cast(DType::F64));
    let exact = case.r1(R1Route::Tangent);
    close("R1", &value, &values(exact.value), 1e-5, 0.0);
    let mut taken = heads.take_gradients(&mut penalty.surrogate.backward());
    let gradient = taken.remove("heads.0.main.1.conv.weight_orig").expect("a gradient");
    let want = &case.gradients(exact.surrogate)["0.main.1.fn.0.weight_orig"];
    close("its gradient", &values(gradient.cast(DType::F64)), want, 1e-5, 0.0);
}
