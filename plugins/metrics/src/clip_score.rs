//! CLIP score: the mean cosine of a picture's embedding and its caption's. Hessel et al. 2021; ADD, section 4.

use std::collections::BTreeMap;

use add_eval::{ClipScoreConvention, FeatureSet, mean_with_interval, row_cosines};
use add_files::RowsWriter;
use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Generated, Measurement, Metric, MetricValue, Needs,
    Output, Plugin, PluginError, TextEncoder, TextNetwork, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{clip_g14, clip_g14_text},
    preparation::CLIP,
    sets::{failed, names, set},
};

/// `clip-score-<image tower>`: the plain cosine, without a factor and without clipping, as Stable Diffusion's and the paper's
/// tables have it, or in another convention, which is then part of the name; larger is better. Values on two towers cannot be
/// compared, nor those of two conventions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClipScore {
    /// The image tower; the paper's is that of OpenCLIP's ViT-g/14.
    #[serde(default = "clip_g14")]
    pub(crate) images: Plugin<dyn FeatureNetwork>,
    /// The text tower of the same CLIP.
    #[serde(default = "clip_g14_text")]
    pub(crate) texts: Plugin<dyn TextEncoder>,
    /// What becomes of the cosines.
    #[serde(default)]
    pub(crate) convention: Convention,
}

/// The conventions in print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Convention {
    /// The plain mean, `-1..=1`.
    #[default]
    Cosine,
    /// `max(0, 100 mean)`, torchmetrics' `CLIPScore`.
    Torchmetrics,
    /// `2.5 max(0, cosine)` picture by picture, Hessel et al. 2021, Eq. (1).
    Hessel,
}

impl Convention {
    fn name(self) -> &'static str {
        match self {
            Self::Cosine => "clip-score",
            Self::Torchmetrics => "clip-score-torchmetrics",
            Self::Hessel => "clip-score-hessel",
        }
    }
}

impl From<Convention> for ClipScoreConvention {
    fn from(convention: Convention) -> Self {
        match convention {
            Convention::Cosine => Self::Cosine,
            Convention::Torchmetrics => Self::Torchmetrics,
            Convention::Hessel => Self::Hessel,
        }
    }
}

impl Metric for ClipScore {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.images, preparation: CLIP, output: Output::Embedding }]
    }

    fn needs(&self) -> Needs {
        Needs { captions: true, ..Needs::default() }
    }

    fn check(&self, networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        let refuse = |problem| Err(PluginError::Field { field: "texts", problem });
        // Stable Diffusion's own text encoders are CLIP's without the projection.
        if !self.texts.is_projected() {
            return refuse(format!(
                "expected Clip or OpenClipG, whose pooled embedding lies in the common space of pictures and texts, got {}",
                self.texts.name()
            ));
        }
        let (images, texts) = (networks[0].embedding_width(), self.texts.info().pooled);
        if images != texts {
            return refuse(format!(
                "expected the text tower of the same CLIP, of width {images}, got one of width {texts}"
            ));
        }
        Ok(())
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        let name = names(self.convention.name(), networks[0], Output::Embedding).remove(0);
        Ok(Box::new(Cosines {
            name,
            convention: self.convention.into(),
            texts: self.texts.init(0, device)?,
            width: self.texts.info().pooled,
            embeddings: RowsWriter::default(),
            known: BTreeMap::new(),
        }))
    }
}

inventory::submit!(Entry::metric::<ClipScore>("ClipScore", "Hessel et al. 2021; ADD, section 4"));

struct Cosines {
    name: String,
    convention: ClipScoreConvention,
    texts: Box<dyn TextNetwork>,
    width: usize,
    /// Embeddings of captions: every model is measured on the same.
    embeddings: RowsWriter,
    /// Which of them is a caption's.
    known: BTreeMap<String, usize>,
}

/// Captions in one pass of the text tower.
const PASS: usize = 32;

impl Cosines {
    /// The embedding of each caption.
    fn captions(&mut self, captions: &[String]) -> Result<FeatureSet, PluginError> {
        let mut new: Vec<String> =
            captions.iter().filter(|caption| !self.known.contains_key(*caption)).cloned().collect();
        new.sort();
        new.dedup();
        for part in new.chunks(PASS) {
            let pooled: Vec<f32> = self.texts.encode(part).pooled.into_data().iter::<f32>().collect();
            self.known.extend(part.iter().cloned().zip(self.embeddings.len()..));
            self.embeddings.push(self.width, &pooled)?;
        }
        let all = FeatureSet::of_rows(self.embeddings.rows()).map_err(failed(&self.name))?;
        Ok(all.select(&captions.iter().map(|caption| self.known[caption]).collect::<Vec<_>>()))
    }
}

impl Measurement for Cosines {
    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        let texts = self.captions(generated.captions)?;
        let failed = failed(&self.name);
        let images = set(&generated.features[0][0]).map_err(&failed)?;
        let cosines = row_cosines(&images, &texts).map_err(&failed)?;
        let scores: Vec<f64> = cosines.iter().map(|&cosine| self.convention.of_picture(cosine)).collect();
        let (mean, interval) = mean_with_interval(&scores, generated.resamples).map_err(&failed)?;
        let value = self.convention.of_mean(mean);
        let (name, better) = (self.name.clone(), Some(Better::Higher));
        Ok(vec![MetricValue { name, better, value, interval, n: cosines.len() }])
    }
}
