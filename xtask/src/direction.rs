//! The direction of the arrows between the workspace's crates, read off `cargo metadata`.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may depend on, among the workspace's own; every crate may depend on [`FOR_ALL`].
const ALLOWED: [(&str, &[&str]); 21] = [
    ("add-kernels", &[]),
    ("add-parameters", &[]),
    ("add-plugin", &["add-parameters"]),
    ("add-store", &[]),
    ("add-charts", &[]),
    ("add-eval", &["add-charts"]),
    ("add-tensorboard", &[]),
    ("add-nn", &["add-kernels", "add-parameters"]),
    ("add-weights", &["add-nn", "add-parameters"]),
    ("add-loss", &["add-kernels", "add-plugin"]),
    ("add-data", &["add-plugin"]),
    (
        "add-train",
        &["add-kernels", "add-loss", "add-parameters", "add-plugin", "add-tensorboard", "add-weights"],
    ),
    (
        "add-parity",
        &[
            "add-eval",
            "add-loss",
            "add-nn",
            "add-plugin",
            "add-recipe",
            "add-train",
            "add-weights",
            "add-plugins-codecs",
            "add-plugins-features",
            "add-plugins-heads",
            "add-plugins-methods",
            "add-plugins-samplers",
            "add-plugins-schedules",
            "add-plugins-text-encoders",
            "add-plugins-weightings",
        ],
    ),
    ("add-recipe", &["add-data", "add-eval", "add-plugin", "add-train", "add-weights"]),
    (
        "add-core",
        &[
            "add-data",
            "add-eval",
            "add-kernels",
            "add-parameters",
            "add-plugin",
            "add-recipe",
            "add-train",
            "add-weights",
        ],
    ),
    ("add", &["add-core", "add-data", "add-plugin", "add-plugins", "add-recipe", "add-train", "add-weights"]),
    (
        "add-cli",
        &[
            "add-core",
            "add-data",
            "add-eval",
            "add-kernels",
            "add-parity",
            "add-plugin",
            "add-serve",
            "add-study",
            "add-train",
            "add-weights",
            "add-plugins",
        ],
    ),
    ("add-serve", &["add-charts", "add-core", "add-data", "add-eval", "add-plugin", "add-train"]),
    ("add-study", &["add-charts", "add-data", "add-eval", "add-serve"]),
    (
        "add-bench",
        &["add-core", "add-data", "add-kernels", "add-nn", "add-plugin", "add-train", "add-plugins"],
    ),
    ("xtask", &["add-charts"]),
];

/// What every crate may depend on.
const FOR_ALL: [&str; 4] = ["add-files", "add-random", "add-resample", "build-features"];

/// What the crate of training methods may depend on besides: it builds runs.
const METHODS: &[&str] =
    &["add-data", "add-eval", "add-loss", "add-plugin", "add-recipe", "add-train", "add-weights"];

/// What every other plugin crate may depend on: never another plugin crate, never add-train or add-core.
const PLUGIN: &[&str] =
    &["add-data", "add-eval", "add-kernels", "add-loss", "add-nn", "add-plugin", "add-store", "add-weights"];

/// The arrows that point the wrong way.
pub(crate) fn wrong_arrows() -> Result<Vec<String>, String> {
    let metadata = MetadataCommand::new().no_deps().exec().map_err(|e| e.to_string())?;
    let members: Vec<_> = metadata.workspace_packages();
    let own: Vec<&str> = members.iter().map(|p| p.name.as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    let mut wrong = Vec::new();
    for package in &members {
        let plugin = package.manifest_path.as_str().contains("/plugins/");
        let name = package.name.as_str();
        let may: &[&str] = match (name, plugin) {
            ("add-plugins" | "add-tests", _) => continue,
            ("add-plugins-methods", _) => METHODS,
            (_, true) => PLUGIN,
            (name, false) => allowed.get(name).copied().unwrap_or(&[]),
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let to = dependency.name.as_str();
            if own.contains(&to) && !FOR_ALL.contains(&to) && !may.contains(&to) {
                wrong.push(format!("{name} depends on {to}"));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_arrow_points_the_right_way() {
        assert_eq!(super::wrong_arrows().unwrap(), Vec::<String>::new());
    }
}
