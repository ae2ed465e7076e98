//! A small autoencoder that a laptop trains: latents of a quarter of the picture's side. Rombach et al. 2022, small.
//!
//! `latents = (mean(posterior) - m) / s`, with mean `m` and deviation `s` of each channel over training pictures. They are
//! measured when its training is over and lie beside its weights.

use add_nn::{autoencoder_kl::AutoencoderKlConfig, autoencoder_mini::AutoencoderMini, layers::Init};
use add_plugin::{
    Autoencoder, Codec, Entry, LatentInfo, Latents, Pixels, PluginError, Posterior, TrainableAutoencoder,
    frozen, inventory, within,
};
use add_weights::{Loading, Location, Source, WeightsError, WeightsFile};
use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// A small autoencoder: 0.4 M parameters as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MiniVae {
    /// Where its values come from.
    pub weights: MiniVaeWeights,
    /// Channels of each level, finest (the picture itself) first; multiples of 8. Each further level halves the side, so
    /// three make latents of a quarter of it.
    pub channels: Vec<usize>,
    /// Residual blocks of a level; the decoder's coarsest has those of the middle alone.
    pub layers: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
}

/// Where the values of a [`MiniVae`] come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MiniVaeWeights {
    /// Drawn from the recipe's seed, to be trained.
    Random(),
    /// The `model.safetensors` that such a training leaves.
    File(Location),
}

impl Default for MiniVae {
    fn default() -> Self {
        let weights = MiniVaeWeights::Random();
        Self { weights, channels: vec![16, 32, 64], layers: 1, latent_channels: 4 }
    }
}

inventory::submit!(Entry::codec::<MiniVae>("MiniVae", "the autoencoder of Rombach et al. 2022, small"));

/// What the names of its parameters begin with in a model's file.
const PREFIX: &str = "codec.";
/// Groups of its normalisations.
const GROUPS: usize = 8;
/// Most levels, blocks of a level and channels.
const MAX_LEVELS: usize = 8;
const MAX_LAYERS: usize = 16;
const MAX_CHANNELS: usize = 4096;

impl MiniVae {
    fn fresh(&self, init: &Init) -> Result<MiniVaeNetwork, PluginError> {
        within("channels", self.channels.len(), 1..=MAX_LEVELS)?;
        for &channels in &self.channels {
            within("channels", channels, 1..=MAX_CHANNELS)?;
        }
        within("layers", self.layers, 1..=MAX_LAYERS)?;
        within("latent_channels", self.latent_channels, 1..=MAX_CHANNELS)?;
        let config = AutoencoderKlConfig {
            block_out_channels: self.channels.clone(),
            layers_per_block: self.layers,
            latent_channels: self.latent_channels,
            norm_num_groups: GROUPS,
            ..AutoencoderKlConfig::default()
        };
        let network = AutoencoderMini::new(&config, &init.at("network"))
            .map_err(|problem| PluginError::Mismatch(format!("the autoencoder: {problem}")))?;
        Ok(MiniVaeNetwork {
            network,
            latents_mean: init.constant("latents_mean", [self.latent_channels], 0.0),
            latents_std: init.constant("latents_std", [self.latent_channels], 1.0),
        })
    }

    /// On the plain device the weights are constants: gradients pass through, never to them.
    fn constant(&self, device: &Device) -> Result<MiniVaeNetwork, PluginError> {
        self.fresh(&Init::new(0, &device.clone().without_autodiff()))
    }
}

/// Fills a network from a model's file.
fn load(network: MiniVaeNetwork, file: &WeightsFile) -> Result<MiniVaeNetwork, WeightsError> {
    let loading = Loading {
        source: &|name| Source::Whole(format!("{PREFIX}{name}")),
        ignore: &|name| !name.starts_with(PREFIX),
        dtype: DType::F32,
    };
    loading.load(network, file)
}

