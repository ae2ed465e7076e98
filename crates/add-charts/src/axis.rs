//! The vertical scale of a chart and the ticks of both axes.

use crate::number::format_number;

/// How values map to height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Height is the value.
    Linear,
    /// Height is the logarithm; all values are positive.
    Log,
}

impl Scale {
    /// Height of a value.
    pub(super) fn height(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
        }
    }
}

/// A range of heights with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Height and label.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Fits `values`: logarithmic where they are positive and span decades, without the outermost hundredth of
    /// the points, which would press the curve flat.
    pub(super) fn fit(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| values[((values.len() - 1) as f64 * q).round() as usize];
        let spans_decades = quantile(0.0) > 0.0 && quantile(0.98) > 50.0 * quantile(0.02);
        let scale = if spans_decades { Scale::Log } else { Scale::Linear };
        let (mut low, mut high) = (scale.height(quantile(0.01)), scale.height(quantile(0.99)));
        if scale == Scale::Linear && low > 0.0 && low < 0.4 * high {
            low = 0.0;
        }
        let span = high - low;
        let size = low.abs().max(high.abs());
        if span <= size * 1e-9 {
            // A constant gets a band around it; zero gets -1..1.
            let band = if size > 0.0 { size * 0.5 } else { 1.0 };
            (low, high) = (low - band, high + band);
        } else {
            let grounded = scale == Scale::Linear && low == 0.0;
            (low, high) = (if grounded { low } else { low - 0.06 * span }, high + 0.08 * span);
        }
        let ticks = match scale {
            Scale::Linear => linear_ticks(low, high, 5).map(|tick| (tick, short(tick))).collect(),
            Scale::Log => log_ticks(low, high),
        };
        Self { scale, low, high, ticks }
    }

    /// Fits all of `values`, with room around them and whatever their distance from zero.
    pub(super) fn near(values: Vec<f64>) -> Self {
        let (low, high) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let room = ((high - low) * 0.18).max(low.abs().max(high.abs()) * 1e-3).max(1e-9);
        let (low, high) = (low - room, high + room);
        let ticks = linear_ticks(low, high, 5).map(|tick| (tick, short(tick))).collect();
        Self { scale: Scale::Linear, low, high, ticks }
    }

    /// Height of a value, held inside the range.
    pub(super) fn place(&self, value: f64) -> f64 {
        self.scale.height(value).clamp(self.low, self.high)
    }
}

/// Ticks of the step axis.
pub(super) fn step_ticks(first: f64, last: f64) -> Vec<(f64, String)> {
    linear_ticks(first, last, 5)
        .filter(|tick| tick.fract() == 0.0)
        .map(|tick| (tick, step_label(tick)))
        .collect()
}

/// Multiples of 1, 2, 2.5 or 5 times a power of ten, at most about `count` of them.
fn linear_ticks(low: f64, high: f64, count: u32) -> impl Iterator<Item = f64> {
    let rough = (high - low) / f64::from(count);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    // Counting from the first tick by index cannot stall where a sum of tiny steps would.
    let ticks = (last - first).clamp(-1.0, 20.0) as i32;
    (0..=ticks).map(move |index| (first + f64::from(index)) * step)
}

/// Decades, or 1-2-5 of each decade where few fit; at most about six.
pub(super) fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let decades = (low.floor() as i32)..=(high.ceil() as i32);
    let multiples: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (((high - low) / 6.0).ceil() as i32).max(1);
    decades
        .filter(|decade| decade.rem_euclid(every) == 0)
        .flat_map(|decade| multiples.iter().map(move |multiple| multiple * 10f64.powi(decade)))
        .map(|value| (value.log10(), short(value)))
        .filter(|(height, _)| (low..=high).contains(height))
        .collect()
}

/// A number of four digits without trailing zeros.
pub fn short(value: f64) -> String {
    if value.abs() < 1e-300 {
        return "0".to_owned();
    }
    let text = format_number(value);
    if let Some((digits, exponent)) = text.split_once('e') {
        return format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn step_label(step: f64) -> String {
    let scaled = |unit: f64, name: &str| format!("{}{name}", short(step / unit));
    match step {
        step if step >= 1e6 => scaled(1e6, "M"),
        step if step >= 1e4 => scaled(1e3, "k"),
        step => format!("{step:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[(f64, String)]) -> Vec<&str> {
        ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        let axis = Axis::fit((0..=100).map(|at| f64::from(at) / 40.0).collect());
        assert_eq!((axis.scale, labels(&axis.ticks)), (Scale::Linear, vec!["0", "1", "2"]));
        assert_eq!(labels(&step_ticks(0.0, 30_000.0)), ["0", "10k", "20k", "30k"]);
        assert_eq!(labels(&step_ticks(0.0, 450.0)), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(&step_ticks(0.0, 2.0)), ["0", "1", "2"]);
    }

    #[test]
    fn decades_get_a_logarithm_and_one_spike_does_not() {
        let axis = Axis::fit((0..100).map(|at| 10f64.powf(f64::from(at) / 20.0)).collect());
        assert_eq!(
            (axis.scale, labels(&axis.ticks)),
            (Scale::Log, vec!["1", "10", "100", "1000", "10000", "100000"])
        );
        let mut values: Vec<f64> = (0..300).map(|at| 1.0 + f64::from(at % 10) / 10.0).collect();
        values[100] = 1e6;
        let axis = Axis::fit(values);
        assert!(axis.scale == Scale::Linear && axis.high < 2.5 && axis.place(1e6) <= axis.high);
    }

    #[test]
    fn a_constant_sits_in_the_middle() {
        for value in [0.0, 3.0, -2e50, 1e-30] {
            let axis = Axis::fit(vec![value; 5]);
            let middle = f64::midpoint(axis.low, axis.high);
            assert!(axis.low < axis.high && (middle - value).abs() <= 1e-12 * value.abs(), "{axis:?}");
            assert!(!axis.ticks.is_empty());
        }
    }
}
