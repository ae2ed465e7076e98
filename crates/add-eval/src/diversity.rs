//! Diversity over noise: the pixel standard deviation among pictures of one caption.
//!
//! ```text
//! diversity = 1 / P sum_p sqrt( sum_s (x_sp - mean_s x_sp)^2 / (S - 1) )
//! ```
//!
//! Where `x` are `S` pictures made from one caption with different noise and `P` the values of a picture (pixels
//! times channels). A student that ignores its noise has a fine Frechet distance and a diversity near zero, so
//! the two are reported side by side.
//! Source: the batch standard deviation of Karras et al., "Progressive growing of GANs", 2018, section 3.

use crate::{EvalError, FeatureSet};

/// Mean over the values of a picture of their standard deviation across `samples` `[S, P]`, in pixel units.
///
/// # Errors
/// With fewer than two samples.
pub fn pixel_std(samples: &FeatureSet) -> Result<f64, EvalError> {
    EvalError::need_rows("the pixel standard deviation", 2, samples.rows())?;
    let count = samples.rows() as f64;
    let mut mean = vec![0.0; samples.dim()];
    samples.each(|row| {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value / count;
        }
    })?;
    let mut scatter = vec![0.0; samples.dim()];
    samples.each(|row| {
        for ((sum, value), mean) in scatter.iter_mut().zip(row).zip(&mean) {
            *sum += (value - mean).powi(2);
        }
    })?;
    Ok(scatter.iter().map(|sum| (sum / (count - 1.0)).sqrt()).sum::<f64>() / samples.dim() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use crate::testing::assert_close;
    use proptest::prelude::*;

    #[test]
    fn two_pixels_give_the_hand_computed_mean() {
        // Pixel 0: 1, 2, 3 -> std 1. Pixel 1: 0, 0, 3 -> mean 1, std sqrt(6 / 2).
        let samples = FeatureSet::new(2, vec![1.0, 0.0, 2.0, 0.0, 3.0, 3.0]).unwrap();
        assert_close(pixel_std(&samples).unwrap(), f64::midpoint(1.0, 3f64.sqrt()), 1e-15);
    }

    #[test]
    fn one_picture_has_no_diversity_to_measure_and_copies_have_none() {
        let one = FeatureSet::new(3, vec![1.0, 2.0, 3.0]).unwrap();
        assert!(pixel_std(&one).is_err());
        assert!(pixel_std(&one.select(&[0, 0, 0])).unwrap() < 1e-15);
    }

    proptest! {
        #[test]
        fn contrast_scales_it_and_brightness_does_not_change_it(
            seed: u64, rows in 2usize..9, scale in 0.1f64..4.0, shift in -3.0f64..3.0
        ) {
            let samples = SplitMix64::new(seed).normal_set(rows, 7);
            let changed = FeatureSet::new(7, samples.block(0, samples.rows()).unwrap().iter().map(|v| scale * v + shift).collect()).unwrap();
            let (before, after) = (pixel_std(&samples).unwrap(), pixel_std(&changed).unwrap());
            prop_assert!((after - scale * before).abs() < 1e-12 * (1.0 + after));
        }
    }
}
