//! The metrics of an evaluation with their networks: each different look at the pictures is taken once, whoever shares it.

use add_plugin::{
    FeatureExtractor, Features, FeaturesWriter, Generated, Groups, Knowledge, Labels, Measurement, Metric,
    MetricValue, Needs, Network, Output, Picture, Pixels, Plugin, PluginError, Preparation, Reference,
    Statistics, View,
};
use add_recipe::one_line;
use add_train::state::State;
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::error::CoreError;

/// Values of pictures in one pass of a network, those of 50 small ones; never fewer than [`LEAST`] pictures.
const PASS: usize = 50 * 64 * 64;
const LEAST: usize = 8;
/// Pictures that are held at once.
pub(super) const CHUNK: usize = 50;

/// The metrics, ready to measure.
pub(super) struct Panel {
    networks: Vec<(String, Box<dyn FeatureExtractor>)>,
    looks: Vec<Look>,
    metrics: Vec<Measuring>,
    device: Device,
}

/// One way of looking at pictures.
struct Look {
    network: usize,
    preparation: Preparation,
    output: Output,
    /// What some metric must know of the real pictures through it.
    knowledge: Knowledge,
}

struct Measuring {
    measurement: Box<dyn Measurement>,
    needs: Needs,
    /// By the order of its views.
    looks: Vec<usize>,
}

/// The features of some pictures: for each look an entry per hook, or one of the embedding.
pub(super) type Seen = Vec<Vec<Features>>;

/// Features while pictures are looked at, in the order of [`Seen`].
pub(super) struct Seeing(Vec<Vec<FeaturesWriter>>);

impl Seeing {
    /// Those of the pictures so far.
    pub(super) fn seen(&self) -> Seen {
        self.0.iter().map(|sets| sets.iter().map(FeaturesWriter::rows).collect()).collect()
    }
}

/// What is known of the real pictures, for each look.
pub(super) enum Known {
    /// The features of each.
    Features(Seen),
    /// Statistics of the one look that compares with them.
    Statistics(Vec<Statistics>),
}

impl Panel {
    /// The metrics with all of their networks on `device`. What does not fit together is refused before weights are read.
    pub(super) fn new(metrics: &[Plugin<dyn Metric>], device: &Device) -> Result<Self, CoreError> {
        for metric in metrics {
            check(&**metric)?;
        }
        let mut panel =
            Self { networks: Vec::new(), looks: Vec::new(), metrics: Vec::new(), device: device.clone() };
        for metric in metrics {
            let needs = metric.needs();
            let mut looks = Vec::new();
            for view in metric.views() {
                let line = one_line(view.network);
                let known = panel.networks.iter().position(|(known, _)| *known == line);
                let network = if let Some(network) = known {
                    network
                } else {
                    panel.networks.push((line, view.network.init(device)?));
                    panel.networks.len() - 1
                };
                let is_same = |look: &Look| {
                    (look.network, look.preparation.name, look.output)
                        == (network, view.preparation.name, view.output)
                };
                let look = panel.looks.iter().position(is_same).unwrap_or_else(|| {
                    let (preparation, output) = (view.preparation, view.output);
                    panel.looks.push(Look { network, preparation, output, knowledge: Knowledge::Nothing });
                    panel.looks.len() - 1
                });
                panel.looks[look].knowledge = panel.looks[look].knowledge.max(needs.reference);
                looks.push(look);
            }
            let networks: Vec<&dyn FeatureExtractor> =
                looks.iter().map(|&look| &*panel.networks[panel.looks[look].network].1).collect();
            let measurement = metric.init(&networks, device)?;
            panel.metrics.push(Measuring { measurement, needs, looks });
        }
        Ok(panel)
    }

    /// The groups of pictures that metrics ask for, each once.
    pub(super) fn groups(&self) -> Vec<Groups> {
        let mut all = Vec::new();
        for groups in self.metrics.iter().filter_map(|metric| metric.needs.groups) {
            if !all.contains(&groups) {
                all.push(groups);
            }
        }
        all
    }

    /// Whether the real pictures matter to a look, for each.
    pub(super) fn compares(&self) -> Vec<bool> {
        self.looks.iter().map(|look| look.knowledge > Knowledge::Nothing).collect()
    }

    /// What names a look and all of its network's values.
    pub(super) fn identity(&self, look: usize) -> String {
        let look = &self.looks[look];
        let (line, network) = &self.networks[look.network];
        let network: &dyn Network = &**network;
        format!("{line} {} {:?} {}", look.preparation.name, look.output, State::digest_of(network))
    }

    /// Nothing seen yet.
    pub(super) fn unseen(&self) -> Seeing {
        let sets = |look: &Look| match look.output {
            Output::Hooks => self.networks[look.network].1.hooks().len(),
            Output::Embedding => 1,
        };
        let empty = |look| (0..sets(look)).map(|_| FeaturesWriter::default()).collect();
        Seeing(self.looks.iter().map(empty).collect())
    }

