//! What plugins are called by diffusers and transformers, so that a model can leave this project for them.

use serde_json::{Map, Value};

/// Fields of a JSON object.
pub type Fields = Map<String, Value>;

/// One folder of a released pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// The folder's name, such as `text_encoder`.
    pub folder: &'static str,
    /// The library that reads it: `diffusers` or `transformers`.
    pub library: &'static str,
    /// The library's class.
    pub class: &'static str,
    /// What is in it.
    pub content: Content,
}

/// What a folder of a pipeline holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Weights and their `config.json`.
    Network {
        /// The fields of `config.json`.
        config: Fields,
        /// What our names of its parameters begin with; behind it they are the library's.
        prefix: &'static str,
    },
    /// Files by name.
    Files(Vec<(&'static str, String)>),
}

/// The pipeline that a text encoder belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleasedPipeline {
    /// diffusers' class.
    pub class: &'static str,
    /// Further fields of `model_index.json`.
    pub index: Fields,
    /// The text encoders and their tokenizers.
    pub components: Vec<Component>,
    /// The layout of its single file.
    pub single_file: SingleFile,
}

/// The layouts of Stable Diffusion's single files, which differ in the text encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleFile {
    /// OpenAI's CLIP under transformers' names.
    Sd1,
    /// OpenCLIP under its own names.
    Sd2,
    /// Both encoders, each under its own names.
    Sdxl,
}

/// A released model that has its networks in one place: the folder of a pipeline, or a single file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release<'a> {
    /// A path, or a place on a hub.
    pub place: &'a str,
    /// Whether it is a file that holds them all.
    pub is_file: bool,
}

impl Release<'_> {
    /// Where the network of the folder `part` is.
    pub fn part(&self, part: &str) -> String {
        if self.is_file {
            self.place.to_owned()
        } else {
            format!("{}/{part}", self.place.trim_end_matches('/'))
        }
    }
}

/// A scheduler of diffusers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduler {
    /// Its class.
    pub class: &'static str,
    /// The fields of `scheduler_config.json` that belong to the sampler.
    pub config: Fields,
}

/// The fields of a JSON object that is written out; empty for anything else.
pub fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}
