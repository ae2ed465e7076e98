//! CLIP's byte-pair encoding: text to token ids.
//!
//! Lower-cased words are split into bytes, the last of a word marked with `</w>`, and merged pair by pair in the
//! order of `assets/clip_merges.txt.gz` (by the `tokenizers` crate). Ids: 256 bytes, the same 256 as ends of words,
//! the 48,894 merged tokens, [`START`], [`END`].

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{LazyLock, OnceLock},
};

use add_plugin::fields;
use serde_json::json;
use tokenizers::{
    AddedToken, SplitDelimiterBehavior, Tokenizer,
    models::bpe::BPE,
    normalizers::{self, Lowercase, NFC, Replace, replace::ReplacePattern},
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use crate::clean::clean;

/// Id in front of every text.
pub const START: u32 = 49_406;
/// Id at the end of every text; the largest one.
pub const END: u32 = 49_407;
/// Id of `!` where a word goes on after it.
const EXCLAMATION: u32 = 0;

/// What counts as a word: CLIP's pattern.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The embedded table: a version, then a pair in each line.
fn table() -> &'static str {
    static TABLE: LazyLock<String> = LazyLock::new(|| {
        let bytes = add_files::unpack(include_bytes!("../assets/clip_merges.txt.gz"));
        bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).expect("the embedded table is whole")
    });
    &TABLE
}

/// The pairs in the order of their merging.
fn merges() -> Vec<(String, String)> {
    let pairs = table().lines().skip(1).filter_map(|line| line.split_once(' '));
    pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// Every token by its id.
fn vocabulary(merges: &[(String, String)]) -> Vec<String> {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let tokens = bytes.iter().map(char::to_string);
    let ends = bytes.iter().map(|byte| format!("{byte}</w>"));
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    tokens.chain(ends).chain(merged).chain(["<|startoftext|>", "<|endoftext|>"].map(str::to_owned)).collect()
}

/// The files of transformers' `CLIPTokenizer` that pads with `pad` to `tokens`.
pub(crate) fn tokenizer_files(pad: &str, tokens: usize) -> Vec<(&'static str, String)> {
    let ids: BTreeMap<String, usize> = vocabulary(&merges()).into_iter().zip(0..).collect();
    let (start, end) = ("<|startoftext|>", "<|endoftext|>");
    let special = json!({ "bos_token": start, "eos_token": end, "unk_token": end, "pad_token": pad });
    let mut config = fields(special.clone());
    config.extend(fields(json!({
        "add_prefix_space": false,
        "do_lower_case": true,
        "errors": "replace",
        "model_max_length": tokens,
        "tokenizer_class": "CLIPTokenizer",
    })));
    vec![
        ("vocab.json", json!(ids).to_string()),
        ("merges.txt", table().to_owned()),
        ("special_tokens_map.json", format!("{special:#}")),
        ("tokenizer_config.json", format!("{:#}", json!(config))),
    ]
}

/// The tokenizer of CLIP and of all that took over its vocabulary.
pub struct ClipBpe(Tokenizer);

impl ClipBpe {
    /// The one instance of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ClipBpe> = OnceLock::new();
        SHARED.get_or_init(|| Self::new().expect("the embedded merges are whole"))
    }

    fn new() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let merges = merges();
        let vocabulary = vocabulary(&merges).into_iter().zip(0..).collect();
        let mut bpe = BPE::new(vocabulary, merges);
        bpe.end_of_word_suffix = Some("</w>".to_owned());
        bpe.unk_token = Some("<|endoftext|>".to_owned());

        let mut tokenizer = Tokenizer::new(bpe);
        let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
        let normalizer = normalizers::Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()]);
        let words = Split::new(SplitPattern::Regex(WORD.to_owned()), SplitDelimiterBehavior::Removed, true)?;
        let bytes = ByteLevel::new(false, true, false);
        tokenizer
            .with_normalizer(Some(normalizer))
            .with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
        tokenizer.add_special_tokens(&[
            AddedToken::from("<|startoftext|>", true),
            AddedToken::from("<|endoftext|>", true),
        ]);
        Ok(Self(tokenizer))
    }

    /// The ids of a text, without start and end.
    pub fn ids(&self, text: &str) -> Vec<u32> {
        let encoding = self.0.encode_fast(clean(text), false);
        // The model knows every byte, so there is no text that it cannot encode.
        encoding.expect("bytes are tokens").get_ids().to_vec()
    }

    /// The id of a token as the vocabulary spells it: bytes by their printable stand-ins, `</w>` at the end of a word.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    /// `length` ids: start, as much of the text as fits, end, then `pad` (SD1.5 pads with [`END`], SD2.1 and SDXL's
    /// second encoder with 0, which is `!`).
    ///
    /// As in transformers, the token that pads is special: where it is `!`, each `!` of the text is that token, and
    /// not the end of a word or part of `!!!`.
    pub fn padded(&self, text: &str, length: usize, pad: u32) -> Vec<u32> {
        self.windows(text, length, pad).swap_remove(0)
    }

    /// The whole text in windows as [`padded`](Self::padded) has them, at least one. They are cut after so many tokens, in
    /// the middle of a word too, as ComfyUI does.
    pub fn windows(&self, text: &str, length: usize, pad: u32) -> Vec<Vec<u32>> {
        let ids = self.special(text, pad);
        let window = |ids: &[u32]| {
            let mut window = vec![START];
            window.extend(ids);
            window.push(END);
            window.resize(length, pad);
            window
        };
        if ids.is_empty() {
            return vec![window(&[])];
        }
        ids.chunks(length.saturating_sub(2).max(1)).map(window).collect()
    }

    /// The end of a text that is not in its first window of `length` tokens, from the first word of which a part is missing.
    pub fn left_out(&self, text: &str, length: usize, pad: u32) -> Option<String> {
        let most = length.saturating_sub(2);
        if self.special(text, pad).len() <= most {
            return None;
        }
        // By the words of the text as it was written: the fewest that do not fit any more.
        let words: Vec<usize> = word_starts(text).collect();
        let fit = words
            .partition_point(|&start| self.special(&text[..end_of_word(text, start)], pad).len() <= most);
        words.get(fit).map(|&start| text[start..].trim_end().to_owned())
    }

    /// The ids of a text in which the token that pads is special.
    fn special(&self, text: &str, pad: u32) -> Vec<u32> {
        if pad == EXCLAMATION {
            let parts: Vec<Vec<u32>> = text.split('!').map(|part| self.ids(part)).collect();
            parts.join(&EXCLAMATION)
        } else {
            self.ids(text)
        }
    }
}

