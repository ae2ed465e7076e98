//! Named points over a logarithmic axis, such as ratings against latencies (Fig. 5 of the ADD paper).

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ChartError;
use super::axis::{Axis, log_ticks};
use super::curves::{GRID, HEIGHT, TEXT, WIDTH, colour, inline};

/// Room around the plot, in units of the drawing.
const LEFT: i32 = 96;
const BELOW: i32 = 84;
const ABOVE: i32 = 24;
const RIGHT: i32 = 28;
/// Height of a line of text and mean width of a letter at the size that the style sheet sets.
const LINE: f64 = 28.0;
const LETTER: f64 = 12.5;
/// Radius of a point.
const DOT: i32 = 9;

/// A named point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its name, drawn beside it.
    pub label: String,
    /// Its place on the logarithmic axis, above zero.
    pub x: f64,
    /// Its height.
    pub y: f64,
}

/// Draws points as SVG; the axes are called `across` and `up`.
///
/// # Errors
/// When there are no points, one has no finite place above zero, or the plotter fails.
pub fn scatter(points: &[Point], across: &str, up: &str) -> Result<String, ChartError> {
    let failed = |reason: String| ChartError { title: up.to_owned(), reason };
    if points.is_empty() {
        return Err(failed("expected points, got none".to_owned()));
    }
    let fits = |point: &&Point| point.x.is_finite() && point.x > 0.0 && point.y.is_finite();
    if let Some(wrong) = points.iter().find(|point| !fits(point)) {
        return Err(failed(format!("expected a place above zero, got {wrong:?}")));
    }
    let mut svg = String::new();
    plot(&mut svg, points, across, up).map_err(|error| failed(error.to_string()))?;
    Ok(inline(&svg))
}

fn plot(
    svg: &mut String,
    points: &[Point],
    across: &str,
    up: &str,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let axis = Axis::near(points.iter().map(|point| point.y).collect());
    let xs: Vec<f64> = points.iter().map(|point| point.x.log10()).collect();
    let (first, last) = xs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let margin = ((last - first) * 0.12).max(0.15);
    let (first, last) = (first - margin, last + margin);
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(ABOVE)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(first..last, axis.low..axis.high)?;
    let text = ("sans-serif", 27).into_font().color(&TEXT);
    let at = |h, v| text.pos(Pos::new(h, v));
    let (left, below) = (at(HPos::Right, VPos::Center), at(HPos::Center, VPos::Top));
    for (height, label) in &axis.ticks {
        let line = vec![(first, *height), (last, *height)];
        chart.draw_series([PathElement::new(line, GRID.stroke_width(2))])?;
        let label = Text::new(label.clone(), (-14, 0), left.clone());
        chart.draw_series([EmptyElement::at((first, *height)) + label])?;
    }
    for (place, label) in log_ticks(first, last) {
        let label = Text::new(label, (0, 14), below.clone());
        chart.draw_series([EmptyElement::at((place, axis.low)) + label])?;
    }
    let middle = f64::midpoint(first, last);
    chart.draw_series([
        EmptyElement::at((middle, axis.low)) + Text::new(across.to_owned(), (0, 50), below.clone())
    ])?;
    let corner = at(HPos::Left, VPos::Top);
    chart.draw_series([EmptyElement::at((first, axis.high)) + Text::new(up.to_owned(), (10, 0), corner)])?;

    let span = [f64::from(WIDTH as i32 - LEFT - RIGHT), f64::from(HEIGHT as i32 - ABOVE - BELOW)];
    let pixel = |point: &Point| {
        let x = (point.x.log10() - first) / (last - first) * span[0];
        let y = (axis.high - axis.place(point.y)) / (axis.high - axis.low) * span[1];
        [x, y]
    };
    let places: Vec<[f64; 2]> = points.iter().map(pixel).collect();
    let sides = sides(points, &places, span);
    for (index, (point, side)) in points.iter().zip(sides).enumerate() {
        let place = (point.x.log10(), axis.place(point.y));
        let style = at(side.anchor().0, side.anchor().1);
        let dot = Circle::new((0, 0), DOT, colour(index).filled());
        let label = Text::new(point.label.clone(), side.shift(), style);
        chart.draw_series([EmptyElement::at(place) + dot + label])?;
    }
    root.present()
}

