//! A folder of pictures, one for each prompt of a list, made in blocks: what is there is not made again, and several
//! processes can share the work.
//!
//! A block holds the pictures of neighbouring prompts and is always computed whole, so that a picture does not depend on which
//! of its neighbours were there already or on how many processes there are.

use std::{fs, path::Path};

use add_data::{PictureFormat, decode_rgb, write_picture};
use add_plugin::Autoencoder;
use add_recipe::{Beginning, Recipe, SampleRequest, SampledModel};

use crate::{error::CoreError, made_with::MadeWith};

/// Pictures of one block.
const BLOCK: usize = 16;
/// Largest picture that was written here, in bytes.
const MAX_PICTURE: u64 = 256 << 20;

/// Which pictures of a list are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub index: usize,
    /// Number of shares.
    pub of: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    /// Reads `0/4`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a part and the number of parts, such as 0/4 to 3/4, got {text:?}");
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let (index, of) = (index.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if index < of { Ok(Self { index, of }) } else { Err(wrong()) }
    }
}

/// How the pictures of a list are made.
pub struct Many<'a> {
    /// The recipe whose codec and size are used.
    pub recipe: &'a Recipe,
    /// The model.
    pub model: &'a SampledModel,
    /// Its codec.
    pub codec: &'a dyn Autoencoder,
    /// How they are made: one of each prompt of the list, from index 0.
    pub made: &'a MadeWith,
    /// Their files' kind.
    pub format: PictureFormat,
    /// Which part of the list.
    pub shard: Shard,
}

impl Many<'_> {
    /// Makes the pictures `000000.png` (or of another format), … that are not in `folder` yet, and tells `progress` how many of the part's are there.
    /// Returns how many were made.
    ///
    /// # Errors
    /// When a picture that is there was made from another prompt or seed, or the disk refuses.
    pub fn make(&self, folder: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, CoreError> {
        fs::create_dir_all(folder).map_err(CoreError::io(folder))?;
        let prompts = &self.made.prompts;
        let blocks: Vec<usize> = (0..prompts.len().div_ceil(BLOCK))
            .filter(|block| block % self.shard.of == self.shard.index)
            .collect();
        let range = |block: usize| block * BLOCK..((block + 1) * BLOCK).min(prompts.len());
        let total = blocks.iter().map(|&block| range(block).len()).sum();
        let mut missing = Vec::new();
        for &block in &blocks {
            let open: Vec<usize> = range(block)
                .filter_map(|at| self.is_there(folder, at).map(|there| (!there).then_some(at)).transpose())
                .collect::<Result<_, _>>()?;
            if !open.is_empty() {
                missing.push((block, open));
            }
        }
        let mut made = 0;
        let mut there = total - missing.iter().map(|(_, open)| open.len()).sum::<usize>();
        for (block, open) in missing {
            let range = range(block);
            let request = SampleRequest {
                captions: &prompts[range.clone()],
                negative: &self.made.negative,
                sampler: &*self.recipe.sampling.sampler,
                steps: self.made.steps,
                guidance: self.made.guidance,
                seed: self.made.seed,
                first: range.start as u64,
                size: self.made.size,
                beginning: Beginning::default(),
            };
            let pictures = add_data::pictures(&self.model.generate(self.recipe, self.codec, &request));
            for &at in &open {
                let text = self.made.one(at).texts();
                let text = text.each_ref().map(|(keyword, text)| (*keyword, text.as_str()));
                write_picture(&folder.join(self.file_name(at)), &pictures[at - range.start], &text)
                    .map_err(|error| CoreError::Request(error.to_string()))?;
            }
            made += open.len();
            there += open.len();
            progress(there, total);
        }
        Ok(made)
    }

    /// Whether picture `at` was made already; it must be the same one.
    fn is_there(&self, folder: &Path, at: usize) -> Result<bool, CoreError> {
        let path = folder.join(self.file_name(at));
        if !path.exists() {
            return Ok(false);
        }
        let bytes = add_files::read(&path, MAX_PICTURE).map_err(CoreError::io(&path))?;
        let failed = |problem: String| CoreError::Request(format!("{}: {problem}", path.display()));
        decode_rgb(&bytes).map_err(|error| failed(format!("{error}; delete it to have it made again")))?;
        match MadeWith::of(&path)?.difference(&self.made.one(at)) {
            None => Ok(true),
            Some((what, found, expected)) => Err(failed(format!(
                "it was made with another {what}: expected {expected}, found {found}; choose another folder"
            ))),
        }
    }

    /// The file of picture `at`; names sort as numbers do.
    fn file_name(&self, at: usize) -> String {
        format!("{at:06}.{}", self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_a_part_of_a_number_of_parts() {
        assert_eq!("1/3".parse(), Ok(Shard { index: 1, of: 3 }));
        for wrong in ["3/3", "0/0", "1", "a/2", "-1/2", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
