//! SIGKILL at any moment, then `--resume auto`.

use std::{path::Path, process::Child, thread::sleep, time::Duration};

use rand::RngExt;

use super::{
    stage::Stage,
    subject::{self, STEPS},
};

/// The most kills of one run before it may finish.
const MOST: usize = 4;

/// Kills `count` times. A run takes up to [`MOST`] kills, each start after a kill being a resume, and is then let to its
/// end; a kill holds when its run ends like the undisturbed one.
pub(super) fn run(stage: &mut Stage, count: usize) -> Result<String, String> {
    let (mut kills, mut inside, mut held, mut runs) = (0, 0, 0, 0);
    while kills < count {
        let out = stage.empty("killed")?;
        let wanted = stage.dice.random_range(1..=MOST).min(count - kills);
        let before = kills;
        let mut ended = None;
        while kills - before < wanted && ended.is_none() {
            let mut child = stage.subject.start(&out, "auto", STEPS)?;
            sleep(stage.moment() / if 3 * inside <= kills { 2 } else { 1 });
            if 3 * inside <= kills {
                wait_for_write(&out, &mut child)?;
                sleep(Duration::from_micros(stage.dice.random_range(0..3000)));
            }
            child.kill().map_err(|e| format!("a run cannot be killed: {e}"))?;
            let end = subject::ended(child)?;
            if end.exited {
                ended = Some(end);
            } else {
                kills += 1;
                inside += usize::from(subject::is_writing(&out));
            }
        }
        let outcome = match ended {
            Some(end) => stage.compare(&out, &end),
            None => stage.resumes(&out, "auto"),
        };
        runs += 1;
        if stage.held(&format!("run {runs}, {} kills", kills - before), outcome) {
            held += kills - before;
        }
    }
    Ok(format!("kills {held}/{count} ({inside} inside checkpoint writes)"))
}

/// Returns as soon as a checkpoint is being written, or the run is over.
fn wait_for_write(out: &Path, child: &mut Child) -> Result<(), String> {
    while child.try_wait().map_err(|e| format!("a run cannot be waited for: {e}"))?.is_none() {
        if subject::is_writing(out) {
            break;
        }
        sleep(Duration::from_micros(100));
    }
    Ok(())
}
