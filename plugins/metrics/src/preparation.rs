//! How pictures come to a network's input, by the libraries whose figures depend on it.

use add_eval::EvalError;
use add_eval::resize::{HwcImage, clean, clip_square, pil_bicubic, tf1_bilinear, torch_bilinear};
use add_loss::resize;
use add_plugin::{Picture, Preparation};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Area averaging where pictures shrink, bilinear where they grow, as the heads of a discriminator see them.
pub(crate) const AREA: Preparation = Preparation { name: "area", apply: area };
/// PIL's bicubic filter in 8 bits to a square, whatever the picture's sides: dgm-eval.
pub(crate) const PIL: Preparation = Preparation { name: "pil", apply: pil };
/// The central square, then as [`PIL`]: CMMD.
pub(crate) const PIL_SQUARE: Preparation =
    Preparation { name: "pil-square", apply: |picture, side| pil(&central(picture), side) };
/// open_clip: the shorter side by PIL's bicubic filter, then the central square.
pub(crate) const CLIP: Preparation = Preparation { name: "clip", apply: clip };

/// How Inception's pictures are resized. The published figures of the three differ by several points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum InceptionResize {
    /// pytorch-fid: bilinear without antialiasing, half-pixel centres.
    #[default]
    Torch,
    /// torch-fidelity and the original TensorFlow code: bilinear without antialiasing, corners aligned to the left.
    Tf1,
    /// clean-fid: PIL's bicubic filter with antialiasing, in floating point.
    Clean,
}

impl InceptionResize {
    /// As a part of a figure's name.
    pub(crate) fn name(self) -> &'static str {
        self.preparation().name
    }

    pub(crate) fn preparation(self) -> Preparation {
        match self {
            Self::Torch => {
                Preparation { name: "torch", apply: |p, side| inception(p, side, torch_bilinear, 127.5) }
            }
            // TensorFlow's graph, which both follow, subtracts 128 and divides by 128.
            Self::Tf1 => {
                Preparation { name: "tf1", apply: |p, side| inception(p, side, tf1_bilinear, 128.0) }
            }
            Self::Clean => Preparation { name: "clean", apply: |p, side| inception(p, side, clean, 128.0) },
        }
    }
}

type Resize = fn(&HwcImage, usize, usize) -> Result<HwcImage, EvalError>;

const SIDES: &str = "pictures and network inputs have pixels";

fn inception(picture: &Picture, side: usize, resize: Resize, half: f32) -> Vec<f32> {
    let image = HwcImage::from_u8(picture.height(), picture.width(), 3, picture.rgb()).expect(SIDES);
    planes(resize(&image, side, side).expect(SIDES).values(), half)
}

fn pil(picture: &Picture, side: usize) -> Vec<f32> {
    let from = [picture.height(), picture.width()];
    bytes(&pil_bicubic(picture.rgb(), from, [side, side]).expect(SIDES))
}

fn clip(picture: &Picture, side: usize) -> Vec<f32> {
    bytes(&clip_square(picture.rgb(), picture.height(), picture.width(), side).expect(SIDES))
}

fn area(picture: &Picture, side: usize) -> Vec<f32> {
    let values: Vec<f32> = picture.rgb().iter().map(|&value| f32::from(value)).collect();
    let shape = [1, 3, picture.height(), picture.width()];
    let data = TensorData::new(planes(&values, 127.5), shape);
    let resized = resize(Tensor::from_data(data, (&Device::flex(), DType::F32)), [side; 2]);
    resized.into_data().iter::<f32>().collect()
}

/// The central square, cut as CMMD's code cuts it.
fn central(picture: &Picture) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let side = width.min(height);
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let rows = picture.rgb().chunks_exact(3 * width).skip(top).take(side);
    let kept = rows.flat_map(|row| row[3 * left..3 * (left + side)].iter().copied());
    Picture::new(side, side, kept.collect())
}

fn bytes(values: &[u8]) -> Vec<f32> {
    let values: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
    planes(&values, 127.5)
}

/// Interleaved values on 0..=255 to planes `(value - half) / half`.
fn planes(values: &[f32], half: f32) -> Vec<f32> {
    (0..3).flat_map(|c| values[c..].iter().step_by(3).map(move |&value| (value - half) / half)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three pixels; red counts up, green is 0, blue is 255.
    fn picture() -> Picture {
        Picture::new(3, 2, (0..6).flat_map(|i| [i * 10, 0, 255]).collect())
    }

    #[test]
    fn every_preparation_gives_planes_of_the_asked_side_in_its_convention() {
        let inception = [InceptionResize::Torch, InceptionResize::Tf1, InceptionResize::Clean];
        let all =
            inception.map(InceptionResize::preparation).into_iter().chain([AREA, PIL, PIL_SQUARE, CLIP]);
        for preparation in all {
            let planes = (preparation.apply)(&picture(), 4);
            assert_eq!(planes.len(), 3 * 16, "{}", preparation.name);
            let half = if ["tf1", "clean"].contains(&preparation.name) { 128.0 } else { 127.5 };
            for (green, blue) in planes[16..32].iter().zip(&planes[32..]) {
                assert!((green + 1.0).abs() < 1e-6, "{}", preparation.name);
                assert!((blue - (255.0 - half) / half).abs() < 1e-6, "{}", preparation.name);
            }
        }
    }

    #[test]
    fn squares_are_cut_from_the_middle() {
        assert_eq!(central(&picture()).rgb()[..6], [0, 0, 255, 10, 0, 255]);
        let wide = Picture::new(4, 2, (0..8).flat_map(|i| [i, i, i]).collect());
        assert_eq!(central(&wide).rgb(), [1, 1, 1, 2, 2, 2, 5, 5, 5, 6, 6, 6]);
    }
}
