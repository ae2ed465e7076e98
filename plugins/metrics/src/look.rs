//! How a metric that takes any network looks at pictures through it.

use add_plugin::{FeatureExtractor, FeatureNetwork, Output, Plugin, Preparation, View};
use serde::{Deserialize, Serialize};

use crate::preparation::{AREA, CLIP, InceptionResize, PIL, PIL_SQUARE};

/// Which features, of pictures that were resized in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    /// The means over the positions of each hook; area averaging.
    #[default]
    Hooks,
    /// The embedding, as FID sees it.
    Inception(InceptionResize),
    /// The embedding; PIL's bicubic filter in 8 bits to a square, as dgm-eval sees it.
    Pil,
    /// The embedding; the same of the central square.
    PilSquare,
    /// The embedding; open_clip's transform.
    Clip,
}

impl Look {
    fn parts(self) -> (Preparation, Output) {
        match self {
            Self::Hooks => (AREA, Output::Hooks),
            Self::Inception(resize) => (resize.preparation(), Output::Embedding),
            Self::Pil => (PIL, Output::Embedding),
            Self::PilSquare => (PIL_SQUARE, Output::Embedding),
            Self::Clip => (CLIP, Output::Embedding),
        }
    }

    pub(crate) fn view(self, network: &Plugin<dyn FeatureNetwork>) -> View<'_> {
        let (preparation, output) = self.parts();
        View { network, preparation, output }
    }

    /// What stands behind a figure's name for each set of features, protocol included.
    pub(crate) fn suffixes(self, network: &dyn FeatureExtractor) -> Vec<String> {
        match self.parts() {
            (_, Output::Hooks) => network.hooks().into_iter().map(|(hook, _)| hook).collect(),
            (preparation, Output::Embedding) => vec![format!("{}-{}", network.name(), preparation.name)],
        }
    }
}
