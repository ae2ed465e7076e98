//! The captions of a request, encoded: each cut to the text encoder's tokens, or as a whole in windows.

use std::collections::BTreeMap;

use add_plugin::{Conditioning, TextNetwork};
use burn::tensor::Device;

use crate::{LongPrompt, SampleRequest};

/// The captions of a request.
pub(crate) struct Prompts<'a> {
    text: &'a dyn TextNetwork,
    /// What guidance leads away from, a batch of one.
    null: Conditioning,
    /// Captions in windows by themselves, a batch of one each; none where they are cut.
    whole: BTreeMap<&'a str, Conditioning>,
}

impl<'a> Prompts<'a> {
    pub(crate) fn new(text: &'a dyn TextNetwork, long: LongPrompt, request: &SampleRequest<'a>) -> Self {
        let mut whole = BTreeMap::new();
        let null = match long {
            LongPrompt::Cut => text.encode(&[request.negative.to_owned()]),
            LongPrompt::Chunks => {
                for caption in request.captions {
                    whole.entry(caption.as_str()).or_insert_with(|| text.encode_windows(caption));
                }
                text.encode_windows(request.negative)
            }
        };
        Self { text, null, whole }
    }

    /// Where the encodings lie.
    pub(crate) fn device(&self) -> Device {
        self.null.tokens.device()
    }

    /// The captions in passes of at most `most`, each with states of one length.
    pub(crate) fn passes<'b>(
        &'b self,
        captions: &'b [String],
        most: usize,
    ) -> impl Iterator<Item = &'b [String]> + 'b {
        let tokens = |caption: &String| self.whole.get(caption.as_str()).map(|whole| whole.tokens.dims()[1]);
        captions.chunk_by(move |a, b| tokens(a) == tokens(b)).flat_map(move |alike| alike.chunks(most))
    }

    /// The captions of a pass as a batch, and what guidance leads away from, with states of the same length.
    pub(crate) fn encoded(&self, captions: &[String]) -> (Conditioning, Conditioning) {
        if self.whole.is_empty() {
            return (self.text.encode(captions), self.null.clone());
        }
        let batch = captions.iter().map(|caption| self.whole[caption.as_str()].clone());
        let batch = batch.reduce(Conditioning::cat).expect("a pass holds a caption");
        batch.alike(self.null.clone())
    }
}
