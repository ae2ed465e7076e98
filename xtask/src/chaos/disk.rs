//! A disk that is full before the run is over.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    stage::{self, Stage},
    subject::{self, EVERY, STEPS},
};

/// Trains on a disk with room for two checkpoints and a half, where mounting one is permitted.
pub(super) fn run(stage: &mut Stage) -> Result<String, String> {
    let path = stage.empty("disk")?;
    let checkpoint = subject::files(&subject::checkpoint(&stage.copied("size")?, STEPS));
    let bytes: u64 = checkpoint.iter().filter_map(|file| fs::metadata(file).ok()).map(|m| m.len()).sum();
    let disk = match Disk::mount(path, bytes * 5 / 2) {
        Ok(disk) => disk,
        Err(reason) => return Ok(format!("disk full not tried: {reason}")),
    };
    let outcome = fill(stage, &disk.0);
    Ok(if stage.held("disk full", outcome) { "disk full held" } else { "disk full did not hold" }.to_owned())
}

/// The run must fail, name the path and leave checkpoints from which it goes on once there is room.
fn fill(stage: &Stage, disk: &Path) -> Result<(), String> {
    let out = disk.join("run");
    let ended = stage.subject.finish(&out, "auto", STEPS)?;
    let named = ended.said.contains(&subject::checkpoint(&out, STEPS).display().to_string());
    if ended.code != 1 || !named || ended.said.contains("panicked") {
        return Err(format!("expected exit code 1 and the path, got {}:\n{}", ended.code, ended.said));
    }
    let left = subject::checkpoints(&out);
    if left != [STEPS - 2 * EVERY, STEPS - EVERY] || subject::is_writing(&out) {
        return Err(format!("expected the two checkpoints before the last and nothing else, found {left:?}"));
    }
    let roomy = stage.empty("roomy")?;
    stage::copy(&out, &roomy)?;
    stage.resumes(&roomy, "latest")
}

/// A small disk in memory, while this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, bytes: u64) -> Result<Self, String> {
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let options = format!("size={bytes}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(path)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")),
            Err(error) => Err(format!("mount cannot be started: {error}")),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted; unmount it", self.0.display());
        }
    }
}
