//! One chart as SVG: faint raw values, the smoothed curve over them.
//!
//! Colours are placeholders (`#0000kk`) that the page's style sheet maps, so one drawing serves light and dark.
//! Twice the size of the page's pixels, because the plotter rounds coordinates to whole ones.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ChartError;
use super::axis::{Axis, Scale, step_ticks};
use super::smooth::smooth;

pub(super) const WIDTH: u32 = 1120;
pub(super) const HEIGHT: u32 = 520;
pub(super) const TEXT: RGBColor = RGBColor(0, 0, 1);
pub(super) const GRID: RGBColor = RGBColor(0, 0, 2);
/// Curves of one chart; more are split over several charts.
pub const COLOURS: usize = 8;
/// Points of a raw curve after thinning.
const RAW_POINTS: usize = 600;
/// Below this many points a curve is drawn as it is.
const SMOOTH_FROM: usize = 24;

/// A named curve of a chart; points `(step, value)` by rising step, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name.
    pub label: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A drawn chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// The drawing, for a place inside HTML.
    pub svg: String,
    /// How values map to height.
    pub scale: Scale,
    /// Label of each curve and its last smoothed value.
    pub legend: Vec<(String, f64)>,
}

/// Draws up to [`COLOURS`] curves into one chart.
///
/// # Errors
/// When the plotter fails.
pub fn draw(title: &str, curves: &[Curve]) -> Result<Drawing, ChartError> {
    let smoothed: Vec<Option<Vec<f64>>> = curves.iter().map(smoothed).collect();
    let raw = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let axis = Axis::fit(raw.chain(smoothed.iter().flatten().flatten().copied()).collect());
    let mut svg = String::new();
    plot(&mut svg, curves, &smoothed, &axis)
        .map_err(|error| ChartError { title: title.to_owned(), reason: error.to_string() })?;
    let legend = curves
        .iter()
        .zip(&smoothed)
        .map(|(curve, smoothed)| {
            let raw = curve.points.last().map_or(0.0, |point| point.1);
            (curve.label.clone(), smoothed.as_ref().and_then(|values| values.last().copied()).unwrap_or(raw))
        })
        .collect();
    Ok(Drawing { svg: inline(&svg), scale: axis.scale, legend })
}

/// A drawing for a place inside HTML, where the name space is implied: the page then names no address at all.
pub(super) fn inline(svg: &str) -> String {
    svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1)
}

/// A window of a fortieth of the curve, or nothing where it has few points or no noise: a schedule or a clock would
/// come out with round corners it never had.
fn smoothed(curve: &Curve) -> Option<Vec<f64>> {
    let values: Vec<f64> = curve.points.iter().map(|point| point.1).collect();
    let travelled: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let noisy = travelled > 6.0 * (high - low);
    (values.len() >= SMOOTH_FROM && noisy).then(|| smooth(&values, values.len() as f64 / 40.0 + 1.0))
}

type Failure = DrawingAreaErrorKind<std::io::Error>;

