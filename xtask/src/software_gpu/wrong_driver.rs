//! A driver that computes wrong numbers must be refused: llvmpipe with additions made subtractions, see `wrong_driver.c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::stage::{Side::Gpu, Stage, driver};

const SOURCE: &str = include_str!("wrong_driver.c");

/// Both a list of the devices and a picture must be an error that names an operation and the driver.
pub(super) fn check(stage: &Stage) -> Result<String, String> {
    let Some(right) = driver().filter(|_| stage.device == "WgpuSoftware()") else {
        return Ok("not tried: it is made from llvmpipe's".to_owned());
    };
    let description = build(stage)?;
    let library = library(&right)?;
    let description = description.to_string_lossy();
    let environment = [("VK_DRIVER_FILES", &*description), ("RIGHT_DRIVER", library.as_str())];
    let device = format!("device={}", stage.device);
    let grid = stage.place("wrong.png");
    let sample = ["sample", "configs/emoji.ron", "--prompt", "a", "--grid", &grid, "--set", &device];
    let mut said = String::new();
    for arguments in [&["devices"][..], &sample] {
        let output = stage.call(Gpu, arguments, &environment)?;
        let told =
            [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat();
        if output.status.code() != Some(1)
            || !told.contains("self-test failed")
            || stage.at("wrong.png").exists()
        {
            return Err(format!(
                "expected an error of the self-test and code 1, got {}:\n{told}",
                output.status
            ));
        }
        said = told;
    }
    let reason = said.split("self-test failed: ").nth(1).unwrap_or_default();
    Ok(format!("refused: {}", reason.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Compiles the driver and describes it; returns the description.
fn build(stage: &Stage) -> Result<PathBuf, String> {
    let [source, library, description] =
        ["wrong_driver.c", "libwrong_driver.so", "wrong_driver.json"].map(|name| stage.at(name));
    let write = |path: &PathBuf, text: &str| {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    write(&source, SOURCE)?;
    let output = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output();
    let output = output.map_err(|error| format!("the C compiler cc cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let described = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": library, "api_version": "1.1.0" },
    });
    write(&description, &described.to_string())?;
    Ok(description)
}

/// The library that a driver's description names.
fn library(description: &Path) -> Result<String, String> {
    let broken = |problem: &str| format!("{}: {problem}", description.display());
    let text = fs::read_to_string(description).map_err(|error| broken(&error.to_string()))?;
    let described: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| broken(&error.to_string()))?;
    let path = described["ICD"]["library_path"].as_str();
    path.map(str::to_owned).ok_or_else(|| broken("expected ICD.library_path"))
}