/// Where a label stands beside its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Right,
    Left,
    Above,
    Below,
}

impl Side {
    fn anchor(self) -> (HPos, VPos) {
        match self {
            Self::Right => (HPos::Left, VPos::Center),
            Self::Left => (HPos::Right, VPos::Center),
            Self::Above => (HPos::Center, VPos::Bottom),
            Self::Below => (HPos::Center, VPos::Top),
        }
    }

    /// From the point to the label's anchor.
    fn shift(self) -> (i32, i32) {
        match self {
            Self::Right => (DOT + 9, 0),
            Self::Left => (-DOT - 9, 0),
            Self::Above => (0, -DOT - 6),
            Self::Below => (0, DOT + 6),
        }
    }

    /// The label's box `[left, top, right, bottom]`.
    fn label(self, [x, y]: [f64; 2], letters: usize) -> [f64; 4] {
        let width = letters as f64 * LETTER;
        let (dx, dy) = self.shift();
        let (x, y) = (x + f64::from(dx), y + f64::from(dy));
        let (left, top) = match self {
            Self::Right => (x, y - LINE / 2.0),
            Self::Left => (x - width, y - LINE / 2.0),
            Self::Above => (x - width / 2.0, y - LINE),
            Self::Below => (x - width / 2.0, y),
        };
        [left, top, left + width, top + LINE]
    }
}

/// A side for each label on which it lies over no point and no earlier label, as far as there is one.
fn sides(points: &[Point], places: &[[f64; 2]], [width, height]: [f64; 2]) -> Vec<Side> {
    let reach = f64::from(DOT) + 2.0;
    let mut taken: Vec<[f64; 4]> =
        places.iter().map(|[x, y]| [x - reach, y - reach, x + reach, y + reach]).collect();
    let mut sides = Vec::new();
    for (point, place) in points.iter().zip(places) {
        let letters = point.label.chars().count();
        let free = |side: &Side| {
            let [left, top, right, bottom] = side.label(*place, letters);
            let inside = left >= 0.0 && right <= width && top >= 0.0 && bottom <= height;
            let over = |b: &[f64; 4]| left < b[2] && b[0] < right && top < b[3] && b[1] < bottom;
            inside && !taken.iter().any(over)
        };
        let found = [Side::Right, Side::Left, Side::Above, Side::Below].into_iter().find(free);
        let side = found.unwrap_or(if place[0] > width / 2.0 { Side::Left } else { Side::Right });
        taken.push(side.label(*place, letters));
        sides.push(side);
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(label: &str, x: f64, y: f64) -> Point {
        Point { label: label.to_owned(), x, y }
    }

    #[test]
    fn every_point_has_its_name_and_markup_is_text() {
        let points = [point("ADD-XL", 0.09, 1040.0), point("<b>", 3.0, 990.0), point("SDXL", 2.9, 1000.0)];
        let svg = scatter(&points, "seconds", "rating").unwrap();
        assert_eq!(svg.matches("<circle").count(), 3);
        for part in ["ADD-XL", "SDXL", "&lt;b&gt;", "seconds", "rating", "\n1\n"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("<b>") && !svg.contains("xmlns") && !svg.contains("NaN"));
    }

    #[test]
    fn labels_that_would_lie_over_another_move() {
        let points = [point("a long name", 1.0, 1.0), point("another", 1.0, 1.0), point("third", 1.0, 1.0)];
        let sides = sides(&points, &[[500.0, 200.0], [530.0, 204.0], [470.0, 198.0]], [1000.0, 400.0]);
        let boxes: Vec<[f64; 4]> = sides
            .iter()
            .zip(&points)
            .zip([[500.0, 200.0], [530.0, 204.0], [470.0, 198.0]])
            .map(|((side, point), place)| side.label(place, point.label.len()))
            .collect();
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[..i] {
                assert!(a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3], "{sides:?}");
            }
        }
    }

    #[test]
    fn one_point_stands_alone_and_none_is_an_error() {
        assert!(scatter(&[point("one", 1e-3, 1000.0)], "s", "r").unwrap().contains("<circle"));
        assert!(scatter(&[], "s", "r").is_err());
        assert!(scatter(&[point("zero", 0.0, 1.0)], "s", "r").is_err());
    }
}