fn plot(
    svg: &mut String,
    curves: &[Curve],
    smoothed: &[Option<Vec<f64>>],
    axis: &Axis,
) -> Result<(), Failure> {
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    for (step, _) in curves.iter().flat_map(|curve| &curve.points) {
        (first, last) = (first.min(*step), last.max(*step));
    }
    if last <= first {
        // A single step stands in the middle. The relative part matters where 1 is below rounding.
        let band = 1f64.max(first * 1e-9);
        (first, last) = (first - band, first + band);
    }
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(16)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(96)
        .build_cartesian_2d(first..last, axis.low..axis.high)?;

    let text = ("sans-serif", 27).into_font().color(&TEXT);
    let left = text.pos(Pos::new(HPos::Right, VPos::Center));
    for (height, label) in &axis.ticks {
        chart
            .draw_series([PathElement::new(vec![(first, *height), (last, *height)], GRID.stroke_width(2))])?;
        chart.draw_series([
            EmptyElement::at((first, *height)) + Text::new(label.clone(), (-14, 0), left.clone())
        ])?;
    }
    let below = text.pos(Pos::new(HPos::Center, VPos::Top));
    for (step, label) in step_ticks(first, last) {
        chart.draw_series([EmptyElement::at((step, axis.low)) + Text::new(label, (0, 14), below.clone())])?;
    }

    // Many curves in one chart: their noise must not drown the means.
    let faint = if curves.len() > 3 { 0.12 } else { 0.26 };
    // All raw values first, so that no noise lies over another curve's mean.
    for (index, (curve, smoothed)) in curves.iter().zip(smoothed).enumerate() {
        if smoothed.is_some() {
            let thin = thinned(&curve.points).into_iter().map(|(step, value)| (step, axis.place(value)));
            chart.draw_series(LineSeries::new(thin, colour(index).mix(faint).stroke_width(2)))?;
        }
    }
    for (index, (curve, smoothed)) in curves.iter().zip(smoothed).enumerate() {
        let style = colour(index).stroke_width(4);
        let place = |(step, value)| (step, axis.place(value));
        if let [only] = curve.points[..] {
            chart.draw_series([Circle::new(place(only), 6, colour(index).filled())])?;
        } else if let Some(values) = smoothed {
            let every = values.len().div_ceil(RAW_POINTS / 2);
            let points = curve.points.iter().zip(values).map(|(point, value)| place((point.0, *value)));
            let ends = points.clone().next_back();
            chart.draw_series(LineSeries::new(points.step_by(every).chain(ends), style))?;
        } else {
            chart.draw_series(LineSeries::new(thinned(&curve.points).into_iter().map(place), style))?;
        }
    }
    root.present()
}

/// The placeholder of curve `index`.
pub(super) fn colour(index: usize) -> RGBColor {
    RGBColor(0, 0, 0x10 + (index % COLOURS) as u8)
}

/// At most [`RAW_POINTS`]: the lowest and highest of each stretch, so that spikes stay.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= RAW_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(RAW_POINTS / 2);
    let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let extremes = points.chunks(stretch).flat_map(|chunk| {
        let ends = chunk.iter().min_by(by_value).zip(chunk.iter().max_by(by_value));
        ends.into_iter().flat_map(|(low, high)| if low.0 < high.0 { [*low, *high] } else { [*high, *low] })
    });
    extremes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(label: &str, points: Vec<(f64, f64)>) -> Curve {
        Curve { label: label.to_owned(), points }
    }

    #[test]
    fn a_long_curve_is_drawn_raw_and_smoothed_and_a_short_one_once() {
        let long = curve("long", (0..5000).map(|at| (f64::from(at), f64::from(at % 7))).collect());
        let short = curve("short", vec![(0.0, 1.0), (4999.0, 5.0)]);
        let drawing = draw("t", &[long, short]).unwrap();
        assert_eq!(drawing.svg.matches("#000010").count(), 2);
        assert_eq!(drawing.svg.matches("#000011").count(), 1);
        assert!(drawing.svg.len() < 40_000, "{} bytes", drawing.svg.len());
        assert!((drawing.legend[0].1 - 3.0).abs() < 0.3 && drawing.legend[1] == ("short".to_owned(), 5.0));
        assert!(!drawing.svg.contains("xmlns") && drawing.svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_schedule_keeps_its_corners() {
        let ramp = (0..3000).map(|at| (f64::from(at), f64::from(at.min(300)))).collect();
        let drawing = draw("t", &[curve("lr", ramp)]).unwrap();
        assert_eq!(drawing.svg.matches("#000010").count(), 1);
    }

    #[test]
    fn one_point_is_a_dot() {
        let drawing = draw("t", &[curve("one", vec![(1e19, -4.0)])]).unwrap();
        assert_eq!(drawing.svg.matches("<circle").count(), 1);
        assert!(!drawing.svg.contains("NaN"));
    }

    #[test]
    fn thinning_keeps_the_spikes() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|at| (f64::from(at), 0.0)).collect();
        points[77_777].1 = 9.0;
        points[5].1 = -9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= RAW_POINTS && thin.contains(&(77_777.0, 9.0)) && thin.contains(&(5.0, -9.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
