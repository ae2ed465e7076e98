//! The networks of a recorded run in the device's widest type, with its initial weights.

use std::{collections::BTreeMap, num::NonZeroUsize};

use super::recording::{Recording, VitShape};
use crate::{ParityError, fixture::widest, row::values};
use ::heads::{ProjectedHead, stylegan_t_name};
use add_nn::{
    layers::Init,
    unet::{UNet2dCondition, UnetConditions},
    vit::{Vit, VitConfig},
};
use add_plugin::{
    Codec, Conditioning, Denoiser, Discriminator, FeatureExtractor, Network, Pixels, Timesteps, frozen,
};
use add_recipe::slot::{CODEC, FEATURES, HEADS, IMAGE_ENCODER, STUDENT, TEACHER};
use add_train::{
    ema::Home,
    networks::{AnyNetwork, Averaging, Change, NetworkSet, Training},
};
use add_weights::{Loading, Source, WeightsFile, names};
use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use codecs::Identity;
use methods::add::{OPTIMIZER_D, OPTIMIZER_G};

/// Means and deviations of ImageNet's colours, in float64 as the reference has them.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Samples that share their statistics in the reference's heads, or the whole batch where it is smaller.
const VIRTUAL_BATCH: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// All networks, with a constant average of the given half-life; the teacher is a frozen copy of the student.
pub(super) fn networks(recording: &Recording<'_>, half_life: f64) -> Result<NetworkSet, ParityError> {
    let config = &recording.config;
    let weights = recording.fixture.weights()?;
    let student = student(recording, &weights)?;
    let features = vit(&weights, "feat.", &config.feat, &config.hyper.hooks, recording.fixture.device())?;
    let image_encoder = vit(&weights, "cimg.", &config.cimg, &[], recording.fixture.device())?;
    let heads = heads(recording, &weights, &features, &image_encoder)?;
    // The recorded runs diffuse pixels.
    let codec = Identity {}.init(recording.fixture.device())?;
    let training = |optimizer, config, file, average| {
        Change::Trained(Training { optimizer, config, file, prefix: "", average })
    };
    let average = Some(Averaging { file: "ema", half_life, home: Home::Device });
    let student_training = training(OPTIMIZER_G, config.hyper.opt_g.config(), "student", average);
    let heads_training = training(OPTIMIZER_D, config.hyper.opt_d.config(), "heads", None);
    let mut set = NetworkSet::default()
        .with(TEACHER, AnyNetwork::Denoiser(student.frozen()), Change::Frozen)
        .with(STUDENT, AnyNetwork::Denoiser(Box::new(student)), student_training)
        .with(HEADS, AnyNetwork::Heads(heads), heads_training)
        .with(FEATURES, AnyNetwork::Features(Box::new(features)), Change::Frozen)
        .with(IMAGE_ENCODER, AnyNetwork::Features(Box::new(image_encoder)), Change::Frozen)
        .with(CODEC, AnyNetwork::Codec(codec), Change::Frozen);
    set.start();
    if let Some(average) = set.average_mut(OPTIMIZER_G) {
        *average = average.clone().constant();
    }
    Ok(set)
}

/// A network's values by the reference's names.
pub(super) fn named_values(network: &dyn Network, name: fn(&str) -> String) -> BTreeMap<String, Vec<f64>> {
    let mut all = BTreeMap::new();
    network.for_each_parameter(&mut |path, _, value| {
        all.insert(name(path), values(value));
    });
    all
}

/// The U-Net as a denoiser.
#[derive(Module, Debug)]
struct Unet {
    unet: UNet2dCondition,
}

/// diffusers' name of a parameter of the student: without the wrapper.
pub(super) fn student_name(path: &str) -> String {
    path.trim_start_matches("unet.").to_owned()
}

/// `0.main...` for `heads.0.main...`.
pub(super) fn heads_name(path: &str) -> String {
    stylegan_t_name(path).trim_start_matches("heads.").to_owned()
}

impl Denoiser for Unet {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let time = t.to_tensor(&x_t.device(), x_t.dtype());
        self.unet.forward(x_t, time, conditioning.tokens.clone(), UnetConditions::default())
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(frozen(self))
    }
}

