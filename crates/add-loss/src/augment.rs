//! Differentiable augmentation of what the discriminator sees, and the random crop before its feature network.
//!
//! Colour, translation and cutout of DiffAugment (Zhao et al. 2020) in the strengths of StyleGAN-T; the same family for
//! real and generated pictures, with own random numbers for each sample. Pictures are `[B, 3, H, W]` in `[-1, 1]`.

use std::ops::Range;

use add_kernels::separable;
use add_plugin::{Draw, Purpose, per_sample};
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::resize::{Window, crop_and_resize};

/// Strengths of the augmentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffAugment {
    /// Largest shift of all values, either way.
    pub brightness: f64,
    /// Least and largest factor of a pixel's distance from its grey.
    pub saturation: (f64, f64),
    /// Least and largest factor of a picture's distance from its mean.
    pub contrast: (f64, f64),
    /// Largest shift in each direction, as a part of the side; what comes in is 0, mid grey.
    pub translation: f64,
    /// Side of the blanked rectangle, as a part of the picture's side.
    pub cutout: f64,
    /// Side of the random crop, in pixels; only pictures larger than it are cropped.
    pub crop_size: usize,
    /// How often a picture is cropped.
    pub crop_probability: f64,
}

impl Default for DiffAugment {
    fn default() -> Self {
        Self {
            brightness: 0.5,
            saturation: (0.0, 2.0),
            contrast: (0.5, 1.5),
            translation: 0.125,
            cutout: 0.2,
            crop_size: 224,
            crop_probability: 0.5,
        }
    }
}

/// What happens to one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmentation {
    /// Added to all values.
    pub brightness: f64,
    /// Factor of a pixel's distance from its grey.
    pub saturation: f64,
    /// Factor of the picture's distance from its mean.
    pub contrast: f64,
    /// Shift down and to the right, in pixels.
    pub shift: [isize; 2],
    /// Rows and columns that are blanked; nothing when either is empty.
    pub cutout: Window,
    /// What the random crop keeps.
    pub crop: Window,
}

impl DiffAugment {
    /// Nothing happens.
    pub fn off() -> Self {
        Self {
            brightness: 0.0,
            saturation: (1.0, 1.0),
            contrast: (1.0, 1.0),
            translation: 0.0,
            cutout: 0.0,
            crop_size: 224,
            crop_probability: 0.0,
        }
    }

    /// The augmentation of one picture of `[height, width]`.
    ///
    /// `purpose` is [`Purpose::AugmentReal`] or [`Purpose::AugmentFake`].
    pub fn draw(&self, size: [usize; 2], draw: &Draw, purpose: Purpose) -> Augmentation {
        let mut rng = draw.rng(purpose);
        let mut between = |(low, high): (f64, f64)| low + rng.random::<f64>() * (high - low);
        let brightness = between((-self.brightness, self.brightness));
        let saturation = between(self.saturation);
        let contrast = between(self.contrast);
        let shift = size.map(|n| self.shift(n, &mut rng));
        let cutout = size.map(|n| self.cutout(n, &mut rng));
        let larger = size.iter().all(|&n| n > self.crop_size) && self.crop_size > 0;
        let crops = rng.random::<f64>() < self.crop_probability && larger;
        let crop = size.map(|n| if crops { window(n, self.crop_size, &mut rng) } else { 0..n });
        Augmentation { brightness, saturation, contrast, shift, cutout, crop }
    }

    fn shift(&self, n: usize, rng: &mut impl Rng) -> isize {
        let largest = ((n as f64 * self.translation + 0.5) as usize).min(n) as i64;
        rng.random_range(-largest..=largest) as isize
    }

    /// The centre is uniform over the side, so at the border the rectangle is cut.
    fn cutout(&self, n: usize, rng: &mut impl Rng) -> Range<usize> {
        let length = ((n as f64 * self.cutout + 0.5) as usize).min(n);
        // An even length has one more place, half a pixel outside at either end.
        let centre = rng.random_range(0..n.max(1) + usize::from(length.is_multiple_of(2)));
        let end = (centre + length).saturating_sub(length / 2).min(n);
        centre.saturating_sub(length / 2)..end
    }
}

