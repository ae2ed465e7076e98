//! Charts as SVG, for a page or as a file of their own.
//!
//! A chart for a page names its colours by placeholders that the page's style sheet maps, so one drawing serves light and dark;
//! [`standalone`] puts the light ones in.

mod axis;
mod curves;
mod number;
mod scatter;
mod smooth;

use thiserror::Error;

pub use self::{
    axis::{Scale, short},
    curves::{COLOURS, Curve, Drawing, draw},
    number::format_number,
    scatter::{Point, scatter},
};

/// The style sheet of the colours and typefaces of everything that this project shows.
pub const PALETTE: &str = include_str!("palette.css");

/// A chart could not be drawn.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("chart `{title}`: {reason}")]
pub struct ChartError {
    /// The chart.
    pub title: String,
    /// What is wrong.
    pub reason: String,
}

/// A chart of this crate as a file that a viewer of pictures shows: with its name space and the palette's light colours.
pub fn standalone(svg: &str) -> String {
    let names = [(1, "soft".to_owned()), (2, "line".to_owned())];
    let curves = (0..COLOURS).map(|index| (0x10 + index, format!("c{index}")));
    let mut text = svg.replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1);
    for (placeholder, name) in names.into_iter().chain(curves) {
        if let Some(colour) = light(&name) {
            text = text.replace(&format!("\"#{placeholder:06X}\""), &format!("\"{colour}\""));
        }
    }
    text
}

/// The light one of a colour of the palette.
fn light(name: &str) -> Option<&'static str> {
    let (_, rest) = PALETTE.split_once(&format!("--{name}: light-dark("))?;
    rest.split_once(',').map(|(colour, _)| colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_palettes_colours_and_no_placeholder() {
        let points: Vec<Point> =
            (1..=COLOURS).map(|i| Point { label: format!("p{i}"), x: i as f64, y: i as f64 }).collect();
        let page = scatter(&points, "seconds", "distance").unwrap();
        let file = standalone(&page);
        assert!(
            page.contains("\"#000010\"") && page.contains("\"#000017\"") && page.contains("\"#000001\""),
            "{page}"
        );
        assert!(!file.contains("\"#0000"), "{file}");
        assert!(file.starts_with("<svg xmlns=") && file.contains(light("c7").unwrap()), "{file}");
    }
}
