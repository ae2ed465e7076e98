//! What a codec makes of real pictures: each of them encoded and decoded, measured as pictures and beside what it was.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use add_data::{pictures, to_planes};
use add_eval::Row;
use add_plugin::{Autoencoder, Dataset, Picture, Pixels};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{
    EvaluationObserver, captions_at,
    compared::Compared,
    panel::{CHUNK, Panel},
    references::{picture, pictures_of},
    rows::figure,
    spread,
};
use crate::{assemble, error::CoreError, read::LoadedRecipe};

/// What the table calls it.
const NAME: &str = "codec";

/// The recipe's codec: that of the run in the file `trained` where its method trains it.
pub(super) fn codec(
    loaded: &LoadedRecipe,
    trained: Option<&Path>,
    device: &Device,
) -> Result<Box<dyn Autoencoder>, CoreError> {
    match trained.filter(|_| assemble::trains_codec(&loaded.recipe)) {
        Some(path) => assemble::codec_of(loaded, path, device),
        None => assemble::codec(&loaded.recipe, device),
    }
}

/// Pictures of one set.
pub(super) struct Reconstructed<'a> {
    pub(super) split: &'a str,
    pub(super) data: &'a dyn Dataset,
    /// How many of them, at most.
    pub(super) samples: usize,
    pub(super) codec: &'a dyn Autoencoder,
}

impl Reconstructed<'_> {
    /// Every figure; the first pictures are `shown` beside what became of them.
    pub(super) fn rows(
        &self,
        panel: &mut Panel,
        resamples: usize,
        mut shown: Option<&mut Compared>,
        device: &Device,
        observer: &mut dyn EvaluationObserver,
    ) -> Result<Vec<Row>, CoreError> {
        let (all, mut seeing) = (panel.all(), panel.unseen());
        let mut get = pictures_of(self.data);
        // A picture twice would say nothing new.
        let indices = spread(self.samples.min(self.data.len()), self.data.len());
        let columns = shown.as_deref_mut().map(|shown| ["pictures", NAME].map(|name| shown.column(name)));
        let texts = captions_at(self.split, self.data, indices.clone()).texts;
        let (what, mut spent) = (format!("{NAME}, {}", self.split), Duration::ZERO);
        let mut usable = Vec::with_capacity(indices.len());
        for (chunk, part) in indices.chunks(CHUNK).enumerate() {
            let (mut originals, mut made) = (Vec::new(), Vec::new());
            for (at, &index) in (chunk * CHUNK..).zip(part) {
                let Some(original) = get(index)? else { continue };
                let began = Instant::now();
                let reconstructed = self.reconstruct(&original, device);
                spent += began.elapsed();
                if let (Some(shown), Some(columns)) = (shown.as_deref_mut(), columns) {
                    for (column, picture) in columns.into_iter().zip([&original, &reconstructed]) {
                        shown.add(column, at, &texts, &image(picture));
                    }
                }
                usable.push(index);
                originals.push(original);
                made.push(reconstructed);
            }
            panel.compare(&originals, &made);
            panel.look(&made, &all, &mut seeing)?;
            observer.progress(&what, chunk * CHUNK + part.len(), indices.len());
        }
        let seconds = spent.as_secs_f64() / usable.len().max(1) as f64;
        let captions = captions_at(self.split, self.data, usable);
        let values = panel.measure(&seeing.seen(), &captions.texts, &captions.labels, &[], resamples)?;
        let peak_memory = observer.peak_memory();
        let row = |value| Row {
            model: NAME.to_owned(),
            seconds_per_image: Some(seconds),
            peak_memory,
            ..figure(value, &captions)
        };
        Ok(values.into_iter().map(row).collect())
    }

    /// A picture, encoded and decoded.
    fn reconstruct(&self, original: &Picture, device: &Device) -> Picture {
        let planes = to_planes(&image(original));
        let shape = [1, 3, original.height(), original.width()];
        let pixels = Tensor::from_data(TensorData::new(planes, shape), (device, DType::F32));
        let decoded = self.codec.decode(self.codec.encode(Pixels(pixels))).0;
        let decoded = pictures(&Pixels(decoded.clamp(-1.0, 1.0))).swap_remove(0);
        picture(decoded)
    }
}

fn image(picture: &Picture) -> add_data::RgbImage {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    add_data::RgbImage::from_raw(width, height, picture.rgb().to_vec()).expect("three values a pixel")
}
