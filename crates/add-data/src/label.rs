//! Captions drawn into a picture, in an embedded Roboto.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScaleFont, ScaleFont};
use image::{Rgb, RgbImage};

/// Roboto Regular, reduced to Latin; see `assets/NOTICE.txt`.
static ROBOTO: &[u8] = include_bytes!("../assets/roboto-latin.ttf");

/// A font at one size.
pub(crate) struct Label {
    font: PxScaleFont<&'static FontRef<'static>>,
}

impl Label {
    /// Letters `height` pixels high from the lowest descender to the highest ascender.
    pub(crate) fn new(height: f32) -> Self {
        static FONT: OnceLock<FontRef<'static>> = OnceLock::new();
        let font = FONT.get_or_init(|| FontRef::try_from_slice(ROBOTO).expect("the embedded font is whole"));
        Self { font: font.as_scaled(height) }
    }

    /// Distance from one line to the next, in pixels.
    pub(crate) fn line(&self) -> u32 {
        (self.font.height() * 1.12).ceil() as u32
    }

    /// Width of `text` on one line, in pixels.
    pub(crate) fn width(&self, text: &str) -> f32 {
        text.chars().map(|c| self.font.h_advance(self.font.glyph_id(c))).sum()
    }

    /// `text` in at most `lines` lines of at most `width` pixels; what does not fit ends in an ellipsis.
    pub(crate) fn wrap(&self, text: &str, width: f32, lines: usize) -> Vec<String> {
        let mut wrapped: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match wrapped.last_mut() {
                Some(line) if self.width(line) + self.width(" ") + self.width(word) <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => wrapped.push(word.to_owned()),
            }
        }
        let more = wrapped.len() > lines;
        wrapped.truncate(lines);
        let last = wrapped.len().saturating_sub(1);
        for (i, line) in wrapped.iter_mut().enumerate() {
            if (more && i == last) || self.width(line) > width {
                self.shorten(line, width);
            }
        }
        wrapped
    }

    fn shorten(&self, line: &mut String, width: f32) {
        while !line.is_empty() && self.width(line) + self.width("…") > width {
            line.pop();
        }
        line.truncate(line.trim_end_matches([' ', ',']).len());
        line.push('…');
    }

    /// Draws one line with its upper left corner at `(x, y)`; what falls outside of the picture is left out.
    pub(crate) fn draw(&self, picture: &mut RgbImage, (x, y): (f32, f32), text: &str, ink: [u8; 3]) {
        let mut pen = x;
        for c in text.chars() {
            let mut glyph = self.font.scaled_glyph(c);
            let advance = self.font.h_advance(glyph.id);
            glyph.position = ab_glyph::point(pen, y + self.font.ascent());
            pen += advance;
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, cover| {
                let (px, py) = (corner.x + dx as f32, corner.y + dy as f32);
                if px < 0.0 || py < 0.0 {
                    return;
                }
                if let Some(Rgb(pixel)) = picture.get_pixel_mut_checked(px as u32, py as u32) {
                    for (value, ink) in pixel.iter_mut().zip(ink) {
                        let (from, to) = (f32::from(*value), f32::from(ink));
                        *value = (from + (to - from) * cover.clamp(0.0, 1.0)).round() as u8;
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_to_their_width_and_number() {
        let label = Label::new(14.0);
        let text = "grinning face with smiling eyes, happy, laugh, lol, glossy 3d emoji";
        let lines = label.wrap(text, 100.0, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| label.width(line) <= 100.0), "{lines:?}");
        assert!(lines[2].ends_with('…'), "{lines:?}");
        assert_eq!(label.wrap(text, 1e6, 3), [text]);
    }

    #[test]
    fn a_long_word_is_cut() {
        let label = Label::new(14.0);
        let lines = label.wrap("incomprehensibilities", 40.0, 2);
        assert!(lines.len() == 1 && label.width(&lines[0]) <= 40.0 && lines[0].ends_with('…'), "{lines:?}");
        assert!(label.wrap("", 40.0, 2).is_empty());
    }

    #[test]
    fn text_leaves_ink_and_stays_inside() {
        let mut picture = RgbImage::from_pixel(40, 16, Rgb([255; 3]));
        Label::new(14.0).draw(&mut picture, (30.0, -3.0), "Wide text λ ≤ 2", [0, 0, 0]);
        let dark = |p: &&Rgb<u8>| p.0[0] < 128;
        assert!(picture.pixels().filter(dark).count() > 10);
        assert!(picture.enumerate_pixels().filter(|(x, _, _)| *x < 29).all(|(_, _, p)| p.0[0] == 255));
    }
}
