//! What the networks that stay as they are make of pictures and captions, each computed once where the recipe keeps it.
//!
//! An entry's key is the SHA-256 of the encoder (every one of its values, its line in the recipe, the device and the
//! version of this program) and of what it is given: the picture after cropping and resizing, value by value, or the
//! caption. So an entry of another encoder, of another crop or of another picture is never found.
//!
//! Each sample is encoded by itself, kept or not. In a batch the rounding of one could depend on its neighbours, and a run
//! would then differ from the same run with a cache.

use std::collections::BTreeMap;

use add_files::{Cache, Key};
use add_plugin::{
    Autoencoder, Codec, Conditioning, Latents, Network, Pixels, Plugin, TextEncoder, TextNetwork,
    parameter_count,
};
use add_train::state::State;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::{Recipe, one_line};

/// What one frozen encoder of a run makes of pictures or captions.
pub struct Encodings {
    cache: Cache,
    encoder: Key,
    device: Device,
}

impl Encodings {
    /// The latents of a run of `recipe` by this codec, whose values are read only if there is something to keep.
    pub fn of_codec(
        recipe: &Recipe,
        codec: &Plugin<dyn Codec>,
        network: &dyn Autoencoder,
        device: &Device,
    ) -> Self {
        Self::new(recipe, "latents 1", &one_line(codec), network, device)
    }

    /// The encoded captions of a run of `recipe` by this text encoder; otherwise as [`of_codec`](Self::of_codec).
    pub fn of_text(
        recipe: &Recipe,
        text: &Plugin<dyn TextEncoder>,
        network: &dyn TextNetwork,
        device: &Device,
    ) -> Self {
        Self::new(recipe, "captions 1", &one_line(text), network, device)
    }

    fn new(recipe: &Recipe, kind: &str, line: &str, network: &dyn Network, device: &Device) -> Self {
        let cache = recipe.cache.cache();
        let place = match recipe.kernels {
            usual if usual.are_usual() => format!("{:?}", recipe.device),
            other => format!("{:?} {other:?}", recipe.device),
        };
        let values = if cache.is_off() { String::new() } else { State::digest_of(network) };
        let parts = [kind, env!("CARGO_PKG_VERSION"), &place, line, &values].map(str::as_bytes);
        Self { cache, encoder: Key::of(parts), device: device.clone() }
    }

    /// The latents of a batch of pictures.
    pub fn latents(&self, codec: &dyn Autoencoder, pixels: &Pixels) -> Latents {
        // A codec without values has nothing to compute.
        if parameter_count(codec) == 0 {
            return codec.encode(pixels.clone());
        }
        let each = (0..pixels.0.dims()[0]).map(|i| {
            let picture = pixels.0.clone().narrow(0, i, 1);
            let encode = || codec.encode(Pixels(picture.clone())).0;
            if self.cache.is_off() {
                return encode();
            }
            let given = picture.to_data();
            let key = Key::of([self.encoder.bytes(), &shape_bytes(&picture.dims()), given.as_bytes()]);
            self.kept(&key, encode)
        });
        Latents(Tensor::cat(each.collect(), 0))
    }

    /// A batch of captions, encoded.
    pub fn captions(&self, text: &dyn TextNetwork, captions: &[String]) -> Conditioning {
        let mut encoded = BTreeMap::new();
        for caption in captions {
            encoded.entry(caption).or_insert_with(|| self.caption(text, caption));
        }
        let each: Vec<&Conditioning> = captions.iter().map(|caption| &encoded[caption]).collect();
        Conditioning::join(&each)
    }

    fn caption(&self, text: &dyn TextNetwork, caption: &str) -> Conditioning {
        let encode = || text.encode(&[caption.to_owned()]);
        if self.cache.is_off() {
            return encode();
        }
        let key = |part: &str| Key::of([self.encoder.bytes(), part.as_bytes(), caption.as_bytes()]);
        // All parts come from one pass, which is done once at most.
        let mut all = None;
        let tokens = self.kept(&key("tokens"), || all.get_or_insert_with(encode).tokens.clone());
        let pooled = self.kept(&key("pooled"), || all.get_or_insert_with(encode).pooled.clone());
        let mask = text.gives_mask().then(|| {
            let mask = || all.get_or_insert_with(encode).mask.clone().expect("it says that it gives one");
            self.kept(&key("mask"), mask)
        });
        Conditioning { mask, ..Conditioning::new(tokens, pooled) }
    }

    /// The entry of `key`, or what `make` gives, which is then kept.
    fn kept<const D: usize>(&self, key: &Key, make: impl FnOnce() -> Tensor<D>) -> Tensor<D> {
        if let Some(tensor) = self.cache.get(key, MAX_ENTRY).and_then(|bytes| self.read(&bytes)) {
            return tensor;
        }
        let tensor = make();
        let shape = tensor.dims();
        let values: Vec<f32> = tensor.to_data().iter::<f32>().collect();
        let bytes =
            shape_bytes(&shape).into_iter().chain(values.iter().flat_map(|value| value.to_le_bytes()));
        self.cache.put(key, &bytes.collect::<Vec<u8>>());
        tensor
    }

