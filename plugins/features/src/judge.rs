//! The judge: a small classifier that looks at a generated picture and says what it shows.
//!
//! It is no part of any loss, so a generator cannot have learned to please it. It names the category (8), the style
//! (6) and the concept (1,338) of an emoji picture at 32 px. Trained by `examples/train_judge.rs` on the split
//! `train` of the embedded set with light augmentation; its accuracy on real pictures:
//!
//! | split | category | style | both | concept | concept among its first 5 |
//! |---|---|---|---|---|---|
//! | `train` | 90.5% | 74.8% | 68.4% | 96.6% | 99.9% |
//! | `test_pair` (a style that the concept was not seen in) | 73.0% | 70.9% | 52.6% | 54.7% | 78.5% |
//! | `test_concept` | 56.2% | 69.8% | 43.0% | - | - |
//!
//! These are the figures to compare generated pictures with: a generator as good as the artists would get about
//! as much.

use std::collections::BTreeMap;

use add_nn::layers::{Conv2d, ConvGeometry, GroupNorm, Init, Linear};
use add_plugin::{Entry, FeatureExtractor, FeatureNetwork, Pixels, PluginError, inventory};
use add_weights::{WeightsError, WeightsFile, load_into};
use burn::{
    module::Module,
    tensor::{Device, Tensor, activation},
};
use serde::{Deserialize, Serialize};

static WEIGHTS: &[u8] = include_bytes!("../assets/judge.safetensors.gz");
/// Side of the pictures that it looks at, in pixels.
pub const SIDE: usize = 32;
/// What it says about a picture, by the name of the labelling.
pub const LABELLINGS: [&str; 3] = ["category", "style", "concept"];
/// Channels at 16, 8, 4 and 2 pixels a side.
const CHANNELS: [usize; 4] = [32, 64, 128, 256];
/// Width of the last features: 2 x 2 places.
const WIDTH: usize = 4 * CHANNELS[3];
/// Width between them and the answers about what is drawn.
const HIDDEN: usize = 256;
/// Channels at 16, 8 and 8 pixels a side of the part that looks at how it is drawn.
const STYLE_CHANNELS: [usize; 3] = [48, 80, 96];

/// The labels of each of the [`LABELLINGS`]; a class is a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes([Vec<String>; 3]);

impl Classes {
    /// The given labels, each once, sorted.
    pub fn new(labels: [Vec<String>; 3]) -> Self {
        Self(labels.map(|mut labels| {
            labels.sort();
            labels.dedup();
            labels
        }))
    }

    /// How many there are of each.
    pub fn counts(&self) -> [usize; 3] {
        self.0.each_ref().map(Vec::len)
    }

    /// The class of `label`, unless it is not known.
    pub fn index(&self, labelling: usize, label: &str) -> Option<usize> {
        self.0[labelling].binary_search_by(|known| known.as_str().cmp(label)).ok()
    }

    /// As the free text of a weights file.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        LABELLINGS.iter().zip(&self.0).map(|(name, labels)| ((*name).to_owned(), labels.join("\n"))).collect()
    }

    fn from_metadata(metadata: &BTreeMap<String, String>) -> Self {
        let labels = |name: &str| metadata.get(name).map(|list| list.lines().map(str::to_owned).collect());
        Self::new(LABELLINGS.map(|name| labels(name).unwrap_or_default()))
    }
}

/// The classifier's network.
#[derive(Module, Debug)]
pub struct JudgeNet {
    conv1: Conv2d,
    norm1: GroupNorm,
    stages: Vec<Stage>,
    last: Conv2d,
    last_norm: GroupNorm,
    hidden: Linear,
    category: Linear,
    concept: Linear,
    look: Look,
    style: Linear,
}

/// Statistics of small details over the whole picture.
///
/// Style has its own: what is drawn says nothing about it, and a network that knows the concept by heart would name
/// the styles that it has seen it in.
#[derive(Module, Debug)]
struct Look {
    convs: Vec<Conv2d>,
}

impl Look {
    fn new(init: &Init) -> Self {
        let [c1, c2, c3] = STYLE_CHANNELS;
        let conv = |i: usize, c_in, c_out, kernel, stride| {
            Conv2d::new(c_in, c_out, kernel, ConvGeometry::square(stride, 1), &init.at("convs").at(i))
        };
        // Without normalisations: each style has its palette, and they would take the colours away.
        Self { convs: vec![conv(0, 3, c1, 4, 2), conv(1, c1, c2, 3, 2), conv(2, c2, c3, 3, 1)] }
    }

