//! What the plugins of vision transformers share: their fields, and the network that follows from them.

use add_nn::vit::VitConfig;

use crate::normalise::Statistics;

/// One trained shape, and how its files are called.
pub(crate) struct Released {
    /// Beginning of the hooks' names.
    pub(crate) name: &'static str,
    /// Its architecture.
    pub(crate) config: VitConfig,
    /// Statistics of the pictures that it was trained on.
    pub(crate) statistics: Statistics,
    /// The file of weights in a folder.
    pub(crate) file: &'static str,
}

pub(crate) fn yes() -> bool {
    true
}

/// A plugin with the fields of every vision transformer, and with `model` where there are several shapes of its family.
/// The plugin states `fn released(&self) -> Released`; one to a module.
macro_rules! vit_plugin {
    (
        $plugin:ident, $doc:literal, source: $source:literal, weights: $weights:literal,
        size: $size:literal = $side:literal
        $(, model: $model:ty)?
    ) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $plugin {
            #[doc = $weights]
            weights: add_weights::Location,
            $(
                /// Its shape.
                #[serde(default)]
                model: $model,
            )?
            /// Which tokens are features.
            #[serde(default)]
            blocks: crate::blocks::Blocks,
            /// Whether the tokens before the first block are features too.
            #[serde(default = "crate::vit::yes")]
            embedded: bool,
            #[doc = $size]
            #[serde(default = "default_size")]
            size: usize,
            /// Whether the layers are computed again in the backward pass: less memory, more time.
            #[serde(default)]
            checkpointing: add_nn::layers::Checkpointing,
        }

        fn default_size() -> usize {
            $side
        }

        add_plugin::inventory::submit!(add_plugin::Entry::feature_network::<$plugin>(stringify!($plugin), $source));

        impl $plugin {
            fn spec(&self) -> crate::transformer::Spec {
                let crate::vit::Released { name, config, statistics, .. } = self.released();
                crate::transformer::Spec {
                    name,
                    config,
                    statistics,
                    blocks: self.blocks.resolve(config.depth),
                    embedded: self.embedded,
                    size: self.size,
                    checkpointing: self.checkpointing,
                }
            }

            fn file(&self) -> add_weights::Location {
                self.weights.named(self.released().file)
            }
        }

        impl add_plugin::FeatureNetwork for $plugin {
            fn weights(&self) -> Vec<String> {
                vec![self.file().to_string()]
            }

            fn init(
                &self,
                device: &burn::tensor::Device,
            ) -> Result<Box<dyn add_plugin::FeatureExtractor>, add_plugin::PluginError> {
                Ok(Box::new(crate::transformer::load(self.spec(), &self.file(), device)?))
            }

            fn is_checkpointed(&self) -> bool {
                self.checkpointing == add_nn::layers::Checkpointing::Blocks
            }

            fn outline(
                &self,
                device: &burn::tensor::Device,
            ) -> Result<Box<dyn add_plugin::FeatureExtractor>, add_plugin::PluginError> {
                Ok(Box::new(crate::transformer::outline(self.spec(), device)?))
            }
        }
    };
}

pub(crate) use vit_plugin;