impl Codec for MiniVae {
    fn info(&self) -> LatentInfo {
        // Of a number of levels that `init` refuses, any reduction will do.
        let levels = self.channels.len().clamp(1, MAX_LEVELS);
        LatentInfo { channels: self.latent_channels, reduction: 1 << (levels - 1) }
    }

    fn weights(&self) -> Vec<String> {
        match &self.weights {
            MiniVaeWeights::Random() => Vec::new(),
            MiniVaeWeights::File(location) => vec![location.to_string()],
        }
    }

    fn init(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        let fresh = self.constant(device)?;
        let file = match &self.weights {
            MiniVaeWeights::Random() => {
                let problem = "Random() has still to be trained; expected File(…)".to_owned();
                return Err(PluginError::Field { field: "weights", problem });
            }
            MiniVaeWeights::File(location) => location.open(),
        };
        let network = file.and_then(|file| load(fresh, &file));
        Ok(Box::new(network.map_err(|error| PluginError::Weights(error.to_string()))?))
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        Ok(Box::new(self.constant(device)?))
    }

    fn is_drawn(&self) -> bool {
        self.weights == MiniVaeWeights::Random()
    }

    fn trainable(&self, seed: u64, device: &Device) -> Result<Box<dyn TrainableAutoencoder>, PluginError> {
        Ok(Box::new(self.fresh(&Init::new(seed, device))?))
    }
}

#[derive(Module, Debug)]
struct MiniVaeNetwork {
    network: AutoencoderMini,
    latents_mean: Param<Tensor<1>>,
    latents_std: Param<Tensor<1>>,
}

/// One number a channel as `[1, C, 1, 1]`.
fn per_channel(values: &Param<Tensor<1>>) -> Tensor<4> {
    let values = values.val();
    let channels = values.dims()[0];
    values.reshape([1, channels, 1, 1])
}

impl Autoencoder for MiniVaeNetwork {
    fn encode(&self, pixels: Pixels) -> Latents {
        let mean = self.network.encode(pixels.0).mean;
        Latents((mean - per_channel(&self.latents_mean)) / per_channel(&self.latents_std))
    }

    fn decode(&self, latents: Latents) -> Pixels {
        let z = latents.0 * per_channel(&self.latents_std) + per_channel(&self.latents_mean);
        Pixels(self.network.decode(z))
    }
}

impl TrainableAutoencoder for MiniVaeNetwork {
    fn posterior(&self, pixels: Pixels) -> Posterior {
        let distribution = self.network.encode(pixels.0);
        Posterior { mean: distribution.mean, logvar: distribution.logvar }
    }

    fn reconstruct(&self, z: Tensor<4>) -> Pixels {
        Pixels(self.network.decode(z))
    }

    fn set_scale(&mut self, mean: &[f64], deviation: &[f64]) {
        for (param, values) in [(&mut self.latents_mean, mean), (&mut self.latents_std, deviation)] {
            let device = param.val().device().without_autodiff();
            *param = Param::from_tensor(Tensor::from_data(values, (&device, DType::F32)));
        }
    }