/// A random window of `length` in `0..n`.
fn window(n: usize, length: usize, rng: &mut impl Rng) -> Range<usize> {
    let start = rng.random_range(0..=n - length);
    start..start + length
}

/// Colour, then translation, then cutout; one entry of `augmentations` per sample.
///
/// The three colour steps add `b`, then scale by `s` about the pixel's grey `m`, then by `c` about the picture's mean
/// `M`: together `c s (x + b) + c (1 - s)(m + b) + (1 - c)(M + b)`.
pub fn augment(x: Tensor<4>, augmentations: &[Augmentation]) -> Tensor<4> {
    assert_eq!(augmentations.len(), x.dims()[0], "one augmentation per sample");
    cut_out(translate(colour(x, augmentations), augmentations), augmentations)
}

/// [`augment`], then each picture's crop, resized to `size` as the feature network wants it.
pub fn augmented_view(x: Tensor<4>, augmentations: &[Augmentation], size: [usize; 2]) -> Tensor<4> {
    let crops: Vec<Window> = augmentations.iter().map(|a| a.crop.clone()).collect();
    crop_and_resize(augment(x, augmentations), &crops, size)
}

fn colour(x: Tensor<4>, augmentations: &[Augmentation]) -> Tensor<4> {
    if augmentations.iter().all(|a| (a.brightness, a.saturation, a.contrast) == (0.0, 1.0, 1.0)) {
        return x;
    }
    let factor =
        |f: fn(&Augmentation) -> f64| per_sample(&augmentations.iter().map(f).collect::<Vec<_>>(), &x);
    let own = factor(|a| a.contrast * a.saturation);
    let of_grey = factor(|a| a.contrast * (1.0 - a.saturation));
    let of_mean = factor(|a| 1.0 - a.contrast);
    // The three factors add up to 1, so b is added once.
    let brightness = factor(|a| a.brightness);
    let grey = x.clone().mean_dim(1);
    let mean = grey.clone().mean_dim(2).mean_dim(3);
    x * own + (grey * of_grey + (mean * of_mean + brightness))
}

fn translate(x: Tensor<4>, augmentations: &[Augmentation]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let shifts = |direction: usize, n: usize| -> Option<Vec<Vec<f64>>> {
        let moves = augmentations.iter().any(|a| a.shift[direction] != 0);
        moves.then(|| augmentations.iter().map(|a| shift_matrix(n, a.shift[direction])).collect())
    };
    separable(x, shifts(0, height), shifts(1, width), [height, width])
}

/// `y_i = x_{i - shift}`, 0 where there is no such `x`.
fn shift_matrix(n: usize, shift: isize) -> Vec<f64> {
    let mut matrix = vec![0.0; n * n];
    for (i, row) in matrix.chunks_exact_mut(n).enumerate() {
        if let Some(from) = i.checked_add_signed(-shift).filter(|&from| from < n) {
            row[from] = 1.0;
        }
    }
    matrix
}