fn student(recording: &Recording<'_>, weights: &WeightsFile) -> Result<Unet, ParityError> {
    let init = Init::new(0, &recording.fixture.device().clone().autodiff());
    let unet = UNet2dCondition::new(&recording.config.unet, &init)?;
    let source = |name: &str| Source::Whole(format!("student.{name}"));
    Ok(Unet { unet: load(unet, weights, "student.", &source, recording.fixture.wide())? })
}

/// Fills `module` with all of the file's tensors under `prefix`.
fn load<M: Module>(
    module: M,
    weights: &WeightsFile,
    prefix: &str,
    source: &dyn Fn(&str) -> Source,
    dtype: DType,
) -> Result<M, ParityError> {
    let loading = Loading { source, ignore: &|name| !name.starts_with(prefix), dtype };
    Ok(loading.load(module, weights)?)
}

/// A vision transformer as StyleGAN-T looks through it.
#[derive(Module, Debug)]
struct VitFeatures {
    vit: Vit,
    /// Blocks whose outputs are features; after them come the tokens before the first block.
    #[module(skip)]
    hooks: Vec<usize>,
    #[module(skip)]
    side: usize,
    #[module(skip)]
    width: usize,
}

fn vit(
    weights: &WeightsFile,
    prefix: &str,
    shape: &VitShape,
    hooks: &[usize],
    device: &Device,
) -> Result<VitFeatures, ParityError> {
    let config = VitConfig {
        image_size: shape.img_size,
        patch_size: shape.patch_size,
        channels: shape.embed_dim,
        depth: shape.depth,
        heads: shape.num_heads,
        inner: 4 * shape.embed_dim,
        ..VitConfig::dino_s16()
    };
    let source = |name: &str| names::vit_from_hub(name).under(prefix);
    let vit = Vit::new(&config, &Init::new(0, device))?;
    Ok(VitFeatures {
        vit: load(vit, weights, prefix, &source, widest(device))?,
        hooks: hooks.to_vec(),
        side: shape.img_size,
        width: shape.embed_dim,
    })
}

impl FeatureExtractor for VitFeatures {
    fn hooks(&self) -> Vec<(String, usize)> {
        let blocks = self.hooks.iter().map(|block| format!("block {block}"));
        blocks.chain(["tokens".to_owned()]).map(|name| (name, self.width)).collect()
    }

    fn input_size(&self) -> usize {
        self.side
    }

    fn embedding_width(&self) -> usize {
        self.width
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        let output = self.vit.forward_blocks(normalised(pixels), &self.hooks);
        let with_readout = |tokens: Tensor<3>| {
            let patches = tokens.dims()[1] - 1;
            (tokens.clone().narrow(1, 1, patches) + tokens.narrow(1, 0, 1)).swap_dims(1, 2)
        };
        output.hooked.into_iter().chain([output.embedded]).map(with_readout).collect()
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        self.vit.image_embedding(normalised(pixels))
    }
}

/// From `[-1, 1]` to the colours that the networks were trained on.
fn normalised(Pixels(x): Pixels) -> Tensor<4> {
    let (device, dtype) = (x.device(), x.dtype());
    let per_channel =
        |values: [f64; 3]| Tensor::<1>::from_data(values, (&device, dtype)).reshape([1, 3, 1, 1]);
    let x = x.add_scalar(1.0).mul_scalar(0.5) - per_channel(MEAN);
    x * per_channel(STD.map(f64::recip))
}

/// The heads on `features`, conditioned on text and on what `image_encoder` sees.
fn heads(
    recording: &Recording<'_>,
    weights: &WeightsFile,
    features: &dyn FeatureExtractor,
    image_encoder: &dyn FeatureExtractor,
) -> Result<Box<dyn Discriminator>, ParityError> {
    let batch = NonZeroUsize::new(recording.batch).unwrap_or(VIRTUAL_BATCH);
    let config = ProjectedHead {
        projection_width: recording.config.hyper.cmap_dim,
        virtual_batch: batch.min(VIRTUAL_BATCH),
        ..ProjectedHead::default()
    };
    let channels: Vec<usize> = features.hooks().into_iter().map(|(_, channels)| channels).collect();
    let condition = recording.pooled + image_encoder.embedding_width();
    let heads = config.build(&channels, condition, 0, &recording.fixture.device().clone().autodiff())?;
    heads.check_batch(recording.batch)?;
    let source = |name: &str| Source::Whole(stylegan_t_name(name));
    Ok(Box::new(load(heads, weights, "heads.", &source, recording.fixture.wide())?))
}
