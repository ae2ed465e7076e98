//! What the heads and their losses do to each other's gradients, and in single precision.

use add_loss::{PixelReduction, R1Route, Reduction, distillation, hinge_generator, r1};
use add_plugin::{Discriminator, Network};
use burn::tensor::{DType, Tensor};

use crate::testing::{close, conditional, random, unconditional, values};

#[test]
fn logits_are_linear_in_the_mapped_condition() {
    let case = conditional();
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
    let case = unconditional();
    let leaves: Vec<_> = case.fake.iter().map(|h| h.clone().autodiff().require_grad()).collect();
    let loss = hinge_generator(&case.heads.frozen().logits(&leaves, None), Reduction::Mean);
    let mut gradients = loss.backward();
    assert!(case.heads.take_gradients(&mut gradients).is_empty());
    assert!(leaves[0].grad(&gradients).is_some());
}

#[test]
fn f32_heads_agree_with_f64() {
    let case = conditional();
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
    let name = "heads.0.main.1.conv.weight_orig";
    let gradient = taken.remove(name).expect("a gradient");
    let want = &case.gradients(exact.surrogate)[name];
    close("its gradient", &values(gradient.cast(DType::F64)), want, 1e-5, 0.0);
}

#[test]
fn nothing_reaches_the_teacher() {
    let sample = |index| random([3, 4, 16], index).unsqueeze_dim::<4>(3);
    let (x, target) = (sample(1).autodiff().require_grad(), sample(2).autodiff().require_grad());
    let loss = distillation(x.clone(), target.clone().inner(), &[1.0; 3], PixelReduction::Mean);
    let gradients = loss.backward();
    assert!(x.grad(&gradients).is_some() && target.grad(&gradients).is_none());
}