    fn frozen(&self) -> Box<dyn TrainableAutoencoder> {
        Box::new(frozen(self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use add_plugin::{Plugin, parameter_count};
    use add_weights::{NamedTensor, Precision, save};
    use burn::tensor::TensorData;
    use ron::extensions::Extensions;

    use super::*;

    fn recipe(text: &str) -> Plugin<dyn Codec> {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        options.from_str(text).expect(text)
    }

    fn pixels() -> Pixels {
        let values = (0..2 * 3 * 64).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect::<Vec<_>>();
        Pixels(Tensor::from_data(TensorData::new(values, [2, 3, 8, 8]), &Device::flex()))
    }

    fn difference(a: Tensor<4>, b: Tensor<4>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    const SMALL: &str = "channels: [8, 16], latent_channels: 2";

    #[test]
    fn it_is_small_and_has_not_to_say_anything_before_it_is_trained() {
        let codec = recipe("MiniVae()");
        assert_eq!(codec.info(), LatentInfo { channels: 4, reduction: 4 });
        let network = codec.outline(&Device::flex()).expect("no file is read");
        assert!((300_000..600_000).contains(&parameter_count(&*network)), "{}", parameter_count(&*network));
        assert!(codec.is_drawn() && codec.weights().is_empty());
        let error = codec.init(&Device::flex()).expect_err("nothing is known").to_string();
        assert!(error.contains("weights") && error.contains("trained"), "{error}");
        let file = recipe("MiniVae(weights: File(\"no/such.safetensors\"))");
        assert!(!file.is_drawn() && file.weights() == ["no/such.safetensors"]);
        assert!(file.init(&Device::flex()).expect_err("missing").to_string().contains("no/such.safetensors"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (fields, part) in [
            ("channels: []", "channels"),
            ("channels: [12]", "multiples of norm_num_groups"),
            ("channels: [8192]", "channels"),
            ("layers: 0", "layers"),
            ("latent_channels: 0", "latent_channels"),
        ] {
            let codec = recipe(&format!("MiniVae({fields})"));
            let error = codec.outline(&Device::flex()).expect_err(fields).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_trained_knows_no_scale_and_what_is_used_does() {
        let codec = recipe(&format!("MiniVae({SMALL})"));
        let trained = codec.trainable(3, &Device::flex().autodiff()).expect("small");
        let mut network = trained.frozen();
        let Posterior { mean, logvar } = network.posterior(pixels());
        assert_eq!((mean.dims(), logvar.dims()), ([2, 2, 4, 4], [2, 2, 4, 4]));
        assert!(difference(network.encode(pixels()).0, mean.clone()) < 1e-6, "a scale of one");
        network.set_scale(&[0.5, -1.0], &[2.0, 0.25]);
        let latents = network.encode(pixels()).0;
        let first = (mean.clone().narrow(1, 0, 1) - 0.5) / 2.0;
        let second = (mean.clone().narrow(1, 1, 1) + 1.0) / 0.25;
        assert!(difference(latents.clone(), Tensor::cat(vec![first, second], 1)) < 1e-5);
        let [there, back] = [network.reconstruct(mean.clone()), network.decode(Latents(latents))];
        assert!(difference(there.0.clone(), back.0) < 1e-5);
        // What is trained stayed as it was.
        assert!(difference(trained.frozen().reconstruct(mean).0, there.0) < 1e-6);
    }

    #[test]
    fn a_file_gives_back_values_and_scale_and_its_weights_are_constants() {
        let small = recipe(&format!("MiniVae({SMALL})"));
        let mut network = small.trainable(3, &Device::flex()).expect("small");
        network.set_scale(&[0.5, -1.0], &[2.0, 0.25]);
        let mut tensors = BTreeMap::new();
        network.for_each_parameter(&mut |name, shape, values| {
            tensors.insert(format!("codec.{name}"), NamedTensor { shape: shape.to_vec(), values });
        });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        save(&path, &tensors, Precision::F32, &BTreeMap::new()).expect("written");
        let text = format!("MiniVae(weights: File({:?}), {SMALL})", path.display().to_string());
        let read = recipe(&text).init(&Device::flex().autodiff()).expect("such a file");
        let latents = network.encode(pixels()).0;
        assert!(difference(read.encode(pixels()).0, latents.clone()) < 1e-6);

        let leaf = latents.autodiff().require_grad();
        let mut gradients = read.decode(Latents(leaf.clone())).0.square().sum().backward();
        assert!(read.take_gradients(&mut gradients).is_empty(), "the weights are constants");
        assert!(leaf.grad(&gradients).expect("a leaf").abs().sum().into_scalar::<f32>() > 0.0);
        let other =
            recipe(&text.replace("[8, 16]", "[8, 24]")).init(&Device::flex()).expect_err("another shape");
        assert!(other.to_string().contains("mis-shaped"), "{other}");
    }
}
