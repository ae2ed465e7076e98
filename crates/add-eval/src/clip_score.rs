//! CLIP score: agreement of pictures with their captions, in the three conventions in print.
//!
//! ```text
//! cos_i = image_i . text_i / (|image_i| |text_i|)
//! mean_cosine = mean cos_i                      ADD and Stable Diffusion tables (ViT-g-14: values near 0.3)
//! torchmetrics = max(0, 100 mean cos_i)         the library's CLIPScore
//! hessel = mean 2.5 max(0, cos_i)               Hessel et al. 2021, Eq. (1): clipped picture by picture
//! ```
//!
//! Source: Hessel et al., "`CLIPScore`: a reference-free evaluation metric for image captioning", 2021.
//! The number means nothing without the convention and the network; give both with it.

use crate::{EvalError, FeatureSet};

/// Rows that are read at once.
const BLOCK: usize = 64;

/// Cosine of each picture with its own caption, `[rows]`, each in `-1..=1`.
///
/// # Errors
/// When the sets differ in width or rows, are empty, hold a row of zeros, or cannot be read back.
pub fn row_cosines(images: &FeatureSet, texts: &FeatureSet) -> Result<Vec<f64>, EvalError> {
    EvalError::need_same_dim(images.dim(), texts.dim())?;
    EvalError::need_rows("the CLIP score", 1, images.rows())?;
    if images.rows() != texts.rows() {
        return Err(EvalError::Length {
            what: "caption features",
            expected: images.rows() * images.dim(),
            got: texts.rows() * texts.dim(),
        });
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let (dim, mut cosines) = (images.dim(), Vec::with_capacity(images.rows()));
    for first in (0..images.rows()).step_by(BLOCK) {
        let (images, texts) = (images.block(first, BLOCK)?, texts.block(first, BLOCK)?);
        for (image, text) in images.chunks_exact(dim).zip(texts.chunks_exact(dim)) {
            let norms = dot(image, image).sqrt() * dot(text, text).sqrt();
            if norms <= 0.0 {
                return Err(EvalError::ZeroNorm { row: cosines.len() });
            }
            cosines.push(dot(image, text) / norms);
        }
    }
    Ok(cosines)
}

/// The plain mean cosine, in `-1..=1`.
///
/// # Errors
/// As [`row_cosines`].
pub fn mean_cosine(images: &FeatureSet, texts: &FeatureSet) -> Result<f64, EvalError> {
    row_cosines(images, texts).map(|cosines| mean(cosines.into_iter()))
}

/// What becomes of the cosines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClipScoreConvention {
    /// The plain mean, in `-1..=1`.
    #[default]
    Cosine,
    /// `max(0, 100 mean cos)`, in `0..=100`.
    Torchmetrics,
    /// `mean 2.5 max(0, cos)`, in `0..=2.5`.
    Hessel,
}

impl ClipScoreConvention {
    /// The score of one picture.
    pub fn of_picture(self, cosine: f64) -> f64 {
        match self {
            Self::Cosine => cosine,
            Self::Torchmetrics => 100.0 * cosine,
            Self::Hessel => 2.5 * cosine.max(0.0),
        }
    }

    /// The score of a set from the mean of its pictures'.
    pub fn of_mean(self, mean: f64) -> f64 {
        if self == Self::Torchmetrics { mean.max(0.0) } else { mean }
    }

    /// The score of cosines, at least one.
    pub fn score(self, cosines: &[f64]) -> f64 {
        self.of_mean(mean(cosines.iter().map(|&cosine| self.of_picture(cosine))))
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    #[test]
    fn conventions_clip_a_disagreement_where_they_say() {
        // Cosines 1 and -0.6.
        let images = FeatureSet::new(2, vec![2.0, 0.0, 5.0, 0.0]).unwrap();
        let texts = FeatureSet::new(2, vec![1.0, 0.0, -0.3, 0.4]).unwrap();
        assert_close(mean_cosine(&images, &texts).unwrap(), 0.2, 1e-15);
        let cosines = row_cosines(&images, &texts).unwrap();
        assert_close(ClipScoreConvention::Cosine.score(&cosines), 0.2, 1e-15);
        assert_close(ClipScoreConvention::Torchmetrics.score(&cosines), 20.0, 1e-15);
        assert_close(ClipScoreConvention::Hessel.score(&cosines), 1.25, 1e-15);
        let against = FeatureSet::new(2, vec![-1.0, 0.0, -1.0, 0.0]).unwrap();
        let opposed = row_cosines(&images, &against).unwrap();
        assert!(ClipScoreConvention::Torchmetrics.score(&opposed).abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn a_row_of_zeros_is_an_error_with_its_place() {
        let images = FeatureSet::new(2, vec![1.0, 0.0, 0.0, 0.0]).unwrap();
        assert_eq!(mean_cosine(&images, &images), Err(EvalError::ZeroNorm { row: 1 }));
    }
}
