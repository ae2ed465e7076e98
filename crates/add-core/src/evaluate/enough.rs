//! Whether there are pictures enough for every metric, asked before any network is read.

use add_plugin::{Knowledge, Metric, Plugin};

/// What is wrong with so many generated pictures, if anything is.
pub(crate) fn generated(metrics: &[Plugin<dyn Metric>], got: usize) -> Option<String> {
    few(metrics.iter(), "pictures", got)
}

/// What is wrong with so many real pictures, if anything is.
pub(super) fn real(metrics: &[Plugin<dyn Metric>], got: usize) -> Option<String> {
    let compares = |metric: &&Plugin<dyn Metric>| metric.needs().reference > Knowledge::Nothing;
    few(metrics.iter().filter(compares), "real pictures to compare with", got)
}

fn few<'a>(metrics: impl Iterator<Item = &'a Plugin<dyn Metric>>, what: &str, got: usize) -> Option<String> {
    let most = metrics.max_by_key(|metric| metric.needs().pictures)?;
    let least = most.needs().pictures;
    (got < least).then(|| format!("{} needs at least {least} {what}, got {got}", most.name()))
}
