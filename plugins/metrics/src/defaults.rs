//! The networks that the published metrics are defined on, as a recipe would state them.

use add_plugin::{FeatureExtractor, FeatureNetwork, Plugin, PluginError, TextEncoder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Inception with the weights of Heusel et al.
pub(crate) fn inception() -> Plugin<dyn FeatureNetwork> {
    plugin(json!({ "InceptionV3": {} }))
}

/// DINOv2 ViT-L/14.
pub(crate) fn dino_v2_l14() -> Plugin<dyn FeatureNetwork> {
    plugin(json!({ "DinoV2": { "weights": "hf://timm/vit_large_patch14_dinov2.lvd142m", "model": "L14" } }))
}

/// OpenAI's image tower ViT-L/14 at 336 pixels.
pub(crate) fn clip_l14_336() -> Plugin<dyn FeatureNetwork> {
    let weights = "hf://openai/clip-vit-large-patch14-336";
    plugin(json!({ "Clip": { "weights": weights, "model": "L14At336", "size": 336 } }))
}

const G14: &str = "hf://laion/CLIP-ViT-g-14-laion2B-s12B-b42K";

/// The image tower of OpenCLIP's ViT-g/14.
pub(crate) fn clip_g14() -> Plugin<dyn FeatureNetwork> {
    plugin(json!({ "Clip": { "weights": G14, "model": "G14" } }))
}

/// The text tower of OpenCLIP's ViT-g/14.
pub(crate) fn clip_g14_text() -> Plugin<dyn TextEncoder> {
    plugin(json!({ "OpenClipG": { "weights": G14 } }))
}

fn plugin<T: DeserializeOwned>(stated: Value) -> T {
    serde_json::from_value(stated).expect("a binary that links the metrics links the networks")
}

/// Refuses a network that a metric is not defined on: its figure would carry a name that is not its own.
pub(crate) fn check_name(network: &dyn FeatureExtractor, begins: &str) -> Result<(), PluginError> {
    let name = network.name();
    if name.starts_with(begins) {
        return Ok(());
    }
    let problem = format!("expected a network of {begins}, got {name}; Frechet and Kernel take any network");
    Err(PluginError::Field { field: "features", problem })
}
