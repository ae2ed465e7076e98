//! What a denoiser is told about the picture that it should make.

use std::ops::Range;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What a denoiser is told about a batch of `B` pictures. What it has no use for it does not read.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Token states `[B, N, C]`.
    pub tokens: Tensor<3>,
    /// Pooled embedding `[B, P]`; it also conditions the discriminator (`c_text`).
    pub pooled: Tensor<2>,
    /// `[B, N]`: 1 where a token counts, 0 where it is padding that must not be attended to; at least one token of each
    /// sample counts. Without a mask all of them do.
    pub mask: Option<Tensor<2>>,
    /// Guidance scale of each sample, for denoisers that are told it instead of being asked twice
    /// ([`Denoiser::takes_guidance`](crate::Denoiser::takes_guidance)). 1 is no guidance.
    pub guidance: Option<Vec<f64>>,
    /// Sizes of each sample, for denoisers that are told them ([`Backbone::sizes`](crate::Backbone::sizes)).
    pub sizes: Option<Vec<PictureSizes>>,
}

/// Sizes of one picture in pixels, height before width. Podell et al. 2023 (SDXL), section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSizes {
    /// Before it was scaled for training.
    pub original: [usize; 2],
    /// What was cut off at the top and at the left.
    pub crop: [usize; 2],
    /// As the network makes it.
    pub target: [usize; 2],
}

/// What a model is told of its pictures' sizes, as a recipe states it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SizeConditioning {
    /// Height and width of the original in pixels; `None` for those of the picture that is made.
    pub original: Option<[usize; 2]>,
    /// Pixels that are cut off at the top and at the left.
    pub crop: [usize; 2],
}

impl SizeConditioning {
    /// The sizes of a picture of `target` height and width.
    pub fn at(&self, target: [usize; 2]) -> PictureSizes {
        PictureSizes { original: self.original.unwrap_or(target), crop: self.crop, target }
    }
}

impl Conditioning {
    /// A text alone.
    pub fn new(tokens: Tensor<3>, pooled: Tensor<2>) -> Self {
        Self { tokens, pooled, mask: None, guidance: None, sizes: None }
    }

    /// The same with one guidance scale for each sample.
    #[must_use]
    pub fn with_guidance(self, scales: &[f64]) -> Self {
        Self { guidance: Some(scales.to_vec()), ..self }
    }

    /// The same with the sizes of each sample.
    #[must_use]
    pub fn with_sizes(self, sizes: Vec<PictureSizes>) -> Self {
        Self { sizes: Some(sizes), ..self }
    }

    /// This batch followed by `other`. Where one of the two has no mask or no guidance scale, all of its tokens count
    /// and its scale is 1.
    ///
    /// # Panics
    /// Panics when one has sizes and the other has none.
    #[must_use]
    pub fn cat(self, other: Self) -> Self {
        Self::join(&[&self, &other])
    }

    /// Several batches, one behind the other, as [`cat`](Self::cat) joins two.
    ///
    /// # Panics
    /// Panics without a batch, or when some have sizes and others have none.
    #[must_use]
    pub fn join(all: &[&Self]) -> Self {
        let mask = |c: &&Self| {
            let [batch, tokens, _] = c.tokens.dims();
            c.mask
                .clone()
                .unwrap_or_else(|| Tensor::ones([batch, tokens], (&c.tokens.device(), c.tokens.dtype())))
        };
        let scales = |c: &&Self| c.guidance.clone().unwrap_or_else(|| vec![1.0; c.batch()]);
        let sizes = |c: &&Self| c.sizes.clone().expect("all parts of a batch have sizes, or none has");
        let masked = all.iter().any(|c| c.mask.is_some());
        let guided = all.iter().any(|c| c.guidance.is_some());
        let sized = all.iter().any(|c| c.sizes.is_some());
        Self {
            tokens: Tensor::cat(all.iter().map(|c| c.tokens.clone()).collect(), 0),
            pooled: Tensor::cat(all.iter().map(|c| c.pooled.clone()).collect(), 0),
            mask: masked.then(|| Tensor::cat(all.iter().map(mask).collect(), 0)),
            guidance: guided.then(|| all.iter().flat_map(scales).collect()),
            sizes: sized.then(|| all.iter().flat_map(sizes).collect()),
        }
    }

