//! Whether the pictures of folders can be read and compared, by their heads: asked before any network is read.

use std::path::PathBuf;

use add_data::{Head, read_head};
use rayon::prelude::*;
use tracing::warn;

use super::folders::refused;
use crate::error::CoreError;

/// What the heads of a folder say.
struct Heads {
    /// How many are grey.
    grey: usize,
    /// How many may have transparent parts.
    clear: usize,
    all: usize,
}

/// Looks at the head of every picture: of each evaluated folder by name, and of the real pictures.
///
/// # Errors
/// When a picture is none, is cut off or too large, or when one side has grey pictures alone and the other has colours.
pub(super) fn check(folders: &[(&str, &[PathBuf])], real: Option<&[PathBuf]>) -> Result<(), CoreError> {
    let real = real.map(|files| heads("the references", files)).transpose()?;
    for (name, files) in folders {
        let made = heads(name, files)?;
        let Some(real) = &real else { continue };
        let is_grey = |heads: &Heads| heads.grey == heads.all;
        if is_grey(&made) != is_grey(real) {
            let (grey, coloured) =
                if is_grey(&made) { (*name, "the references") } else { ("the references", *name) };
            return Err(CoreError::Request(format!(
                "{grey}: all pictures are grey, of one channel, and those of {coloured} have three: expected the same of both; \
                 the distance would be that of colours to none"
            )));
        }
    }
    Ok(())
}

fn heads(name: &str, files: &[PathBuf]) -> Result<Heads, CoreError> {
    let read = |file: &PathBuf| read_head(file).map_err(refused);
    let heads: Vec<Head> = files.par_iter().map(read).collect::<Result<_, _>>()?;
    let count = |which: fn(&Head) -> bool| heads.iter().filter(|head| which(head)).count();
    let found =
        Heads { grey: count(|head| head.is_grey), clear: count(|head| head.has_alpha), all: heads.len() };
    if found.clear > 0 {
        warn!(
            "{name}: {} of {} pictures have a channel of transparency; transparent parts become white (pytorch-fid shows what is \
             behind them)",
            found.clear, found.all
        );
    }
    if found.grey > 0 && found.grey < found.all {
        warn!(
            "{name}: {} of {} pictures are grey; they are taken as three equal channels",
            found.grey, found.all
        );
    }
    Ok(found)
}
