//! Fakes that both updates share, which no recording holds: with equal noise they are those made twice.

use add_train::report::{Figure, StepReport};

use crate::{
    comparison::Comparison,
    fixture::Fixture,
    run::{Run, Values, is_trained, weighting},
};

/// Of two ways to the same number.
const TOLERANCE: f64 = 1e-12;

/// The figures and values after two steps in which the discriminator sees fakes of the generator's noise.
fn steps(name: &str, shared: bool) -> (Vec<StepReport>, Values) {
    let fixture = Fixture::open(name);
    let weighting = weighting(&fixture.config.hyper.weighting);
    let mut run = Run::new(&fixture, &weighting, 1);
    let step = |step: usize| {
        let mut inputs = run.inputs(step);
        inputs.discriminator = (!shared).then(|| inputs.generator.clone());
        run.step(vec![inputs])
    };
    let reports = (0..2).map(step).collect();
    (reports, run.values())
}

#[test]
fn shared_fakes_are_those_made_twice() {
    let name = "add_exp";
    let ((reports, values), (want_reports, want_values)) = (steps(name, true), steps(name, false));
    let mut comparison = Comparison::new(name);
    let mut check =
        |what: String, got: &[f64], want: &[f64]| comparison.add(&what, got, want, TOLERANCE, 0.0);
    for (report, want) in reports.iter().zip(&want_reports) {
        assert_eq!(report.figures().count(), want.figures().count());
        for ((name, got), (_, want)) in report.figures().zip(want.figures()) {
            check(format!("figure {name}"), numbers(got), numbers(want));
        }
    }
    for (network, got, want) in [
        ("student", &values.student, &want_values.student),
        ("heads", &values.heads, &want_values.heads),
        ("ema", &values.ema, &want_values.ema),
    ] {
        for (name, want) in want.iter().filter(|(name, _)| is_trained(network, name)) {
            check(format!("{network} {name}"), &got[name], want);
        }
    }
    comparison.finish(400);
}

fn numbers(figure: &Figure) -> &[f64] {
    match figure {
        Figure::Number(value) => std::slice::from_ref(value),
        Figure::List(values) => values,
    }
}
