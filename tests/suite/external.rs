//! A crate outside of the workspace that builds `add` with a plugin of its own: `tests/external`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{binary, root};

/// The external crate's `add`, built and linted in the workspace's target folder with its lock file.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // Whatever our own `add` has compiled of other people's crates must do for the external one too.
        let ours = binary::binary();
        let target = ours.ancestors().nth(2).expect("target/release/add");
        let folder = root().join("tests/external");
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        // The workspace's own profile and what CI changes of it, so that both share what is compiled of their dependencies.
        let profile = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        fs::write(&profile, release_profile(&fs::read_to_string(root().join("Cargo.toml")).unwrap()))
            .unwrap();
        let quick = Some(root().join(".cargo/quick.toml")).filter(|path| path.exists());
        let release = |command: &str| {
            let mut cargo = binary::cargo();
            cargo.args([command, "--release", "--message-format=json", "--target-dir"]).arg(target);
            for path in [profile.path()].into_iter().chain(quick.as_deref()) {
                cargo.arg("--config").arg(path);
            }
            cargo.current_dir(&folder);
            cargo
        };
        let mut cargo = release("test");
        cargo.arg("--no-run");
        // As `cargo clippy` does it, but in a build that leaves a program.
        cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
        cargo.env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
        let messages = messages(&mut cargo);
        let compiled = messages.iter().filter(|message| {
            let id = message["package_id"].as_str().unwrap_or_default();
            message["fresh"] == Value::Bool(false) && id.starts_with("registry+")
        });
        let compiled: Vec<&Value> = compiled.map(|message| &message["package_id"]).collect();
        assert!(compiled.is_empty(), "dependencies were compiled again: {compiled:?}");
        let test = messages.iter().filter_map(|message| message["executable"].as_str()).next_back();
        let tested = Command::new(test.expect("cargo names the test that it built")).output().unwrap();
        assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));

        let built = self::messages(&mut release("build"));
        let program = built.iter().filter_map(|message| message["executable"].as_str()).next_back();
        PathBuf::from(program.expect("cargo names the program that it built"))
    })
}

/// The tables of a manifest that say how a release is built.
fn release_profile(manifest: &str) -> String {
    let mut release = false;
    let lines = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            release = line.starts_with("[profile.release");
        }
        release
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What cargo says, one JSON object a line.
fn messages(cargo: &mut Command) -> Vec<Value> {
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn external(arguments: &[&str]) -> Output {
    Command::new(program()).env("NO_COLOR", "1").args(arguments).current_dir(root()).output().unwrap()
}

const WITH_ITS_PLUGIN: [&str; 3] =
    ["configs/emoji.ron", "--set", "objective.distillation.weighting=MinSnr(gamma: 4.0)"];

#[test]
fn a_plugin_of_another_crate_is_listed_and_read_beside_ours() {
    let listed = String::from_utf8(external(&["plugins"]).stdout).unwrap();
    for name in ["MinSnr", "Exponential", "ProjectedHead"] {
        assert!(listed.contains(name), "{name} in\n{listed}");
    }
    let shown = external(&[&["config", "show"], WITH_ITS_PLUGIN.as_slice()].concat());
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(said.contains("weighting: MinSnr(") && said.contains("gamma: 4.0"), "{said}");
    // Ours has no such plugin.
    binary::refuses(&[&["config", "check"], WITH_ITS_PLUGIN.as_slice()].concat(), 2, &["MinSnr"]);
}

#[test]
fn a_plugin_of_another_crate_trains() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let short = ["run.steps=2", "run.log_every=1", "batch=8", "replicas=1", "preview.prompts=[]"];
    let short = short.iter().chain(&["evaluation.samples_after_training=0"]).flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["train"]
        .into_iter()
        .chain(WITH_ITS_PLUGIN)
        .chain(short)
        .chain(["--set", "objective.generator.cool_down=0", "--out", out.to_str().unwrap()])
        .collect();
    let trained = external(&arguments);
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().filter(|line| line.contains("loss_distill")).count(), 2, "{metrics}");
    assert!(fs::read_to_string(out.join("recipe.ron")).unwrap().contains("MinSnr("));
}
