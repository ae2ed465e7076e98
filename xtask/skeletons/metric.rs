//! The mean of all pixel values of the generated pictures. Replace it by your metric, its unit and its source.

use add_plugin::{Entry, Labels, Measurement, Metric, MetricValue, Pixels, PluginError, inventory};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// What it measures, and whether smaller or larger is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {}

impl Metric for Skeleton {
    fn init(&self, _device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Sums::default()))
    }
}

inventory::submit!(Entry::metric::<Skeleton>("Skeleton", "the paper, or the library that it agrees with"));

/// What was seen of the generated pictures so far.
#[derive(Default)]
struct Sums {
    total: f64,
    values: usize,
    pictures: usize,
}

impl Measurement for Sums {
    fn add_reference(&mut self, _pictures: &Pixels) {}

    fn add_generated(&mut self, pictures: &Pixels, _labels: &[Labels]) {
        let values = pictures.0.to_data();
        self.total += values.iter::<f64>().sum::<f64>();
        self.values += values.num_elements();
        self.pictures += pictures.0.dims()[0];
    }

    fn finish(&mut self) -> Result<Vec<MetricValue>, PluginError> {
        let Self { total, values, pictures } = std::mem::take(self);
        if pictures == 0 {
            return Err(PluginError::Mismatch(
                "Skeleton: expected at least one picture, got none".to_owned(),
            ));
        }
        Ok(vec![MetricValue { name: "skeleton".to_owned(), value: total / values as f64, n: pictures }])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;

    #[test]
    fn the_figure_is_the_one_computed_by_hand_and_is_then_forgotten() {
        let device = Device::flex();
        let mut measurement = Skeleton {}.init(&device).unwrap();
        for value in [0.25, 0.75] {
            let pictures = Pixels(Tensor::full([1, 3, 2, 2], value, &device));
            measurement.add_generated(&pictures, &[Labels::new()]);
        }
        let figures = measurement.finish().unwrap();
        assert!((figures[0].value - 0.5).abs() < 1e-12 && figures[0].n == 2, "{figures:?}");
        assert!(measurement.finish().is_err());
    }
}