    /// An entry: `D` sides as u64, then the values as f32, all little-endian.
    fn read<const D: usize>(&self, bytes: &[u8]) -> Option<Tensor<D>> {
        let (sides, values) = bytes.split_at_checked(8 * D)?;
        let sides = sides.as_chunks::<8>().0.iter().map(|side| u64::from_le_bytes(*side) as usize);
        let shape: [usize; D] = sides.collect::<Vec<_>>().try_into().ok()?;
        let (values, rest) = values.as_chunks::<4>();
        let whole = rest.is_empty() && shape.iter().product::<usize>() == values.len();
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        whole.then(|| Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32)))
    }
}

/// Largest entry, in bytes: latents of a picture of 8192 pixels a side are a twelfth of it.
const MAX_ENTRY: u64 = 256 << 20;

fn shape_bytes(shape: &[usize]) -> Vec<u8> {
    shape.iter().flat_map(|&side| (side as u64).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        fs,
        path::{Path, PathBuf},
    };

    use burn::module::{Module, Param};

    use super::*;

    thread_local! {
        static CALLS: Cell<usize> = const { Cell::new(0) };
    }

    /// A codec that scales.
    #[derive(Module, Debug)]
    struct Scale {
        factor: Param<Tensor<1>>,
    }

    impl Scale {
        fn by(factor: f32) -> Self {
            Self { factor: Param::from_tensor(Tensor::from_data([factor], &Device::flex())) }
        }
    }

    impl Autoencoder for Scale {
        fn encode(&self, pixels: Pixels) -> Latents {
            CALLS.set(CALLS.get() + 1);
            Latents(pixels.0 * self.factor.val().reshape([1, 1, 1, 1]))
        }

        fn decode(&self, latents: Latents) -> Pixels {
            Pixels(latents.0)
        }
    }

    /// A text encoder that counts letters.
    #[derive(Module, Debug)]
    struct Letters {
        factor: Param<Tensor<1>>,
    }

    impl TextNetwork for Letters {
        fn encode(&self, captions: &[String]) -> Conditioning {
            CALLS.set(CALLS.get() + 1);
            let counts: Vec<f32> = captions.iter().map(|caption| caption.len() as f32).collect();
            let data = TensorData::new(counts, [captions.len(), 1]);
            let pooled = Tensor::<2>::from_data(data, &Device::flex()) * self.factor.val().reshape([1, 1]);
            Conditioning::new(pooled.clone().reshape([captions.len(), 1, 1]), pooled)
        }

        fn frozen(&self) -> Box<dyn TextNetwork> {
            Box::new(self.clone())
        }
    }

    fn encodings(folder: Option<&Path>, factor: f32) -> ([Encodings; 2], Scale, Letters) {
        let (codec, text) = (Scale::by(factor), Letters { factor: Scale::by(factor).factor });
        let key = |network: &dyn Network| Key::of([State::digest_of(network).as_bytes()]);
        let cache = || folder.map_or_else(Cache::off, Cache::folder);
        let of = |network| Encodings { cache: cache(), encoder: key(network), device: Device::flex() };
        ([of(&codec), of(&text)], codec, text)
    }

    /// Latents of two pictures and the pooled embeddings of three captions, and the calls that they took.
    fn run(folder: Option<&Path>, factor: f32) -> (Vec<f32>, usize) {
        CALLS.set(0);
        let ([of_codec, of_text], codec, text) = encodings(folder, factor);
        let pixels = Tensor::<4>::from_data(
            TensorData::new((0..24).map(|i| i as f32 / 7.0).collect(), [2, 3, 2, 2]),
            &Device::flex(),
        );
        let latents = of_codec.latents(&codec, &Pixels(pixels)).0.to_data();
        let captions = ["an apple", "", "an apple"].map(str::to_owned);
        let encoded = of_text.captions(&text, &captions);
        let parts = [latents, encoded.tokens.to_data(), encoded.pooled.to_data()];
        (parts.iter().flat_map(|data| data.iter::<f32>()).collect(), CALLS.get())
    }

    fn entries(folder: &Path) -> Vec<PathBuf> {
        let found = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("there").path());
        found.flat_map(|path| if path.is_dir() { entries(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn a_cache_changes_no_number_and_saves_every_second_call() {
        let folder = tempfile::tempdir().expect("a folder");
        let (without, calls) = run(None, 1.3);
        assert_eq!(calls, 4, "two pictures and two captions");
        assert_eq!(run(Some(folder.path()), 1.3), (without.clone(), 4));
        assert_eq!(run(Some(folder.path()), 1.3), (without.clone(), 0));
        assert_eq!(without[23..], [23.0 / 7.0 * 1.3, 10.4, 0.0, 10.4, 10.4, 0.0, 10.4]);
    }

    #[test]
    fn another_encoders_entries_are_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        run(Some(folder.path()), 1.3);
        let next = f32::from_bits(1.3_f32.to_bits() + 1);
        assert_eq!(run(Some(folder.path()), next), (run(None, next).0, 4));
    }

    #[test]
    fn a_damaged_entry_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (sound, _) = run(Some(folder.path()), 1.3);
        let before = entries(folder.path());
        assert_eq!(before.len(), 6, "two latents, tokens and pooled of two captions");
        for path in &before {
            let mut bytes = fs::read(path).expect("there");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).expect("written");
        }
        assert_eq!(run(Some(folder.path()), 1.3), (sound.clone(), 4));
        assert_eq!(run(Some(folder.path()), 1.3), (sound, 0));
    }
}