    /// Windows `[W, N, C]` of one caption as the caption `[1, W * N, C]`; all else is the first one's.
    #[must_use]
    pub fn joined(self) -> Self {
        let [windows, tokens, width] = self.tokens.dims();
        let mask = self.mask.clone().map(|mask| mask.reshape([1, windows * tokens]));
        let first = self.slice(0..1);
        Self { tokens: self.tokens.reshape([1, windows * tokens, width]), mask, ..first }
    }

    /// The token states so many times one after the other. Attention over them gives what it gives over one copy, so that
    /// captions of different lengths fit together.
    #[must_use]
    pub fn again(self, times: usize) -> Self {
        let mask = self.mask.map(|mask| mask.repeat_dim(1, times));
        Self { tokens: self.tokens.repeat_dim(1, times), mask, ..self }
    }

    /// Both with as many token states, each repeated up to the common multiple of their numbers. As in ComfyUI: states that
    /// come several times get the attention that they get once.
    #[must_use]
    pub fn alike(self, other: Self) -> (Self, Self) {
        let (a, b) = (self.tokens.dims()[1], other.tokens.dims()[1]);
        let both = a / greatest_common_divisor(a, b) * b;
        (self.again(both / a), other.again(both / b))
    }

    /// A point between two batches of the same size: `(1 - share) self + share other`, with share 0 to 1. A token counts where
    /// it counts in either; guidance and sizes are those of `self`.
    #[must_use]
    pub fn mix(self, other: Self, share: f64) -> Self {
        let (this, other) = self.alike(other);
        let mask = match (&this.mask, &other.mask) {
            (Some(a), Some(b)) => Some(a.clone().max_pair(b.clone())),
            _ => None,
        };
        Self {
            tokens: this.tokens.clone().mul_scalar(1.0 - share) + other.tokens.mul_scalar(share),
            pooled: this.pooled.clone().mul_scalar(1.0 - share) + other.pooled.mul_scalar(share),
            mask,
            ..this
        }
    }

    /// A batch of one, `batch` times.
    #[must_use]
    pub fn repeat(&self, batch: usize) -> Self {
        Self {
            tokens: self.tokens.clone().repeat_dim(0, batch),
            pooled: self.pooled.clone().repeat_dim(0, batch),
            mask: self.mask.clone().map(|mask| mask.repeat_dim(0, batch)),
            guidance: self.guidance.as_ref().map(|scales| scales.repeat(batch)),
            sizes: self.sizes.as_ref().map(|sizes| sizes.repeat(batch)),
        }
    }

