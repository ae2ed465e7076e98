//! SIGINT, SIGTERM and SIGHUP at any moment: a checkpoint within one step, the signal's exit code, and a resume to the bit.

use std::{path::Path, thread::sleep};

use super::{
    stage::Stage,
    subject::{self, Ended, STEPS},
};

/// Sends `count` signals in turn. One that comes after the last step ends nothing and is sent again to another run.
pub(super) fn run(stage: &mut Stage, count: usize) -> Result<String, String> {
    let (mut held, mut sent, mut early) = (0, 0, 0);
    while sent < count {
        let (signal, code) = [("INT", 130), ("TERM", 143), ("HUP", 129)][sent % 3];
        let out = stage.empty("signalled")?;
        let child = stage.subject.start(&out, "auto", STEPS)?;
        sleep(stage.moment());
        subject::kill(signal, child.id())?;
        let logged = subject::steps_logged(&out);
        let ended = subject::ended(child)?;
        if ended.code == 0 {
            continue;
        }
        sent += 1;
        // Before the run listens, the signal ends the process at once, as it should.
        early += usize::from(!ended.exited);
        let outcome = stopped(&out, &ended, code, logged).and_then(|()| stage.resumes(&out, "auto"));
        held += usize::from(stage.held(&format!("SIG{signal} after step {logged}"), outcome));
    }
    Ok(format!("signals {held}/{count} ({early} before the run listened)"))
}

/// The exit code must be the signal's, and the checkpoint not more than the step under way later than the signal.
fn stopped(out: &Path, ended: &Ended, code: u8, logged: u64) -> Result<(), String> {
    if ended.code != code {
        return Err(format!("expected exit code {code}, got {}:\n{}", ended.code, ended.said));
    }
    let newest = subject::checkpoints(out).last().copied();
    match newest {
        _ if !ended.exited => Ok(()),
        Some(step) if (logged..=logged + 1).contains(&step) => Ok(()),
        found => Err(format!("expected a checkpoint after step {logged} or the next, found {found:?}")),
    }
}