fn cut_out(x: Tensor<4>, augmentations: &[Augmentation]) -> Tensor<4> {
    let [batch, _, height, width] = x.dims();
    if augmentations.iter().all(|a| a.cutout.iter().any(Range::is_empty)) {
        return x;
    }
    let mut keep = vec![1.0_f64; batch * height * width];
    for (picture, a) in keep.chunks_exact_mut(height * width).zip(augmentations) {
        let [rows, columns] = &a.cutout;
        picture
            .chunks_exact_mut(width)
            .skip(rows.start)
            .take(rows.len())
            .for_each(|row| row[columns.clone()].fill(0.0));
    }
    let keep = TensorData::new(keep, [batch, 1, height, width]);
    let keep = Tensor::from_data(keep, (&x.device(), x.dtype()));
    x * keep
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    fn picture(values: &[f64], shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Device::flex(), DType::F64))
    }

    fn values(x: Tensor<4>) -> Vec<f64> {
        x.into_data().try_to_vec().unwrap()
    }

    fn nothing(size: [usize; 2]) -> Augmentation {
        DiffAugment::off().draw(size, &Draw { seed: 0, step: 0, index: 0 }, Purpose::AugmentReal)
    }

    fn close(got: &[f64], want: &[f64]) -> bool {
        got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-12)
    }

    #[test]
    fn colour_by_hand() {
        // Two channels of two pixels; plus 0.1; greys 1.1 and 2.1, mean 1.6.
        let x = picture(&[0.0, 1.0, 2.0, 3.0], [1, 2, 1, 2]);
        let a = Augmentation { brightness: 0.1, saturation: 2.0, contrast: 0.5, ..nothing([1, 2]) };
        // Saturation: -0.9, 0.1, 3.1, 4.1; contrast about 1.6: halfway to it.
        assert!(close(&values(augment(x, &[a])), &[0.35, 0.85, 2.35, 2.85]));
    }

    #[test]
    fn translation_brings_in_grey() {
        let x = picture(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 1, 2, 3]);
        let a = Augmentation { shift: [1, -1], ..nothing([2, 3]) };
        assert_eq!(values(augment(x, &[a])), [0.0, 0.0, 0.0, 2.0, 3.0, 0.0]);
    }

    #[test]
    fn cutout_blanks_its_rectangle() {
        let x = picture(&[1.0; 6], [1, 1, 2, 3]);
        let a = Augmentation { cutout: [0..1, 1..3], ..nothing([2, 3]) };
        assert_eq!(values(augment(x, &[a])), [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn off_changes_nothing() {
        let x = picture(&[0.3, -0.2, 0.9, 0.0], [1, 1, 2, 2]);
        assert_eq!(values(augmented_view(x.clone(), &[nothing([2, 2])], [2, 2])), values(x));
    }

    #[test]
    fn real_and_fake_have_own_numbers() {
        let draw = Draw { seed: 3, step: 5, index: 7 };
        let [real, fake] = [Purpose::AugmentReal, Purpose::AugmentFake]
            .map(|p| DiffAugment::default().draw([64, 64], &draw, p));
        assert_ne!(real, fake);
        assert_eq!(real, DiffAugment::default().draw([64, 64], &draw, Purpose::AugmentReal));
    }

    #[test]
    fn the_gradient_is_the_transpose() {
        let a = Augmentation { shift: [0, 1], cutout: [0..1, 1..2], contrast: 0.5, ..nothing([1, 3]) };
        let x = picture(&[1.0, 2.0, 3.0], [1, 1, 1, 3]).autodiff().require_grad();
        let gradients = augment(x.clone(), &[a]).sum().backward();
        // The first output is outside, the second is blanked; the third is x_1 at half strength plus half the mean.
        let mean = 0.5 / 3.0;
        assert!(close(&values(x.grad(&gradients).unwrap()), &[mean, 0.5 + mean, mean]));
    }

    proptest! {
        #[test]
        fn draws_stay_within_the_strengths(index in any::<u64>(), n in 1_usize..400) {
            let config = DiffAugment::default();
            let a = config.draw([n, n + 3], &Draw { seed: 1, step: 2, index }, Purpose::AugmentFake);
            prop_assert!(a.brightness.abs() <= 0.5 && (0.0..=2.0).contains(&a.saturation));
            prop_assert!((0.5..=1.5).contains(&a.contrast));
            for (direction, n) in [n, n + 3].into_iter().enumerate() {
                prop_assert!(a.shift[direction].unsigned_abs() as f64 <= n as f64 * 0.125 + 0.5);
                prop_assert!(a.cutout[direction].end <= n && a.cutout[direction].len() as f64 <= n as f64 * 0.2 + 0.5);
                let crop = &a.crop[direction];
                prop_assert!(crop.end <= n && (crop.len() == n || crop.len() == 224));
            }
        }

        #[test]
        fn no_strengths_panic(
            translation in -1.0..3.0_f64, cutout in -1.0..3.0_f64, crop_size in 0_usize..9, n in 1_usize..9,
        ) {
            let config = DiffAugment {
                translation, cutout, crop_size, crop_probability: 1.0, saturation: (2.0, 0.0), ..DiffAugment::default()
            };
            let a = config.draw([n, n], &Draw { seed: 1, step: 2, index: 3 }, Purpose::AugmentReal);
            let y = augmented_view(picture(&vec![0.5; n * n * 3], [1, 3, n, n]), &[a], [4, 4]);
            prop_assert!(values(y).iter().all(|v| v.is_finite()));
        }
    }
}
