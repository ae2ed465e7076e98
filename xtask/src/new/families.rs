//! The plugin families: where a plugin of each lies, and what it begins as.

/// A family, as `new` needs to know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Its crate's folder below `plugins`.
    pub(super) folder: &'static str,
    /// A plugin that compiles and passes its tests. The type is called `Skeleton`, its figures and hooks `skeleton`.
    pub(super) skeleton: &'static str,
}

/// Every family. A new one is one entry here and one file in `xtask/skeletons`.
pub(super) const FAMILIES: &[Family] = &[
    family("backbone", "backbones", include_str!("../../skeletons/backbone.rs")),
    family("codec", "codecs", include_str!("../../skeletons/codec.rs")),
    family("critic", "critics", include_str!("../../skeletons/critic.rs")),
    family("data-source", "data", include_str!("../../skeletons/data_source.rs")),
    family("feature-network", "features", include_str!("../../skeletons/feature_network.rs")),
    family("head", "heads", include_str!("../../skeletons/head.rs")),
    family("method", "methods", include_str!("../../skeletons/method.rs")),
    family("metric", "metrics", include_str!("../../skeletons/metric.rs")),
    family("sampler", "samplers", include_str!("../../skeletons/sampler.rs")),
    family("schedule", "schedules", include_str!("../../skeletons/schedule.rs")),
    family("text-encoder", "text-encoders", include_str!("../../skeletons/text_encoder.rs")),
    family("weighting", "weightings", include_str!("../../skeletons/weighting.rs")),
];

const fn family(name: &'static str, folder: &'static str, skeleton: &'static str) -> Family {
    Family { name, folder, skeleton }
}

/// The family called `name`.
pub(super) fn find(name: &str) -> Result<Family, String> {
    let found = FAMILIES.iter().find(|family| family.name == name);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        format!("expected a family, one of {}, got {name:?}", known.join(", "))
    })
}
