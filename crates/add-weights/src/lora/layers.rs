//! The layers of a network under all the names that files of changes use for them.

use std::collections::HashMap;

use crate::source::Source;

/// A network's parameters with their shapes, and its layers by every name.
#[derive(Debug, Default)]
pub struct Layers {
    shapes: HashMap<String, Vec<usize>>,
    /// From a file's name of a layer to the library's.
    known_as: HashMap<String, String>,
}

impl Layers {
    /// The layers of parameters that are given by the library's names, such as `conv_in.weight`.
    pub fn new(parameters: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut layers = Self { shapes: parameters.into_iter().collect(), known_as: HashMap::new() };
        let names: Vec<String> =
            layers.shapes.keys().filter_map(|name| name.strip_suffix(".weight").map(str::to_owned)).collect();
        for name in names {
            // transformers' names with and without what its version 5 leaves out.
            if let Some(short) = name.strip_prefix("text_model.") {
                layers.add(short, &name);
            } else if name.starts_with("encoder.layers.") {
                layers.add(&format!("text_model.{name}"), &name);
            }
            layers.add(&name, &name);
        }
        layers
    }

    /// Known under the names of another naming too.
    #[must_use]
    pub fn also(mut self, source: &dyn Fn(&str) -> Source) -> Self {
        let names: Vec<String> =
            self.shapes.keys().filter(|name| name.ends_with(".weight")).cloned().collect();
        for name in names {
            let Source::Whole(other) = source(&name) else { continue };
            if let (Some(other), Some(own)) = (other.strip_suffix(".weight"), name.strip_suffix(".weight")) {
                self.add(other, own);
            }
        }
        self
    }

    fn add(&mut self, alias: &str, layer: &str) {
        self.known_as.insert(alias.replace('.', "_"), layer.to_owned());
        self.known_as.insert(alias.to_owned(), layer.to_owned());
    }

    /// The library's name of a layer.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.known_as.get(name).map(String::as_str)
    }

    /// The shape of a parameter, of at least one dimension.
    pub(crate) fn shape(&self, parameter: &str) -> Option<&[usize]> {
        self.shapes.get(parameter).map(Vec::as_slice).filter(|shape| !shape.is_empty())
    }
}
