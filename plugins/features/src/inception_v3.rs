//! Inception V3 of the Frechet inception distance. Szegedy et al. 2016; Heusel et al. 2017.
//!
//! The weights are those of the TensorFlow graph `inception-2015-12-05` as pytorch-fid and torch-fidelity publish them.

use std::{env, path::PathBuf};

use add_nn::{inception_v3::InceptionV3 as Network, layers::Init};
use add_plugin::{Entry, FeatureExtractor, FeatureNetwork, Pixels, PluginError, inventory};
use add_weights::{Loading, Location, Source, names::is_unused};
use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// Inception V3 without its classifier: 22 M parameters. The embedding is the 2,048 features of the distance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InceptionV3 {
    /// pytorch-fid's file, as `.pth` or with the same names as safetensors; unless told otherwise where PyTorch's hub has
    /// it: `~/.cache/torch/hub/checkpoints/pt_inception-2015-12-05-6726825d.pth`.
    weights: Option<Location>,
}

inventory::submit!(Entry::feature_network::<InceptionV3>(
    "InceptionV3",
    "Heusel et al. 2017, pytorch-fid's weights"
));

/// The file, and where pytorch-fid gets it.
const FILE: &str = "pt_inception-2015-12-05-6726825d.pth";
const RELEASE: &str = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights";
/// Side of the pictures, in pixels.
const SIDE: usize = 299;

impl InceptionV3 {
    /// The stated place, or that of PyTorch's hub on this machine.
    fn file(&self) -> Location {
        self.weights.clone().unwrap_or_else(|| Location::Local(hub().join(FILE)))
    }
}

/// The folder in which `torch.hub` keeps what it has fetched.
fn hub() -> PathBuf {
    let home = || env::home_dir().unwrap_or_default();
    let cache = || env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    let torch = env::var_os("TORCH_HOME").map_or_else(|| cache().join("torch"), PathBuf::from);
    torch.join("hub/checkpoints")
}

impl FeatureNetwork for InceptionV3 {
    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn init(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        let place = self.file();
        if self.weights.is_none() && place.cached().is_none() {
            let problem = format!(
                "there is no such file; download {RELEASE}/{FILE} to this place, or name another with InceptionV3(weights: \
                 \"…\")"
            );
            return Err(PluginError::Weights(format!("{place}: {problem}")));
        }
        let loading = Loading {
            source: &|name| Source::Whole(Network::pytorch_fid_name(name)),
            ignore: &|name| is_unused(name) || name.starts_with("fc.") || name.starts_with("AuxLogits."),
            dtype: DType::F32,
        };
        let network = Network::new(&Init::new(0, &device.clone().without_autodiff()));
        let read = || loading.load(network, &place.open()?);
        let network = read().map_err(|error| PluginError::Weights(error.to_string()))?.fold();
        Ok(Box::new(InceptionFeatures { network }))
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        let network = Network::new(&Init::new(0, &device.clone().without_autodiff()));
        Ok(Box::new(InceptionFeatures { network }))
    }
}

#[derive(Module, Debug)]
struct InceptionFeatures {
    network: Network,
}

impl FeatureExtractor for InceptionFeatures {
    fn hooks(&self) -> Vec<(String, usize)> {
        [64, 192, 768, 2048].map(|channels| (format!("inception-{channels}"), channels)).into()
    }

    fn input_size(&self) -> usize {
        SIDE
    }

    fn embedding_width(&self) -> usize {
        2048
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        let states = self.network.forward(pixels.0);
        let places = [states.block0, states.block1, states.block2].map(|state| state.flatten::<3>(2, 3));
        places.into_iter().chain([states.pool3.unsqueeze_dim(2)]).collect()
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        self.network.forward(pixels.0).pool3
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{Plugin, parameter_count};
    use ron::extensions::Extensions;

    use super::*;

    fn plugin(text: &str) -> Plugin<dyn FeatureNetwork> {
        let options = ron::Options::default()
            .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME);
        options.from_str(text).expect("a recipe")
    }

    #[test]
    fn its_hooks_are_the_pools_and_the_last_is_the_embedding() {
        let network = plugin("InceptionV3()").outline(&Device::flex()).expect("no file is read");
        // 21,785,568 parameters and two statistics for each channel that is normalised.
        assert!(parameter_count(&*network) > 21_785_568);
        let x = Pixels(Tensor::full([1, 3, SIDE, SIDE], 0.25, &Device::flex()));
        let features = network.features(x.clone());
        let shapes: Vec<[usize; 3]> = features.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[1, 64, 73 * 73], [1, 192, 35 * 35], [1, 768, 17 * 17], [1, 2048, 1]]);
        let embedding = network.embedding(x);
        let difference = (features[3].clone().squeeze_dim::<2>(2) - embedding).abs().max();
        assert!(difference.into_scalar::<f32>() < 1e-6);
        assert_eq!(network.name(), "inception");
    }

    #[test]
    fn a_missing_file_is_named_with_what_to_do() {
        let error = plugin("InceptionV3(weights: \"no/such.pth\")").init(&Device::flex()).unwrap_err();
        assert!(error.to_string().contains("no/such.pth"), "{error}");
    }
}
