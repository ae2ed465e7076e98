//! What the distillation distance is taken between, and the memory that the decoder's states take for it.

use add_loss::{PixelReduction, distillation};
use add_plugin::{Autoencoder, Draw, Latents, Pixels, Purpose};
use burn::tensor::Tensor;

/// What the distance is taken between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Decoded pictures (ADD, section 3.1).
    Pixel,
    /// Pictures decoded from a square crop of this side of the latents, drawn for each sample.
    Crop(usize),
    /// Latents are compared as they are.
    Latent,
}

/// The distance of Eq. (4) with what it needs.
pub struct Distance<'a> {
    /// What it is taken between.
    pub space: Space,
    /// Reduction over a sample's values.
    pub reduction: PixelReduction,
    /// Decodes both sides.
    pub codec: &'a dyn Autoencoder,
}

impl Distance<'_> {
    /// Eq. (4) `[1]` between latents `[B, C, H, W]` of the student and of the teacher; one `c` and one draw per sample.
    pub fn loss(&self, student: Tensor<4>, target: Tensor<4>, c: &[f64], draws: &[Draw]) -> Tensor<1> {
        let decode = |latents| self.codec.decode(Latents(latents)).0;
        match self.space {
            Space::Latent => distillation(student, target, c, self.reduction),
            Space::Pixel => distillation(decode(student), decode(target), c, self.reduction),
            Space::Crop(size) => {
                let [_, _, h, w] = student.dims();
                // The sum over the crop stands for that over the whole.
                let scale = match self.reduction {
                    PixelReduction::Sum => (h * w) as f64 / (size * size) as f64,
                    PixelReduction::Mean => 1.0,
                };
                let [student, target] = [student, target].map(|x| decode(crop(x, size, draws)));
                distillation(student, target, c, self.reduction) * scale
            }
        }
    }
}

impl Distance<'_> {
    /// Eq. (4) `[1]` between latents `[B, C, H, W]` of the student and pictures of the teacher, whatever latents those come
    /// from; one `c` per sample.
    pub fn to_pixels(&self, student: Tensor<4>, target: Pixels, c: &[f64]) -> Tensor<1> {
        distillation(self.codec.decode(Latents(student)).0, target.0, c, self.reduction)
    }
}

/// The square of `size` of each sample, where its draw says: every place is equally likely.
fn crop(x: Tensor<4>, size: usize, draws: &[Draw]) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let (rows, columns) = (h - size + 1, w - size + 1);
    let one = |(i, draw): (usize, &Draw)| {
        let place = draw.below(Purpose::Crop, rows * columns);
        x.clone().narrow(0, i, 1).narrow(2, place / columns, size).narrow(3, place % columns, size)
    };
    Tensor::cat(draws.iter().enumerate().map(one).collect(), 0)
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, Param},
        tensor::Device,
    };

    use super::*;
    use crate::gradients::scalar;

    /// Pixels are twice the latents.
    #[derive(Module, Debug)]
    struct Twice {
        factor: Param<Tensor<1>>,
    }

    impl Autoencoder for Twice {
        fn encode(&self, pixels: Pixels) -> Latents {
            Latents(pixels.0 / 2.0)
        }

        fn decode(&self, latents: Latents) -> Pixels {
            Pixels(latents.0 * 2.0)
        }
    }

    fn latents(offset: f32) -> Tensor<4> {
        let values: Vec<f32> = (0..2 * 3 * 8 * 8).map(|i| (i as f32 * 0.37 + offset).sin()).collect();
        Tensor::<1>::from_floats(&*values, &Device::flex()).reshape([2, 3, 8, 8])
    }

    fn draws(step: u64) -> [Draw; 2] {
        [0, 1].map(|index| Draw { seed: 5, step, index })
    }

    fn loss(space: Space, reduction: PixelReduction, step: u64) -> f64 {
        let codec = Twice { factor: Param::from_tensor(Tensor::ones([1], &Device::flex())) };
        let distance = Distance { space, reduction, codec: &codec };
        scalar(distance.loss(latents(0.0), latents(1.0), &[1.0, 0.5], &draws(step)))
    }

    #[test]
    fn a_crop_of_the_whole_size_is_the_whole() {
        for reduction in [PixelReduction::Sum, PixelReduction::Mean] {
            let whole = loss(Space::Pixel, reduction, 3);
            assert!((loss(Space::Crop(8), reduction, 3) - whole).abs() <= 1e-6 * whole);
            assert!((loss(Space::Latent, reduction, 3) * 4.0 - whole).abs() <= 1e-5 * whole);
        }
    }

    #[test]
    fn crops_are_drawn_anew_and_estimate_the_whole() {
        for reduction in [PixelReduction::Sum, PixelReduction::Mean] {
            let whole = loss(Space::Pixel, reduction, 0);
            let crops: Vec<f64> = (0..200).map(|step| loss(Space::Crop(4), reduction, step)).collect();
            let mean = crops.iter().sum::<f64>() / crops.len() as f64;
            assert!(crops.windows(2).any(|two| (two[0] - two[1]).abs() > 1e-3 * whole));
            assert!((mean - whole).abs() < 0.1 * whole, "{mean} {whole}");
        }
    }

    #[test]
    fn both_sides_are_cropped_at_one_place() {
        let codec = Twice { factor: Param::from_tensor(Tensor::ones([1], &Device::flex())) };
        let distance = Distance { space: Space::Crop(3), reduction: PixelReduction::Sum, codec: &codec };
        for step in 0..20 {
            let zero = distance.loss(latents(0.2), latents(0.2), &[1.0, 1.0], &draws(step));
            assert!(scalar(zero).abs() < 1e-12);
        }
    }

    #[test]
    fn the_gradient_of_a_crop_is_finite_and_falls_on_the_crop_alone() {
        let codec = Twice { factor: Param::from_tensor(Tensor::ones([1], &Device::flex())) };
        let distance = Distance { space: Space::Crop(4), reduction: PixelReduction::Mean, codec: &codec };
        let leaf = latents(0.0).autodiff().require_grad();
        let loss = distance.loss(leaf.clone(), latents(1.0), &[1.0, 1.0], &draws(0));
        let gradient = leaf.grad(&loss.backward()).expect("the crop has one").into_data();
        let values: Vec<f32> = gradient.iter().collect();
        assert!(values.iter().all(|x| x.is_finite()));
        assert_eq!(values.iter().filter(|x| **x != 0.0).count(), 2 * 3 * 4 * 4);
    }
}
