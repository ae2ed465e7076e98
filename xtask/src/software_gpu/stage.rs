//! The binary, the device, and a folder for what is left.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::workspace::root;

/// How many of the last lines of a failed command are shown.
const LINES: usize = 40;

/// Where distributions keep the description of Mesa's software driver.
pub(super) const DRIVERS: &str = "/usr/share/vulkan/icd.d";

/// Mesa's software driver.
pub(super) fn driver() -> Option<PathBuf> {
    let found = fs::read_dir(DRIVERS).into_iter().flatten().flatten().map(|entry| entry.path());
    found
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
        .find(|path| path.extension().is_some_and(|extension| extension == "json"))
}

/// On which side a command computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// On the device.
    Gpu,
    /// On the processor.
    Processor,
}

pub(super) struct Stage {
    binary: PathBuf,
    /// As a recipe names it.
    pub(super) device: String,
    folder: TempDir,
    /// Where the driver keeps the kernels that it has compiled, whoever asked for them.
    kernels: PathBuf,
}

/// A temporary folder.
pub(super) fn temporary() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))
}

impl Stage {
    pub(super) fn new(binary: PathBuf, device: &str, kernels: &Path) -> Result<Self, String> {
        Ok(Self { binary, device: device.to_owned(), folder: temporary()?, kernels: kernels.to_owned() })
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As text, for an argument.
    pub(super) fn place(&self, name: &str) -> String {
        self.at(name).to_string_lossy().into_owned()
    }

    /// The device of a side, as a recipe names it.
    fn device_of(&self, side: Side) -> &str {
        match side {
            Side::Gpu => &self.device,
            Side::Processor => "Flex()",
        }
    }

    /// A call of `add`, whatever comes of it.
    pub(super) fn call(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output, String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(root()).env("NO_COLOR", "1").stdin(Stdio::null());
        // What an earlier call has found out of the device does not count.
        command.env("XDG_CACHE_HOME", self.at("cache")).env("XDG_RUNTIME_DIR", self.folder.path());
        command.env("MESA_SHADER_CACHE_DIR", &self.kernels);
        if let (None, Some(driver)) = (env::var_os("VK_DRIVER_FILES"), driver()) {
            command.env("VK_DRIVER_FILES", driver);
        }
        command.envs(environment.iter().copied());
        command.output().map_err(|error| format!("add cannot be started: {error}"))
    }

    /// What `add` prints; it must succeed.
    pub(super) fn add(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.call(arguments, &[])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let end = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        };
        let (said, told) = (end(&said), end(&told));
        Err(format!("add {} ended with {}:\n{said}\n{told}", arguments.join(" "), output.status))
    }

    /// What `add` prints of a command that takes a recipe, with its fields set to these values and its device to the side's.
    pub(super) fn with(&self, side: Side, arguments: &[&str], sets: &[&str]) -> Result<String, String> {
        let device = format!("device={}", self.device_of(side));
        let sets = sets.iter().copied().chain([device.as_str()]).flat_map(|set| ["--set", set]);
        self.add(&arguments.iter().copied().chain(sets).collect::<Vec<_>>())
    }

    /// A run of a recipe, or the rest of one, in the folder `out`.
    pub(super) fn train(
        &self,
        side: Side,
        recipe: &str,
        out: &str,
        sets: &[&str],
    ) -> Result<PathBuf, String> {
        let place = self.place(out);
        self.with(side, &["train", recipe, "--out", &place, "--resume", "auto"], sets)?;
        Ok(self.at(out))
    }
}

/// The text after the last `mark` in `said`, up to the next space.
pub(super) fn word_after<'a>(said: &'a str, mark: &str) -> Result<&'a str, String> {
    let found = said.rsplit_once(mark).and_then(|(_, rest)| rest.split_whitespace().next());
    found.ok_or_else(|| format!("expected {mark:?} in:\n{said}"))
}
