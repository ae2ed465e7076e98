//! What the released text encoders share: 77 tokens of CLIP's vocabulary, and a file of weights.

use add_nn::{
    clip_text::{ClipText, ClipTextConfig, ClipTextOutput},
    layers::Init,
};
use add_plugin::{Component, Content, PluginError, ReleasedPipeline, SingleFile, TextInfo, fields};
use add_weights::{
    Location,
    names::found::{TextTower, clip_text},
};
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};

use serde_json::json;

use crate::clip_bpe::{ClipBpe, END, tokenizer_files};

/// Tokens of every caption, with start, end and padding.
pub(crate) const TOKENS: usize = 77;
/// The file of transformers' folders.
const FILE: &str = "model.safetensors";
/// The file of open_clip's folders.
pub(crate) const OPEN_CLIP_FILE: &str = "open_clip_model.safetensors";

/// What fills the rest of a caption; the encoder sees it, so it belongs to the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// The end token, as OpenAI's weights were trained.
    End,
    /// Id 0, an exclamation mark, as transformers tokenizes for OpenCLIP's weights: every `!` of the text is then that token.
    Zero,
    /// Id 0, as open_clip itself tokenizes: a `!` of the text is a word like others.
    ZeroOfOpenClip,
}

/// A text encoder of CLIP on a device, constant.
#[derive(Module, Debug)]
pub(crate) struct Tower {
    network: ClipText,
    #[module(skip)]
    padding: Padding,
    #[module(skip)]
    layers: usize,
    #[module(skip)]
    device: Device,
}

impl Tower {
    /// Without its weights. On the plain device, since nothing trains it.
    pub(crate) fn outline(
        config: &ClipTextConfig,
        padding: Padding,
        device: &Device,
    ) -> Result<Self, PluginError> {
        let device = device.clone().without_autodiff();
        let network = ClipText::new(config, &Init::new(0, &device))
            .map_err(|problem| PluginError::Mismatch(format!("the text encoder: {problem}")))?;
        Ok(Self { network, padding, layers: config.num_hidden_layers, device })
    }

    /// With the weights of a file. Layers that the file has beyond this encoder's are passed over.
    pub(crate) fn load(self, weights: &Location, tower: TextTower) -> Result<Self, PluginError> {
        let read = || {
            let file = weights.open()?;
            clip_text(&file, tower)?.first_layers(self.layers).load(self.network, &file)
        };
        let network = read().map_err(|error| PluginError::Weights(error.to_string()))?;
        Ok(Self { network, ..self })
    }

    pub(crate) fn forward(&self, captions: &[String]) -> ClipTextOutput {
        let tokenizer = ClipBpe::shared();
        self.output(captions.iter().map(|caption| tokenizer.padded(caption, TOKENS, self.pad())).collect())
    }

    /// The windows of one caption as a batch, filled up to `at_least` with those of the empty caption.
    pub(crate) fn forward_windows(&self, caption: &str, at_least: usize) -> ClipTextOutput {
        let tokenizer = ClipBpe::shared();
        let mut windows = tokenizer.windows(caption, TOKENS, self.pad());
        let empty = tokenizer.padded("", TOKENS, self.pad());
        windows.resize(windows.len().max(at_least), empty);
        self.output(windows)
    }

    /// How many windows a caption takes.
    pub(crate) fn windows(&self, caption: &str) -> usize {
        ClipBpe::shared().windows(caption, TOKENS, self.pad()).len()
    }

    /// The words of a caption beyond its first window.
    pub(crate) fn left_out(&self, caption: &str) -> Option<String> {
        ClipBpe::shared().left_out(caption, TOKENS, self.pad())
    }

    /// The id that fills the rest of a caption.
    fn pad(&self) -> u32 {
        match self.padding {
            // The zeros of open_clip stand behind the end, once it is found.
            Padding::End | Padding::ZeroOfOpenClip => END,
            Padding::Zero => 0,
        }
    }

    fn output(&self, mut rows: Vec<Vec<u32>>) -> ClipTextOutput {
        if self.padding == Padding::ZeroOfOpenClip {
            for ids in &mut rows {
                zero_behind_end(ids);
            }
        }
        let shape = [rows.len(), TOKENS];
        let ids: Vec<i64> = rows.into_iter().flatten().map(i64::from).collect();
        self.network.forward(Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &self.device))
    }
}

/// Everything behind the first end token as 0.
fn zero_behind_end(ids: &mut [u32]) {
    let behind = ids.iter().position(|&id| id == END).map_or(ids.len(), |end| end + 1);
    ids[behind..].fill(0);
}

/// The file that a location means: itself, or transformers' file in the folder.
pub(crate) fn file(weights: &Location) -> Location {
    weights.named(FILE)
}

/// diffusers' pipeline of the Stable Diffusion models with one text encoder, the field `tower` of its network. The parts
/// that look at finished pictures are left out.
pub(crate) fn pipeline(
    config: &ClipTextConfig,
    padding: Padding,
    single_file: SingleFile,
) -> ReleasedPipeline {
    let folders = ["text_encoder", "tokenizer"];
    ReleasedPipeline {
        class: "StableDiffusionPipeline",
        index: fields(json!({
            "safety_checker": [null, null],
            "feature_extractor": [null, null],
            "requires_safety_checker": false,
        })),
        components: components(config, padding, folders, "tower.network.").into(),
        single_file,
    }
}

/// What transformers calls the tower in the field that `prefix` names, and its tokenizer; `folders` are theirs.
pub(crate) fn components(
    config: &ClipTextConfig,
    padding: Padding,
    folders: [&'static str; 2],
    prefix: &'static str,
) -> [Component; 2] {
    let mut fields = fields(json!(config));
    fields.insert("model_type".to_owned(), "clip_text_model".into());
    let class = if config.has_projection() { "CLIPTextModelWithProjection" } else { "CLIPTextModel" };
    let pad = match padding {
        Padding::End => "<|endoftext|>",
        Padding::Zero | Padding::ZeroOfOpenClip => "!",
    };
    let library = "transformers";
    [
        Component {
            folder: folders[0],
            library,
            class,
            content: Content::Network { config: fields, prefix },
        },
        Component {
            folder: folders[1],
            library,
            class: "CLIPTokenizer",
            content: Content::Files(tokenizer_files(pad, TOKENS)),
        },
    ]
}

/// 77 states of `width`, and a pooled embedding.
pub(crate) fn info(width: usize, pooled: usize) -> TextInfo {
    TextInfo { tokens: TOKENS, width, pooled }
}
