//! What a codec makes of real pictures: each of them encoded and decoded, measured as pictures and beside what it was.

use std::{path::Path, time::Instant};

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
        shown: &mut Option<&mut Compared>,
        device: &Device,
        observer: &mut dyn EvaluationObserver,
    ) -> Result<Vec<Row>, CoreError> {
        let (all, mut seen) = (panel.all(), panel.unseen());
        let mut get = pictures_of(self.data);
        let mut originals = Vec::new();
        // A picture twice would say nothing new.
        for index in spread(self.samples.min(self.data.len()), self.data.len()) {
            originals.extend(get(index)?.map(|picture| (index, picture)));
        }
        let (indices, originals): (Vec<usize>, Vec<Picture>) = originals.into_iter().unzip();
        let captions = captions_at(self.split, self.data, indices);
        let (what, began) = (format!("{NAME}, {}", self.split), Instant::now());
        let mut made = Vec::with_capacity(originals.len());
        for part in originals.chunks(CHUNK) {
            let reconstructed: Vec<Picture> =
                part.iter().map(|original| self.reconstruct(original, device)).collect();
            panel.compare(part, &reconstructed);
            panel.look(&reconstructed, &all, &mut seen);
            made.extend(reconstructed);
            observer.progress(&what, made.len(), originals.len());
        }
        let seconds = began.elapsed().as_secs_f64() / originals.len().max(1) as f64;
        if let Some(compared) = shown {
            for (column, pictures) in [("pictures", &originals), (NAME, &made)] {
                compared.column(column);
                for (at, picture) in pictures.iter().enumerate() {
                    compared.add(at, &captions.texts, &image(picture));
                }
            }
        }
        let values = panel.measure(&seen, &captions.texts, &captions.labels, &[], resamples)?;
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