    /// Looks at pictures through every look that is `wanted`, and adds the features.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub(super) fn look(
        &self,
        pictures: &[Picture],
        wanted: &[bool],
        Seeing(seen): &mut Seeing,
    ) -> Result<(), CoreError> {
        let mut done = vec![false; self.looks.len()];
        for at in 0..self.looks.len() {
            if !wanted[at] || done[at] {
                continue;
            }
            // Looks that differ in what they read off share the prepared pictures.
            let Look { network, preparation, .. } = self.looks[at];
            let same: Vec<usize> = (at..self.looks.len())
                .filter(|&other| {
                    let look = &self.looks[other];
                    wanted[other] && (look.network, look.preparation.name) == (network, preparation.name)
                })
                .collect();
            let extractor = &*self.networks[network].1;
            let side = extractor.input_size();
            let pass = (PASS / (side * side)).max(LEAST);
            for pictures in pictures.chunks(pass) {
                let values: Vec<f32> =
                    pictures.par_iter().flat_map_iter(|picture| (preparation.apply)(picture, side)).collect();
                let data = TensorData::new(values, [pictures.len(), 3, side, side]);
                let pixels = || Pixels(Tensor::from_data(data.clone(), (&self.device, DType::F32)));
                for &look in &same {
                    match self.looks[look].output {
                        Output::Hooks => {
                            for (sets, hook) in seen[look].iter_mut().zip(extractor.features(pixels())) {
                                add(sets, hook.mean_dim(2).squeeze_dim(2))?;
                            }
                        }
                        Output::Embedding => add(&mut seen[look][0], extractor.embedding(pixels()))?,
                    }
                }
            }
            for look in same {
                done[look] = true;
            }
        }
        Ok(())
    }

    /// Hands what is known of the real pictures to every metric that compares with them.
    pub(super) fn set_reference(&mut self, known: &Known) -> Result<(), CoreError> {
        for metric in self.metrics.iter_mut().filter(|metric| metric.needs.reference > Knowledge::Nothing) {
            let of = |&look: &usize| match known {
                Known::Features(seen) => Reference::Features(&seen[look]),
                Known::Statistics(statistics) => Reference::Statistics(statistics),
            };
            let references: Vec<Reference<'_>> = metric.looks.iter().map(of).collect();
            metric.measurement.set_reference(&references)?;
        }
        Ok(())
    }

    /// Every figure of generated pictures; `groups` are those of [`groups`](Self::groups), in that order, or none.
    pub(super) fn measure(
        &mut self,
        seen: &Seen,
        captions: &[String],
        labels: &[Labels],
        groups: &[(Groups, Vec<Vec<Picture>>)],
        resamples: usize,
    ) -> Result<Vec<MetricValue>, CoreError> {
        let mut values = Vec::new();
        for metric in &mut self.metrics {
            let own = groups.iter().find(|(groups, _)| Some(*groups) == metric.needs.groups);
            let generated = Generated {
                features: metric.looks.iter().map(|&look| seen[look].as_slice()).collect(),
                captions,
                labels,
                groups: own.map_or(&[], |(_, pictures)| pictures),
                resamples,
            };
            values.extend(metric.measurement.measure(&generated)?);
        }
        Ok(values)
    }

    /// Hands pictures, and what a codec made of them, to every metric.
    pub(super) fn compare(&mut self, originals: &[Picture], made: &[Picture]) {
        for metric in &mut self.metrics {
            metric.measurement.compare(originals, made);
        }
    }

    /// All looks.
    pub(super) fn all(&self) -> Vec<bool> {
        vec![true; self.looks.len()]
    }
}

/// The most that any metric must know of the real pictures.
pub(super) fn knowledge(metrics: &[Plugin<dyn Metric>]) -> Knowledge {
    metrics.iter().map(|metric| metric.needs().reference).max().unwrap_or_default()
}

/// Whether any metric compares pictures with their captions.
pub(super) fn needs_captions(metrics: &[Plugin<dyn Metric>]) -> bool {
    metrics.iter().any(|metric| metric.needs().captions)
}

/// Whether a metric fits the networks that it states, by their shapes.
fn check(metric: &dyn Metric) -> Result<(), CoreError> {
    let outline = |view: View<'_>| view.network.outline(&Device::flex());
    let networks = metric.views().into_iter().map(outline).collect::<Result<Vec<_>, _>>()?;
    let networks: Vec<&dyn FeatureExtractor> = networks.iter().map(|network| &**network).collect();
    Ok(metric.check(&networks)?)
}

/// Adds rows `[B, width]`.
fn add(features: &mut FeaturesWriter, rows: Tensor<2>) -> Result<(), PluginError> {
    let width = rows.dims()[1];
    let values: Vec<f32> = rows.into_data().iter::<f32>().collect();
    Ok(features.push(width, &values)?)
}
