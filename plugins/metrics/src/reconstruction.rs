//! How near a codec's reconstructions are to the pictures that they were made from.
//!
//! By value, as signal over noise, and by the features of a network: the learned perceptual distance with all weights one
//! (Zhang et al. 2018). Its figures are there where a codec is measured, and not where pictures are made from captions.

use add_eval::mean_with_interval;
use add_loss::perceptual_distance;
use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Generated, Measurement, Metric, MetricValue, Picture,
    Pixels, Plugin, PluginError, inventory,
};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{preparation::AREA, sets::failed};

/// `absolute-distance`: the mean absolute difference of values in `[-1, 1]`; `psnr`, in decibels, the mean over pictures; and
/// `perceptual-<network>`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reconstruction {
    /// The network of the perceptual distance; best one that the codec was not trained by.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Reconstruction {
    fn init(
        &self,
        _networks: &[&dyn FeatureExtractor],
        device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        let (network, device) = (self.features.init(device)?, device.clone());
        Ok(Box::new(Pairs {
            network,
            device,
            absolute: Vec::new(),
            psnr: Vec::new(),
            perceptual: Vec::new(),
        }))
    }
}

inventory::submit!(Entry::metric::<Reconstruction>("Reconstruction", "PSNR; Zhang et al. 2018 (LPIPS)"));

/// The figures of each pair so far.
struct Pairs {
    network: Box<dyn FeatureExtractor>,
    device: Device,
    absolute: Vec<f64>,
    psnr: Vec<f64>,
    perceptual: Vec<f64>,
}

impl Pairs {
    fn features(&self, picture: &Picture) -> Vec<Tensor<3>> {
        let side = self.network.input_size();
        let data = TensorData::new((AREA.apply)(picture, side), [1, 3, side, side]);
        self.network.features(Pixels(Tensor::from_data(data, (&self.device, DType::F32))))
    }
}

impl Measurement for Pairs {
    fn compare(&mut self, originals: &[Picture], made: &[Picture]) {
        for (original, made) in originals.iter().zip(made) {
            let (absolute, psnr) = distances(original.rgb(), made.rgb());
            self.absolute.push(absolute);
            self.psnr.push(psnr);
            let distance = perceptual_distance(&self.features(original), &self.features(made));
            self.perceptual.extend(distance.into_data().iter::<f64>());
        }
    }

    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        let perceptual = format!("perceptual-{}", self.network.name());
        let mut values = Vec::new();
        for (name, better, scores) in [
            ("absolute-distance", Better::Lower, &mut self.absolute),
            ("psnr", Better::Higher, &mut self.psnr),
            (&perceptual, Better::Lower, &mut self.perceptual),
        ] {
            // The next measurement begins anew.
            let scores = std::mem::take(scores);
            if scores.is_empty() {
                continue;
            }
            let (value, interval) =
                mean_with_interval(&scores, generated.resamples).map_err(failed("reconstruction"))?;
            let (name, better) = (name.to_owned(), Some(better));
            values.push(MetricValue { name, better, value, interval, n: scores.len() });
        }
        Ok(values)
    }
}

/// The mean absolute difference of two pictures' values in `[-1, 1]`, and the peak signal over the noise in decibels. A picture
/// that comes back as it was counts as one that is off by one level in one value, since its noise is none.
fn distances(a: &[u8], b: &[u8]) -> (f64, f64) {
    let differences = || a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
    let n = a.len() as f64;
    let absolute = differences().map(f64::abs).sum::<f64>() / n / 127.5;
    let noise = differences().map(|d| d * d).sum::<f64>().max(1.0) / n;
    (absolute, 10.0 * (255.0 * 255.0 / noise).log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got}, expected {want}");
    }

    #[test]
    fn distances_by_hand() {
        // Off by 51, by 0 and by 255: (51 + 255) / 3 / 127.5 = 0.8; the noise is (2601 + 65025) / 3 = 22542.
        let (absolute, psnr) = distances(&[0, 7, 0], &[51, 7, 255]);
        close(absolute, 0.8);
        close(psnr, 10.0 * (65025.0_f64 / 22542.0).log10());
        let (absolute, psnr) = distances(&[9; 12], &[9; 12]);
        close(absolute, 0.0);
        close(psnr, 10.0 * (65025.0_f64 * 12.0).log10());
    }
}
