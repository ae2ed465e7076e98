//! `fid.<case>`, `kid.<case>`, `clip`: distances of feature sets and the CLIP score, all in f64.
//!
//! `fid.<case>.{x, y}` are the sets, `mu_x` and `sigma_x` numpy's mean and covariance, the others the Frechet
//! distance by several libraries and formulas; `kid.<case>.*` the unbiased kernel distance of the same sets;
//! `clip.{image, text}` the features whose cosines and scores are given.

use add_eval::{ClipScoreConvention, FeatureSet, Moments, frechet_distance, kid, mean_cosine, row_cosines};

use crate::{
    Fixture, ParityError,
    row::{Comparison, Tolerance},
};

/// On a singular covariance each library sums its own rounding noise, a few 1e-9 a direction.
const SINGULAR: f64 = 2e-8;
const REGULAR: f64 = 1e-12;

pub(super) fn compare(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    for case in fixture.parts("fid.") {
        compare_frechet(fixture, rows, &case)?;
    }
    for case in fixture.parts("kid.") {
        let (x, y) = (set(fixture, &format!("fid.{case}.x"))?, set(fixture, &format!("fid.{case}.y"))?);
        let distance = kid(&x, &y)?;
        for library in fixture.parts(&format!("kid.{case}.")) {
            rows.check_values(&format!("kid.{case}.{library}"), &[distance], Tolerance::relative(REGULAR));
        }
    }
    if fixture.has("clip.image") {
        let (images, texts) = (set(fixture, "clip.image")?, set(fixture, "clip.text")?);
        let cosines = row_cosines(&images, &texts)?;
        let score = |convention: ClipScoreConvention| vec![convention.score(&cosines)];
        for (key, got) in [
            ("clip.mean_cos", vec![mean_cosine(&images, &texts)?]),
            ("clip.torchmetrics_100", score(ClipScoreConvention::Torchmetrics)),
            ("clip.hessel_2.5", score(ClipScoreConvention::Hessel)),
            ("clip.cos", cosines.clone()),
        ] {
            rows.check_values(key, &got, Tolerance::relative(1e-13));
        }
    }
    Ok(())
}

fn compare_frechet(fixture: &Fixture, rows: &mut Comparison, case: &str) -> Result<(), ParityError> {
    let key = |name: &str| format!("fid.{case}.{name}");
    let (x, y) = (set(fixture, &key("x"))?, set(fixture, &key("y"))?);
    let (of_x, of_y) = (Moments::of(&x)?, Moments::of(&y)?);
    let rounding = Tolerance::Relative { part: 1e-13, floor: 1.0 };
    rows.check_values(&key("mu_x"), of_x.mean(), rounding);
    rows.check_values(&key("sigma_x"), &of_x.covariance()?, rounding);
    let distance = frechet_distance(&of_x, &of_y)?;
    let singular = x.rows().min(y.rows()) <= x.dim();
    // Two equal sets have a distance of nothing but rounding, that of the traces which cancel.
    let trace = |of: &Moments| -> Result<f64, ParityError> {
        Ok(of.covariance()?.iter().step_by(x.dim() + 1).sum::<f64>())
    };
    let traces = trace(&of_x)? + trace(&of_y)?;
    let floor = if distance < 1e-6 * traces { traces } else { 0.0 };
    let tolerance = Tolerance::Relative { part: if singular { SINGULAR } else { REGULAR }, floor };
    for library in fixture.parts(&key("")) {
        if !["x", "y", "mu_x", "sigma_x"].contains(&library.as_str()) {
            rows.check_values(&key(&library), &[distance], tolerance);
        }
    }
    Ok(())
}

/// A matrix `[rows, dim]` as a feature set.
fn set(fixture: &Fixture, key: &str) -> Result<FeatureSet, ParityError> {
    let numbers = fixture.numbers(key)?;
    let shape = numbers.shape;
    let [_, dim] = shape[..] else {
        return Err(ParityError::content(key, "features [rows, dim]", format!("shape {shape:?}")));
    };
    Ok(FeatureSet::new(dim, numbers.values)?)
}
