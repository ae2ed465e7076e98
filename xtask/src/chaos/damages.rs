//! A flipped bit or a cut in a file of the newest checkpoint, then `--resume latest`.

use std::{fs, path::Path};

use rand::RngExt;

use super::{
    stage::Stage,
    subject::{self, EVERY, Ended, STEPS},
};

/// One round over a checkpoint's files in so many trains on to the last step and compares every hash. The other rounds
/// ask for no step beyond the older checkpoint, so that the binary refuses, loads, exports and ends in an instant.
const TRAINING_ROUND: usize = 6;

/// Damages `count` copies.
pub(super) fn run(stage: &mut Stage, count: usize) -> Result<String, String> {
    let (mut held, mut trained) = (0, 0);
    for damage in 0..count {
        let out = stage.copied("damaged")?;
        let newest = subject::checkpoint(&out, STEPS);
        let files = subject::files(&newest);
        let file = &files[damage % files.len()];
        let what = harm(stage, file)?;
        let trains = (damage / files.len()).is_multiple_of(TRAINING_ROUND);
        let steps = if trains { STEPS } else { STEPS - EVERY };
        let ended = stage.subject.finish(&out, "latest", steps)?;
        let mut outcome = refused(&out, &ended);
        if trains {
            outcome = outcome.and_then(|()| stage.compare(&out, &ended));
            trained += 1;
        }
        held += usize::from(stage.held(&format!("{}: {what}", file.display()), outcome));
    }
    Ok(format!("damages {held}/{count} ({trained} trained to the end)"))
}

/// Flips a bit or cuts the file, and says which.
fn harm(stage: &mut Stage, file: &Path) -> Result<String, String> {
    let error = |e| format!("{}: {e}", file.display());
    let mut bytes = fs::read(file).map_err(error)?;
    let place = stage.dice.random_range(0..bytes.len());
    let what = if stage.dice.random_bool(0.5) {
        let bit = stage.dice.random_range(0..8);
        bytes[place] ^= 1 << bit;
        format!("bit {bit} of byte {place} flipped")
    } else {
        let whole = bytes.len();
        bytes.truncate(place);
        format!("{place} of {whole} bytes left")
    };
    fs::write(file, bytes).map_err(error)?;
    Ok(what)
}

/// The newest checkpoint must have been refused by name, and the one before used.
fn refused(out: &Path, ended: &Ended) -> Result<(), String> {
    let [bad, good] = [STEPS, STEPS - EVERY].map(|step| subject::checkpoint(out, step).display().to_string());
    let refusal =
        ended.said.lines().any(|line| line.contains(&bad) && line.contains("trying the one before"));
    let resumed = ended.said.contains(&format!("resumed from {good}"));
    match ended.code {
        0 if refusal && resumed => Ok(()),
        code => Err(format!("expected {bad} refused and {good} used; exit code {code}:\n{}", ended.said)),
    }
}
