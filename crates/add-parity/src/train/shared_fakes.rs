//! Fakes that both updates share, which no recording holds: with equal noise they are those made twice.

use add_train::report::{Figure, StepReport};

use super::{
    compare::is_trained,
    recording::Recording,
    run::{Run, Values},
    shipped,
};
use crate::row::largest_difference;

/// Tolerance between two ways to the same number.
const TOLERANCE: f64 = 1e-12;

/// The figures and values after two steps in which the discriminator sees fakes of the generator's noise.
fn steps(shared: bool) -> (Vec<StepReport>, Values) {
    let fixture = shipped("add_exp");
    let recording = Recording::read(&fixture).expect("a run");
    let mut run = Run::new(&recording, 1).expect("networks");
    let step = |step: usize| {
        let mut inputs = run.inputs(step).expect("inputs");
        inputs.discriminator = (!shared).then(|| inputs.generator.clone());
        run.step(vec![inputs])
    };
    let reports = (0..2).map(step).collect();
    (reports, run.values())
}

/// Adds `what` to `off` where `got` is too far from `want`.
fn check(off: &mut Vec<String>, what: String, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0_f64, |largest, w| largest.max(w.abs()));
    let difference = largest_difference(got, want);
    if difference.is_nan() || difference > TOLERANCE * largest {
        off.push(format!("{what}: {difference:.2e} of {largest:.2e}"));
    }
}

#[test]
fn shared_fakes_are_those_made_twice() {
    let ((reports, values), (want_reports, want_values)) = (steps(true), steps(false));
    let (mut off, mut compared) = (Vec::new(), 0);
    for (report, want) in reports.iter().zip(&want_reports) {
        assert_eq!(report.figures().count(), want.figures().count());
        for ((name, got), (_, want)) in report.figures().zip(want.figures()) {
            check(&mut off, format!("figure {name}"), numbers(&got), numbers(&want));
            compared += 1;
        }
    }
    for (network, want) in &want_values {
        for (name, want) in want.iter().filter(|(name, _)| is_trained(network, name)) {
            check(&mut off, format!("{network} {name}"), &values[network][name], want);
            compared += 1;
        }
    }
    assert!(off.is_empty(), "{off:#?}");
    assert!(compared >= 400, "{compared}");
}

fn numbers(figure: &Figure) -> &[f64] {
    match figure {
        Figure::Number(value) => std::slice::from_ref(value),
        Figure::List(values) => values,
    }
}