    /// Mean and deviation of each channel over the picture, `[B, 192]`.
    fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        for conv in &self.convs {
            x = activation::silu(conv.forward(x));
        }
        let x: Tensor<3> = x.flatten(2, 3);
        let mean = x.clone().mean_dim(2);
        let deviation = ((x - mean.clone()).square().mean_dim(2) + 1e-4).sqrt();
        Tensor::cat(vec![mean, deviation], 1).flatten(1, 2)
    }
}

/// Half the size at twice the channels, then one residual convolution.
#[derive(Module, Debug)]
struct Stage {
    down: Conv2d,
    norm: GroupNorm,
    same: Conv2d,
    same_norm: GroupNorm,
}

fn norm(channels: usize, init: &Init) -> GroupNorm {
    GroupNorm::new(8, channels, 1e-5, init)
}

impl Stage {
    fn new(c_in: usize, c_out: usize, init: &Init) -> Self {
        Self {
            down: Conv2d::new(c_in, c_out, 3, ConvGeometry::square(2, 1), &init.at("down")),
            norm: norm(c_out, &init.at("norm")),
            same: Conv2d::same3(c_out, c_out, &init.at("same")),
            same_norm: norm(c_out, &init.at("same_norm")),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.norm.forward_silu(self.down.forward(x));
        self.same_norm.forward_silu(self.same.forward(x.clone())) + x
    }
}

impl JudgeNet {
    /// A network with fresh values for so many categories, styles and concepts.
    pub fn new(classes: [usize; 3], init: &Init) -> Self {
        let [c1, c2, c3, c4] = CHANNELS;
        let stage = |i: usize, c_in, c_out| Stage::new(c_in, c_out, &init.at("stages").at(i));
        let answer = |name, classes| Linear::new(HIDDEN, classes, &init.at(name));
        Self {
            conv1: Conv2d::new(3, c1, 4, ConvGeometry::square(2, 1), &init.at("conv1")),
            norm1: norm(c1, &init.at("norm1")),
            stages: vec![stage(0, c1, c2), stage(1, c2, c3)],
            last: Conv2d::new(c3, c4, 3, ConvGeometry::square(2, 1), &init.at("last")),
            last_norm: norm(c4, &init.at("last_norm")),
            // Two by two places: where something is matters for what it is.
            hidden: Linear::new(WIDTH, HIDDEN, &init.at("hidden")),
            category: answer("category", classes[0]),
            concept: answer("concept", classes[2]),
            look: Look::new(&init.at("look")),
            style: Linear::new(2 * STYLE_CHANNELS[2], classes[1], &init.at("style")),
        }
    }

    /// What is drawn, `[B, 1024]`, and how, `[B, 192]`, in pictures `[B, 3, 32, 32]` with values in `[-1, 1]`.
    pub fn features(&self, pixels: Tensor<4>) -> [Tensor<2>; 2] {
        let mut x = self.norm1.forward_silu(self.conv1.forward(pixels.clone()));
        for stage in &self.stages {
            x = stage.forward(x);
        }
        let what = self.last_norm.forward_silu(self.last.forward(x)).flatten(1, 3);
        [what, self.look.forward(pixels)]
    }

    /// Logits of category, style and concept, each `[B, classes]`.
    pub fn answers(&self, [what, how]: [Tensor<2>; 2]) -> [Tensor<2>; 3] {
        let hidden = activation::silu(self.hidden.forward_rows(what));
        [
            self.category.forward_rows(hidden.clone()),
            self.style.forward_rows(how),
            self.concept.forward_rows(hidden),
        ]
    }
}

/// The judge with its embedded weights; its features are logits.
///
/// Hooks `category`, `style` and `concept` have one channel per class at a single place. `category-style` has one
/// per pair of both: the sum of their log-probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmojiJudge {}

inventory::submit!(Entry::feature_network::<EmojiJudge>("EmojiJudge", "trained by examples/train_judge.rs"));

/// The labelling by category and style together; a label is both, joined by a space.
pub const PAIR: &str = "category-style";

impl FeatureNetwork for EmojiJudge {
    fn init(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        let name = "judge.safetensors";
        let broken =
            |error: WeightsError| PluginError::File { path: name.into(), problem: error.to_string() };
        let file = WeightsFile::from_gzip(name, WEIGHTS).map_err(broken)?;
        let classes = Classes::from_metadata(file.metadata());
        // On the plain device the weights are constants.
        let init = Init::new(0, &device.clone().without_autodiff());
        let network = load_into(JudgeNet::new(classes.counts(), &init), &file).map_err(broken)?;
        Ok(Box::new(Judge { network, classes }))
    }
}

#[derive(Module, Debug)]
struct Judge {
    network: JudgeNet,
    #[module(skip)]
    classes: Classes,
}

impl FeatureExtractor for Judge {
    fn hooks(&self) -> Vec<(String, usize)> {
        self.classes().into_iter().map(|(name, classes)| (name.to_owned(), classes.len())).collect()
    }

