//! Family `metrics`: distances, CLIP score, resizing and Inception against pytorch-fid, torch-fidelity, clean-fid,
//! torchmetrics, `open_clip` and Pillow.
//!
//! A fixture holds any of them; the first parts of its tensors' names tell which.

mod distances;
mod inception;
mod resize;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, nothing},
};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    distances::compare(fixture, &mut rows)?;
    resize::compare(fixture, &mut rows)?;
    inception::compare(fixture, &mut rows)?;
    Ok(rows.finish(nothing))
}