/// Where the words of a text begin.
fn word_starts(text: &str) -> impl Iterator<Item = usize> {
    let mut before = ' ';
    text.char_indices().filter_map(move |(at, c)| {
        let begins = before.is_whitespace() && !c.is_whitespace();
        before = c;
        begins.then_some(at)
    })
}

/// Where the word that begins at `start` ends.
fn end_of_word(text: &str, start: usize) -> usize {
    text[start..].find(char::is_whitespace).map_or(text.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_and_cutting_keeps_the_end() {
        let tokenizer = ClipBpe::shared();
        assert_eq!(tokenizer.padded("a photo of a cat", 8, 0), [START, 320, 1125, 539, 320, 2368, END, 0]);
        assert_eq!(tokenizer.padded("a photo of a cat", 4, 0), [START, 320, 1125, END]);
        assert_eq!(tokenizer.padded("", 4, END), [START, END, END, END]);
    }

    #[test]
    fn what_pads_is_special_in_the_text_too() {
        let tokenizer = ClipBpe::shared();
        assert_eq!(tokenizer.padded("cat!!!", 7, END), [START, 2368, 995, END, END, END, END]);
        assert_eq!(tokenizer.padded("cat!!!", 7, 0), [START, 2368, 0, 0, 0, END, 0]);
        assert_eq!(
            (tokenizer.id("!"), tokenizer.id("cat</w>"), tokenizer.id("no token")),
            (Some(0), Some(2368), None)
        );
    }

    #[test]
    fn windows_hold_the_whole_text() {
        let tokenizer = ClipBpe::shared();
        let windows = tokenizer.windows("a photo of a cat", 5, 0);
        assert_eq!(windows, [[START, 320, 1125, 539, END], [START, 320, 2368, END, 0]]);
        assert_eq!(tokenizer.windows("", 4, END), [[START, END, END, END]]);
        assert_eq!(tokenizer.windows("cat cat", 4, 0).len(), 1, "just full");
    }

    #[test]
    fn words_that_do_not_fit_are_told() {
        let tokenizer = ClipBpe::shared();
        let left_out = |text: &str, length| tokenizer.left_out(text, length, END);
        assert_eq!(left_out("a photo of  a\ncat ", 7), None);
        assert_eq!(left_out("a photo of  a\ncat ", 6).as_deref(), Some("cat"));
        assert_eq!(left_out("a photo of  a\ncat ", 4).as_deref(), Some("of  a\ncat"));
        // A word of several tokens is missing as soon as one of them is.
        assert!(tokenizer.ids("incomprehensibilities").len() > 2);
        assert_eq!(left_out("cat incomprehensibilities", 5).as_deref(), Some("incomprehensibilities"));
        assert_eq!(tokenizer.left_out("cat!!! dog", 7, EXCLAMATION).as_deref(), None);
        assert_eq!(tokenizer.left_out("cat!!! dog", 6, EXCLAMATION).as_deref(), Some("dog"));
    }
}
