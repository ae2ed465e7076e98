//! What is known of the real pictures: their features, taken once or found in a cache, or statistics from a file.

use std::path::Path;

use add_data::{BadSamples, Skipped, from_planes};
use add_eval::{FeatureSet, Moments, read_npz, write_npz};
use add_files::{Cache, Key};
use add_plugin::{Dataset, Draw, Knowledge, Metric, Output, Picture, Plugin, PluginError, Statistics};
use add_recipe::data_error;
use burn::tensor::Device;

use super::{
    EvaluationObserver, SEED, cache,
    panel::{CHUNK, Known, Panel, Seen},
};
use crate::error::CoreError;

/// Pictures by index: `None` for one that cannot be used and was counted.
pub(super) type Source<'a> = dyn FnMut(usize) -> Result<Option<Picture>, CoreError> + 'a;

/// All pictures of `data` become the panel's reference.
pub(super) fn of_data(
    panel: &mut Panel,
    data: &dyn Dataset,
    cache: &Cache,
    observer: &mut dyn EvaluationObserver,
) -> Result<(), CoreError> {
    let mut get = pictures_of(data);
    let seen = seen(panel, data.len(), &mut get, cache, observer)?;
    panel.set_reference(&Known::Features(seen))
}

/// The pictures of `data` by index.
pub(super) fn pictures_of(
    data: &dyn Dataset,
) -> impl FnMut(usize) -> Result<Option<Picture>, CoreError> + '_ {
    let mut bad = BadSamples::of(data.len());
    move |index| match data.get(index, &Draw { seed: SEED, step: 0, index: 0 }) {
        Ok(sample) => {
            let side = sample.size as u32;
            Ok(Some(picture(from_planes(&sample.pixels, side, side))))
        }
        Err(PluginError::Sample { index, file, problem: reason }) => {
            bad.count(&[Skipped { index, file, reason }]).map_err(data_error)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The features of `total` real pictures, through every look that compares with them.
pub(super) fn seen(
    panel: &Panel,
    total: usize,
    get: &mut Source<'_>,
    cache: &Cache,
    observer: &mut dyn EvaluationObserver,
) -> Result<Seen, CoreError> {
    let (mut wanted, mut seeing) = (panel.compares(), panel.unseen());
    let mut seen = seeing.seen();
    let mut keys = Vec::new();
    if !cache.is_off() {
        // Decoding is cheap beside a network, so the pictures are read once for their hash and again if need be.
        let mut pictures = Vec::new();
        for index in 0..total {
            pictures.extend(get(index)?.map(|picture| key_of(&picture)));
        }
        for look in 0..wanted.len() {
            keys.push(cache::key_of(&pictures, &panel.identity(look)));
            if let Some(kept) = cache::get(cache, &keys[look], seen[look].len(), pictures.len()) {
                seen[look] = kept;
                wanted[look] = false;
            }
        }
    }
    if !wanted.contains(&true) {
        return Ok(seen);
    }
    let indices: Vec<usize> = (0..total).collect();
    for part in indices.chunks(CHUNK) {
        let mut pictures = Vec::new();
        for &index in part {
            pictures.extend(get(index)?);
        }
        panel.look(&pictures, &wanted, &mut seeing)?;
        observer.progress("real pictures", part[0] + part.len(), total);
    }
    for (look, sets) in seeing.seen().into_iter().enumerate().filter(|(look, _)| wanted[*look]) {
        seen[look] = sets;
        if let Some(key) = keys.get(look) {
            cache::put(cache, key, &seen[look]);
        }
    }
    Ok(seen)
}

/// The statistics in the file at `path`, for metrics that must know no more.
pub(super) fn of_file(path: &Path, knowledge: Knowledge) -> Result<Statistics, CoreError> {
    if knowledge == Knowledge::Features {
        return Err(CoreError::Request(format!(
            "{}: statistics serve Frechet distances alone; for kernel distances, precision, recall, density and coverage give \
             the folder of the real pictures",
            path.display()
        )));
    }
    let (mean, covariance) = read_npz(path).map_err(|error| CoreError::Request(error.to_string()))?;
    Ok(Statistics { mean, covariance })
}

/// Whether the statistics in the file at `path` are as wide as the features that are compared with them, before any weights are
/// read.
pub(super) fn check_width(
    metrics: &[Plugin<dyn Metric>],
    statistics: &Statistics,
    path: &Path,
) -> Result<(), CoreError> {
    let got = statistics.mean.len();
    for metric in metrics.iter().filter(|metric| metric.needs().reference > Knowledge::Nothing) {
        for view in metric.views() {
            let network = view.network.outline(&Device::flex())?;
            let widths = match view.output {
                Output::Hooks => network.hooks().into_iter().map(|(_, width)| width).collect(),
                Output::Embedding => vec![network.embedding_width()],
            };
            if let Some(expected) = widths.into_iter().find(|width| *width != got) {
                return Err(CoreError::Request(format!(
                    "{}: the statistics are of {got} features, {} compares {expected} of {}: expected a file that was written \
                     with that network",
                    path.display(),
                    metric.name(),
                    view.network.name()
                )));
            }
        }
    }
    Ok(())
}

/// Writes the statistics of the real pictures as pytorch-fid does.
pub(super) fn write(panel: &Panel, seen: &Seen, path: &Path) -> Result<(), CoreError> {
    let look = one_look(panel)?;
    let failed = |error: String| CoreError::Request(format!("{}: {error}", path.display()));
    let [features] = &seen[look][..] else {
        return Err(failed("expected a metric with one set of features, such as Fid()".to_owned()));
    };
    let moments = FeatureSet::of_rows(features.clone()).and_then(|set| Moments::of(&set));
    let moments = moments.map_err(|error| failed(error.to_string()))?;
    let covariance = moments.covariance().map_err(|error| failed(error.to_string()))?;
    write_npz(path, moments.mean(), &covariance).map_err(|error| CoreError::Request(error.to_string()))
}

/// The only look that compares with real pictures: a file of statistics does not say through which it was taken.
pub(super) fn one_look(panel: &Panel) -> Result<usize, CoreError> {
    let compares: Vec<usize> = panel
        .compares()
        .iter()
        .enumerate()
        .filter(|(_, compares)| **compares)
        .map(|(look, _)| look)
        .collect();
    match compares[..] {
        [only] => Ok(only),
        _ => Err(CoreError::Request(format!(
            "a file of statistics belongs to one network and one way of resizing; expected one such metric, such as Fid(), got \
             {} different ones",
            compares.len()
        ))),
    }
}

/// A decoded picture.
pub(super) fn picture(decoded: add_data::RgbImage) -> Picture {
    let (width, height) = decoded.dimensions();
    Picture::new(width as usize, height as usize, decoded.into_raw())
}

fn key_of(picture: &Picture) -> Key {
    let sides = [picture.width() as u64, picture.height() as u64].map(u64::to_le_bytes);
    Key::of([sides.as_flattened(), picture.rgb()])
}
