//! Family `losses`: the pieces of ADD against a float64 reference written from the paper in PyTorch, with autograd.
//!
//! A fixture is one of three, told by its tensors: forward diffusion and conversions (`algebra`), `StyleGAN-T` heads
//! with hinge and R1 (`heads`), the distillation loss (`distillation`). Everything is compared in f64 to 1e-9 of the
//! largest value or better; on a device without f64, in f32 to 1e-4.

mod algebra;
mod distillation;
mod heads;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, nothing},
};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    if fixture.keys("w.").next().is_some() {
        heads::compare(fixture, &mut rows)?;
    } else if fixture.has("teacher.M") {
        distillation::compare(fixture, &mut rows)?;
    } else {
        algebra::compare(fixture, &mut rows)?;
    }
    Ok(rows.finish(nothing))
}
