//! The routes of R1 against each other.

use add_loss::{R1Route, Reduction, r1};
use add_plugin::{Draw, Network};

use crate::testing::{close, conditional, unconditional, values};

#[test]
fn the_central_difference_agrees_with_the_tangent() {
    let case = conditional();
    let exact = case.r1(R1Route::Tangent);
    let approximate = case.r1(R1Route::Directional { relative_step: 1e-5 });
    close("value", &values(approximate.value), &values(exact.value.clone()), 1e-12, 0.0);
    let (exact, approximate) = (case.gradients(exact.surrogate), case.gradients(approximate.surrogate));
    for (name, want) in &exact {
        close(name, &approximate[name], want, 1e-6, 1.0);
    }
}

#[test]
fn the_surrogate_is_twice_the_penalty() {
    // |g|^2 is quadratic in g, and the surrogate 2 v . g is its linearisation at v = g.
    let case = unconditional();
    let penalty = case.r1(R1Route::Tangent);
    let twice = values(penalty.value.mul_scalar(2.0));
    close("surrogate", &values(penalty.surrogate), &twice, 1e-12, 0.0);
}

#[test]
fn the_mean_over_heads_is_the_sum_by_their_number() {
    let case = conditional();
    let sum = values(case.r1(R1Route::Tangent).value)[0];
    let mean = r1(&case.heads, &case.real, case.condition.as_ref(), R1Route::Tangent, &[], Reduction::Mean);
    close("mean", &values(mean.value), &[sum / 5.0], 1e-12, 0.0);
}

#[test]
fn no_route_moves_the_heads_through_the_value() {
    let case = unconditional();
    let draws: Vec<_> = (0..4).map(|index| Draw { seed: 1, step: 0, index }).collect();
    for route in [
        R1Route::Tangent,
        R1Route::Directional { relative_step: 1e-3 },
        R1Route::Noise { sigma: 0.1 },
        R1Route::Off,
    ] {
        let penalty = r1(&case.heads, &case.real, None, route, &draws, Reduction::Mean);
        assert!(!penalty.value.is_autodiff(), "{route:?}");
        assert_eq!(penalty.logits[0].0.dims(), [4, 16]);
    }
}

#[test]
fn off_is_zero_and_has_no_gradient() {
    let case = unconditional();
    let penalty = case.r1(R1Route::Off);
    assert_eq!((values(penalty.value), values(penalty.surrogate)), (vec![0.0], vec![0.0]));
}

#[test]
fn noise_is_the_squared_difference_of_logits_and_trains_the_heads() {
    let case = unconditional();
    let draws: Vec<_> = (0..4).map(|index| Draw { seed: 1, step: 0, index }).collect();
    let penalty =
        |sigma: f64| r1(&case.heads, &case.real, None, R1Route::Noise { sigma }, &draws, Reduction::Sum);
    assert_eq!(values(penalty(0.0).value), [0.0]);
    let [small, twice] = [1e-4, 2e-4].map(|sigma| values(penalty(sigma).value)[0]);
    assert!((twice / small - 4.0).abs() < 1e-2, "quadratic in sigma: {small} {twice}");
    let taken = case.heads.take_gradients(&mut penalty(0.1).surrogate.backward());
    assert!(taken.contains_key("heads.1.cls.weight_orig"));
}
