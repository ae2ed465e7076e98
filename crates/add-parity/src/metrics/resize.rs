//! `resize.<case>` and `clip_pre.<case>`: resizing of 8-bit pictures `[H, W, 3]`.
//!
//! `resize.<case>.<convention>.<H>x<W>` is a whole result, `.<size>` a square one of which every n-th row and column
//! is kept; the conventions are clean-fid's (`clean`), torch-fidelity's (`tf1`) and pytorch-fid's (`torch`).
//! `clip_pre.<case>.<size>` is `open_clip`'s evaluation transform of the same picture, `[3, size, size]`;
//! `_every<n>` after the size says what is kept.

use add_eval::{
    EvalError,
    resize::{HwcImage, clean, clip_transform, tf1_bilinear, torch_bilinear},
};

use crate::{
    Fixture, ParityError,
    row::{Comparison, Tolerance},
};

type Resize = fn(&HwcImage, usize, usize) -> Result<HwcImage, EvalError>;

const CONVENTIONS: [(&str, Resize); 3] = [("clean", clean), ("tf1", tf1_bilinear), ("torch", torch_bilinear)];

/// The references compute in f32: a few units in the last place of 255.
const LEVELS: Tolerance = Tolerance::Absolute(1e-4);
/// One 8-bit level is 0.0146: equality of the pixels, and f32 rounding after them.
const PIXELS: Tolerance = Tolerance::Absolute(1e-6);

pub(super) fn compare(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    for case in fixture.parts("resize.") {
        let (shape, pixels) = picture(fixture, &case)?;
        let image = HwcImage::from_u8(shape[0], shape[1], shape[2], &pixels)?;
        for (name, resize) in CONVENTIONS {
            let prefix = format!("resize.{case}.{name}.");
            for size in fixture.parts(&prefix) {
                let key = format!("{prefix}{size}");
                let kept = fixture.shape(&key)?;
                let Some((height, width)) = sides(&size) else {
                    rows.fail(&key, "expected a size such as 31x29 or 299 at the end of the name");
                    continue;
                };
                let got = resize(&image, height, width)?;
                let got = every(got.values(), [height, width, shape[2]], &kept, 0);
                rows.check_values(&key, &got, LEVELS);
            }
        }
    }
    for case in fixture.parts("clip_pre.") {
        let (shape, pixels) = picture(fixture, &case)?;
        let prefix = format!("clip_pre.{case}.");
        for size in fixture.parts(&prefix) {
            let key = format!("{prefix}{size}");
            let kept = fixture.shape(&key)?;
            let Ok(side) = size.split('_').next().unwrap_or(&size).parse() else {
                rows.fail(&key, "expected a size such as 224 at the end of the name");
                continue;
            };
            let got = clip_transform(&pixels, shape[0], shape[1], side)?;
            rows.check_values(&key, &every(&got, [3, side, side], &kept, 1), PIXELS);
        }
    }
    Ok(())
}

fn picture(fixture: &Fixture, case: &str) -> Result<([usize; 3], Vec<u8>), ParityError> {
    let key = format!("resize.{case}.in");
    let shape = fixture.shape(&key)?;
    let wrong = |_| ParityError::content(&key, "a picture [H, W, C]", format!("shape {shape:?}"));
    let levels = fixture.indices(&key)?;
    Ok((<[usize; 3]>::try_from(shape.clone()).map_err(wrong)?, levels.into_iter().map(|v| v as u8).collect()))
}

/// `31x29`, or `299` for a square.
fn sides(size: &str) -> Option<(usize, usize)> {
    let (height, width) = size.split_once('x').unwrap_or((size, size));
    Some((height.parse().ok()?, width.parse().ok()?))
}

/// Every n-th row and column of values `[a, b, c]`, of which the rows are axis `first`, so that as many remain as
/// `kept` has.
fn every(values: &[f32], shape: [usize; 3], kept: &[usize], first: usize) -> Vec<f64> {
    let step = |axis: usize| {
        let thinned = axis == first || axis == first + 1;
        if thinned { shape[axis].div_ceil(kept.get(axis).copied().unwrap_or(1).max(1)) } else { 1 }
    };
    let [a, b, c] = shape;
    let mut out = Vec::new();
    for i in (0..a).step_by(step(0)) {
        for j in (0..b).step_by(step(1)) {
            for k in (0..c).step_by(step(2)) {
                out.push(f64::from(values[(i * b + j) * c + k]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_row_and_column_is_kept() {
        let values: Vec<f32> = (0..18).map(|v| v as f32).collect();
        // [3, 3, 2]: rows 0 and 2, columns 0 and 2, both channels.
        assert_eq!(every(&values, [3, 3, 2], &[2, 2, 2], 0), [0.0, 1.0, 4.0, 5.0, 12.0, 13.0, 16.0, 17.0]);
        // [2, 3, 3]: both channels, then the same.
        assert_eq!(every(&values, [2, 3, 3], &[2, 2, 2], 1), [0.0, 2.0, 6.0, 8.0, 9.0, 11.0, 15.0, 17.0]);
    }
}