    /// Samples `range` of the batch.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            tokens: self.tokens.clone().slice([range.clone()]),
            pooled: self.pooled.clone().slice([range.clone()]),
            mask: self.mask.clone().map(|mask| mask.slice([range.clone()])),
            guidance: self.guidance.as_ref().map(|scales| scales[range.clone()].to_vec()),
            sizes: self.sizes.as_ref().map(|sizes| sizes[range].to_vec()),
        }
    }

    /// Samples `rows` of the batch, of which there is at least one.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let each: Vec<Self> = rows.iter().map(|&i| self.slice(i..i + 1)).collect();
        Self::join(&each.iter().collect::<Vec<_>>())
    }

    /// Samples in the batch.
    pub fn batch(&self) -> usize {
        self.tokens.dims()[0]
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn text(batch: usize, value: f32) -> Conditioning {
        let device = Device::flex();
        Conditioning::new(
            Tensor::full([batch, 2, 3], value, &device),
            Tensor::full([batch, 4], value, &device),
        )
    }

    fn numbers<const D: usize>(x: &Tensor<D>) -> Vec<f32> {
        x.to_data().try_to_vec().expect("f32")
    }

    #[test]
    fn what_is_not_said_of_one_half_is_filled_in() {
        let mask = Tensor::from_floats([[1.0, 0.0]], &Device::flex());
        let left = Conditioning { mask: Some(mask), ..text(1, 1.0).with_guidance(&[7.5]) };
        let both = left.cat(text(1, 2.0));
        assert_eq!(numbers(&both.mask.clone().unwrap()), [1.0, 0.0, 1.0, 1.0]);
        assert_eq!(both.guidance.as_deref(), Some(&[7.5, 1.0][..]));
        assert!(both.sizes.is_none());
    }

    #[test]
    fn every_part_follows_when_samples_are_picked() {
        let sizes = |side| SizeConditioning::default().at([side, side]);
        let all = Conditioning {
            mask: Some(Tensor::from_floats([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], &Device::flex())),
            ..text(3, 1.0).with_guidance(&[1.0, 2.0, 3.0]).with_sizes([8, 16, 32].map(sizes).to_vec())
        };
        let picked = all.select(&[2, 0]);
        assert_eq!(numbers(&picked.mask.unwrap()), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(picked.guidance.as_deref(), Some(&[3.0, 1.0][..]));
        assert_eq!(picked.sizes, Some(vec![sizes(32), sizes(8)]));
        let one = all.slice(1..2).repeat(2);
        assert_eq!((one.batch(), one.guidance), (2, Some(vec![2.0, 2.0])));
    }

    #[test]
    fn windows_lie_one_after_the_other_with_their_masks() {
        let mask = Tensor::from_floats([[1.0, 1.0], [1.0, 0.0]], &Device::flex());
        let windows = Conditioning { mask: Some(mask), ..text(1, 1.0).cat(text(1, 2.0)) };
        let whole = windows.joined().again(2);
        assert_eq!((whole.tokens.dims(), whole.pooled.dims()), ([1, 8, 3], [1, 4]));
        let first_of_each: Vec<f32> = numbers(&whole.tokens).into_iter().step_by(3).collect();
        assert_eq!(first_of_each, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(numbers(&whole.pooled), [1.0; 4], "that of the first window");
        assert_eq!(numbers(&whole.mask.expect("masked")), [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn lengths_meet_at_their_common_multiple() {
        let both = |a: usize, b: usize| a / greatest_common_divisor(a, b) * b;
        assert_eq!((both(77, 77), both(154, 77), both(154, 231)), (77, 154, 462));
    }

    #[test]
    fn a_mix_lies_between_two_texts_and_ends_in_each() {
        let long = text(1, 5.0).cat(text(1, 7.0)).joined();
        let mixed = text(1, 1.0).mix(long.clone(), 0.25);
        assert_eq!(numbers(&mixed.tokens)[..6], [2.0; 6]);
        assert_eq!(numbers(&mixed.tokens)[6..], [2.5; 6]);
        assert_eq!(numbers(&mixed.pooled), [2.0; 4]);
        assert_eq!(numbers(&text(1, 1.0).mix(long.clone(), 0.0).pooled), [1.0; 4]);
        assert_eq!(numbers(&text(1, 1.0).mix(long.clone(), 1.0).tokens), numbers(&long.tokens));
        let masked = |mask: [[f32; 2]; 1]| Conditioning {
            mask: Some(Tensor::from_floats(mask, &Device::flex())),
            ..text(1, 1.0)
        };
        let mask = masked([[1.0, 0.0]]).mix(masked([[1.0, 1.0]]), 0.5).mask;
        assert_eq!(numbers(&mask.expect("masked")), [1.0, 1.0]);
    }

    #[test]
    fn the_original_is_the_picture_itself_unless_the_recipe_says_otherwise() {
        let said = SizeConditioning { original: Some([768, 1024]), crop: [0, 64] };
        assert_eq!(
            said.at([512, 512]),
            PictureSizes { original: [768, 1024], crop: [0, 64], target: [512; 2] }
        );
        assert_eq!(SizeConditioning::default().at([512, 256]).original, [512, 256]);
    }
}
