//! One split of a folder of pictures, opened.

use std::sync::Arc;

use add_plugin::{Dataset, Draw, PluginError, Sample};
use add_store::{Store, StoreError};
use icu_normalizer::DecomposingNormalizerBorrowed;
use tracing::warn;

use crate::{
    captions::{MAX_CAPTIONS, lines},
    sample::{MAX_PICTURE, Trouble, fingerprint, sample},
    sidecars::composed,
};

/// A picture of the folder.
pub(crate) struct Picture {
    pub(crate) name: String,
    pub(crate) captions: Found,
}

/// Where a picture's captions were found.
pub(crate) enum Found {
    /// In this file, which is read when they are wanted.
    Beside(String),
    /// In the list: these, or why there are none.
    Listed(Result<Vec<String>, String>),
    /// In no file, in words.
    Nowhere(Arc<str>),
}

/// The pictures of one split.
pub(crate) struct FolderSplit {
    pub(crate) store: Arc<Store>,
    pub(crate) pictures: Vec<Picture>,
    /// For each sample the number of its picture; each once where there is none.
    pub(crate) order: Option<Vec<u32>>,
    pub(crate) size: usize,
}

impl FolderSplit {
    fn picture(&self, index: usize) -> Option<&Picture> {
        match &self.order {
            Some(order) => self.pictures.get(*order.get(index)? as usize),
            None => self.pictures.get(index),
        }
    }

    fn captions(&self, picture: &Picture) -> Result<Vec<String>, Trouble> {
        match &picture.captions {
            Found::Listed(captions) => Ok(captions.clone()?),
            Found::Nowhere(problem) => Err(Trouble::Bad(problem.to_string())),
            Found::Beside(name) => match self.store.read(name, MAX_CAPTIONS).map_err(Trouble::from) {
                Ok(bytes) => Ok(lines(bytes)?),
                Err(Trouble::Bad(problem)) => Err(Trouble::Bad(format!("its captions: {problem}"))),
                Err(trouble) => Err(trouble),
            },
        }
    }

    fn sample(&self, picture: &Picture, draw: &Draw) -> Result<Sample, Trouble> {
        let captions = self.captions(picture)?;
        Ok(sample(&self.bytes(&picture.name)?, &captions, self.size, draw)?)
    }

    /// A picture's bytes. A list may spell a name as another system does.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let missing = match self.store.read(name, MAX_PICTURE) {
            Err(missing @ StoreError::Missing { .. }) => missing,
            other => return other,
        };
        let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(name).into_owned();
        for spelling in [composed(name).into_owned(), decomposed, name.replace('\\', "/")] {
            if spelling != name {
                match self.store.read(&spelling, MAX_PICTURE) {
                    Err(StoreError::Missing { .. } | StoreError::Place { .. }) => {}
                    other => return other,
                }
            }
        }
        Err(missing)
    }
}

impl Dataset for FolderSplit {
    fn len(&self) -> usize {
        self.order.as_ref().map_or(self.pictures.len(), Vec::len)
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let Some(picture) = self.picture(index) else {
            let problem = format!("there are only {}", self.len());
            return Err(Trouble::Bad(problem).of(index, self.store.name("")));
        };
        self.sample(picture, draw).map_err(|trouble| trouble.of(index, &picture.name))
    }

    /// The first caption; empty for a picture without one, which `get` refuses.
    fn caption(&self, index: usize) -> String {
        let Some(picture) = self.picture(index) else { return String::new() };
        match self.captions(picture) {
            Ok(mut captions) => captions.swap_remove(0),
            Err(trouble) => {
                warn!("{}", trouble.of(index, &picture.name));
                String::new()
            }
        }
    }

    /// Names and, on this machine, lengths of the files; captions as far as they are in a list.
    fn fingerprint(&self) -> String {
        let length = |name: &str| {
            let stat = (!self.store.place().is_remote()).then(|| self.store.stat(name).ok()).flatten();
            stat.map(|stat| stat.length)
        };
        let repeats = self.order.as_ref().map_or(0, Vec::len);
        let parts = self.pictures.iter().map(|picture| {
            let captions = match &picture.captions {
                Found::Beside(name) => format!("{name} {:?}", length(name)),
                Found::Listed(captions) => format!("{captions:?}"),
                Found::Nowhere(_) => String::new(),
            };
            format!("{} {:?} {captions}", picture.name, length(&picture.name))
        });
        fingerprint(parts.chain([repeats.to_string()]))
    }
}