    fn classes(&self) -> Vec<(&'static str, Vec<String>)> {
        let [categories, styles, _] = &self.classes.0;
        let pairs = categories.iter().flat_map(|c| styles.iter().map(move |s| format!("{c} {s}"))).collect();
        LABELLINGS.into_iter().zip(self.classes.0.clone()).chain([(PAIR, pairs)]).collect()
    }

    fn input_size(&self) -> usize {
        SIDE
    }

    fn embedding_width(&self) -> usize {
        WIDTH
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        let [category, style, concept] = self.network.answers(self.network.features(pixels.0));
        let [b, categories] = category.dims();
        let styles = style.dims()[1];
        let of_category = activation::log_softmax(category.clone(), 1).reshape([b, categories, 1]);
        let of_style = activation::log_softmax(style.clone(), 1).reshape([b, 1, styles]);
        let pair = (of_category + of_style).reshape([b, categories * styles]);
        [category, style, concept, pair].map(|logits| logits.unsqueeze_dim(2)).to_vec()
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        let [what, _] = self.network.features(pixels.0);
        what
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use add_data::Loader;
    use add_plugin::{DataSource, Dataset, Split};
    use data::Emoji;

    use super::*;

    /// Shares of the real pictures of `split` in which the judge sees the label of the picture `shift` further on,
    /// for each hook, and how many of the labels it knows.
    fn accuracy(split: Split, shift: usize) -> [(f64, usize); 4] {
        let device = Device::flex();
        let judge = EmojiJudge {}.init(&device).expect("embedded");
        let data: Arc<dyn Dataset> =
            Emoji::new(SIDE).and_then(|emoji| emoji.open(split)).expect("embedded").into();
        let n = data.len();
        let batch = Loader::new(data.clone(), 0, n).expect("samples").load(0).expect("usable");
        let logits = judge.features(batch.pixels(&device));
        let mut result = [(0.0, 0); 4];
        for ((hook, (labelling, classes)), (share, known)) in
            logits.into_iter().zip(judge.classes()).zip(&mut result)
        {
            let seen = hook.squeeze_dim::<2>(2).argmax(1).into_data().iter::<i64>().collect::<Vec<_>>();
            let mut right = 0usize;
            for (&index, seen) in batch.indices.iter().zip(seen) {
                let labels = data.labels((index + shift) % n);
                let label = &labels.iter().find(|(name, _)| *name == labelling).expect("labelled").1;
                *known += usize::from(classes.contains(label));
                right += usize::from(classes[seen as usize] == *label);
            }
            *share = right as f64 / n as f64;
        }
        result
    }

    #[test]
    fn real_pictures_are_recognised_in_a_style_that_was_not_seen() {
        let shares = accuracy(Split::TestPair, 0).map(|(share, _)| share);
        for (share, least) in shares.iter().zip([0.70, 0.68, 0.50, 0.50]) {
            assert!(*share >= least, "category, style, concept, both: {shares:?}");
        }
    }

    #[test]
    fn wrong_captions_are_not_agreed_with() {
        let [_, _, (concept, _), (pair, _)] = accuracy(Split::TestPair, 150);
        assert!(concept < 0.02 && pair < 0.2, "{concept} {pair}");
    }

    #[test]
    fn it_does_not_claim_to_know_concepts_that_it_never_saw() {
        let known = accuracy(Split::TestConcept, 0).map(|(_, known)| known);
        assert_eq!(known, [242, 242, 0, 242]);
    }
}
