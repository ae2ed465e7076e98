//! Networks that compute in bf16, seen from outside as networks that compute in f32.
//!
//! A network follows the type of its input and of its frozen values, so this is all it takes: inputs are rounded on the way
//! in, outputs are widened on the way out, and the values of a frozen network are rounded once.

use std::collections::BTreeMap;

use add_plugin::{
    Autoencoder, Conditioning, Denoiser, FeatureExtractor, Fill, Latents, Network, Pixels, PluginError,
    TextNetwork, Timesteps,
};
use burn::tensor::{DType, Gradients, Tensor};

use crate::Dtype;

/// A network that computes in bf16.
#[derive(Debug)]
struct InBf16<N: ?Sized>(Box<N>);

impl<N: Network + ?Sized> Clone for InBf16<N> {
    fn clone(&self) -> Self {
        Self(dyn_clone::clone_box(&*self.0))
    }
}

/// A network that stays as it is, with its values in `dtype`.
pub fn held<N: Network + ?Sized>(mut network: Box<N>, dtype: Dtype) -> Box<N> {
    if dtype == Dtype::BF16 {
        network.map_parameters(&mut |_, _, value| narrow(value));
    }
    network
}

/// A denoiser that computes in `dtype`, whatever its values are held in.
pub fn denoiser(network: Box<dyn Denoiser>, dtype: Dtype) -> Box<dyn Denoiser> {
    computing(network, dtype, |network| Box::new(network))
}

/// A frozen denoiser that is held and computes in `dtype`.
pub fn frozen_denoiser(network: Box<dyn Denoiser>, dtype: Dtype) -> Box<dyn Denoiser> {
    denoiser(held(network, dtype), dtype)
}

/// A frozen text encoder that is held and computes in `dtype`.
pub fn frozen_text(network: Box<dyn TextNetwork>, dtype: Dtype) -> Box<dyn TextNetwork> {
    computing(held(network, dtype), dtype, |network| Box::new(network))
}

/// A codec that is held and computes in `dtype`.
pub fn frozen_codec(network: Box<dyn Autoencoder>, dtype: Dtype) -> Box<dyn Autoencoder> {
    computing(held(network, dtype), dtype, |network| Box::new(network))
}

/// A feature network that is held and computes in `dtype`.
pub fn frozen_features(network: Box<dyn FeatureExtractor>, dtype: Dtype) -> Box<dyn FeatureExtractor> {
    computing(held(network, dtype), dtype, |network| Box::new(network))
}

fn computing<N: ?Sized>(network: Box<N>, dtype: Dtype, boxed: impl FnOnce(InBf16<N>) -> Box<N>) -> Box<N> {
    match dtype {
        Dtype::F32 => network,
        Dtype::BF16 => boxed(InBf16(network)),
    }
}

fn narrow<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(DType::BF16)
}

fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(DType::F32)
}

/// The text in bf16; what else is said is of few numbers, whose network decides what they are rounded to.
fn narrow_text(conditioning: &Conditioning) -> Conditioning {
    let text = conditioning.clone();
    Conditioning { tokens: narrow(text.tokens), pooled: narrow(text.pooled), ..text }
}

/// The text in f32.
fn wide_text(text: Conditioning) -> Conditioning {
    Conditioning { tokens: wide(text.tokens), pooled: wide(text.pooled), mask: text.mask.map(wide), ..text }
}

impl<N: Network + ?Sized> Network for InBf16<N> {
    fn for_each_parameter(&self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.0.for_each_parameter(f);
    }

    fn for_each_shape(&self, f: &mut dyn FnMut(&str, &[usize])) {
        self.0.for_each_shape(f);
    }

    fn map_parameters(&mut self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        self.0.map_parameters(f);
    }

    fn set_parameters(&mut self, f: &mut Fill<'_>) {
        self.0.set_parameters(f);
    }

    fn take_gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
        self.0.take_gradients(gradients)
    }
}

impl Denoiser for InBf16<dyn Denoiser> {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        wide(self.0.predict(narrow(x_t), t, &narrow_text(conditioning)))
    }

    fn takes_guidance(&self) -> bool {
        self.0.takes_guidance()
    }

    fn features(
        &self,
        x_t: Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
        blocks: &[String],
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        let states = self.0.features(narrow(x_t), t, &narrow_text(conditioning), blocks)?;
        Ok(states.into_iter().map(wide).collect())
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(Self(self.0.frozen()))
    }
}

impl TextNetwork for InBf16<dyn TextNetwork> {
    fn encode(&self, captions: &[String]) -> Conditioning {
        wide_text(self.0.encode(captions))
    }

    fn gives_mask(&self) -> bool {
        self.0.gives_mask()
    }

    fn encode_windows(&self, caption: &str) -> Conditioning {
        wide_text(self.0.encode_windows(caption))
    }

    fn left_out(&self, caption: &str) -> Option<String> {
        self.0.left_out(caption)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        Box::new(Self(self.0.frozen()))
    }
}

impl Autoencoder for InBf16<dyn Autoencoder> {
    fn encode(&self, pixels: Pixels) -> Latents {
        Latents(wide(self.0.encode(Pixels(narrow(pixels.0))).0))
    }

    fn decode(&self, latents: Latents) -> Pixels {
        Pixels(wide(self.0.decode(Latents(narrow(latents.0))).0))
    }
}

impl FeatureExtractor for InBf16<dyn FeatureExtractor> {
    fn hooks(&self) -> Vec<(String, usize)> {
        self.0.hooks()
    }

    fn classes(&self) -> Vec<(&'static str, Vec<String>)> {
        self.0.classes()
    }

    fn input_size(&self) -> usize {
        self.0.input_size()
    }

    fn embedding_width(&self) -> usize {
        self.0.embedding_width()
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        self.0.features(Pixels(narrow(pixels.0))).into_iter().map(wide).collect()
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        wide(self.0.embedding(Pixels(narrow(pixels.0))))
    }
}
