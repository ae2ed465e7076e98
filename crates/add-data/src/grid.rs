//! Pictures side by side, with captions.

use image::{GenericImage, Rgb, RgbImage};

use crate::{DataError, enlarge, label::Label};

const PAGE: [u8; 3] = [236, 236, 232];
const INK: [u8; 3] = [40, 40, 44];
const QUIET: [u8; 3] = [110, 110, 116];
/// Space around everything and between the cells, in pixels.
const MARGIN: u32 = 10;
const GAP: u32 = 6;
/// Height of letters, in pixels.
const TEXT: f32 = 15.0;
const TITLE: f32 = 20.0;
/// Width of the captions beside the rows, in pixels.
const BESIDE: u32 = 170;
/// Lines of a caption above a column or below a cell.
const LINES: usize = 3;

/// Pictures of one size in rows of `columns`, each pixel enlarged to a block.
///
/// ```
/// # use add_data::{Grid, RgbImage};
/// let grid = Grid::new(vec![RgbImage::new(32, 32); 8], 4)?.scale(3).rows(["one step", "four steps"]);
/// assert!(grid.draw().width() > 4 * 3 * 32);
/// # Ok::<(), add_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Grid {
    pictures: Vec<RgbImage>,
    columns: usize,
    scale: u32,
    title: String,
    rows: Vec<String>,
    heads: Vec<String>,
    cells: Vec<String>,
}

impl Grid {
    /// Pictures in rows of `columns`, left to right, then down.
    ///
    /// # Errors
    /// When there is no picture or no column, or the pictures differ in size.
    pub fn new(pictures: Vec<RgbImage>, columns: usize) -> Result<Self, DataError> {
        let expected = pictures.first().filter(|_| columns > 0).ok_or(DataError::EmptyGrid)?.dimensions();
        if let Some(other) = pictures.iter().find(|p| p.dimensions() != expected) {
            return Err(DataError::GridSize { expected, got: other.dimensions() });
        }
        let columns = columns.min(pictures.len());
        let none = Vec::new;
        Ok(Self {
            pictures,
            columns,
            scale: 1,
            title: String::new(),
            rows: none(),
            heads: none(),
            cells: none(),
        })
    }

    /// Each pixel as a block of `scale` by `scale` (at least 1).
    #[must_use]
    pub fn scale(mut self, scale: u32) -> Self {
        self.scale = scale.max(1);
        self
    }

    /// A line above everything.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Captions beside the rows, from the top.
    #[must_use]
    pub fn rows<S: Into<String>>(mut self, captions: impl IntoIterator<Item = S>) -> Self {
        self.rows = captions.into_iter().map(Into::into).collect();
        self
    }

    /// Captions above the columns, from the left.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, captions: impl IntoIterator<Item = S>) -> Self {
        self.heads = captions.into_iter().map(Into::into).collect();
        self
    }

    /// Captions below the pictures, in their order.
    #[must_use]
    pub fn captions<S: Into<String>>(mut self, captions: impl IntoIterator<Item = S>) -> Self {
        self.cells = captions.into_iter().map(Into::into).collect();
        self
    }

    /// The whole as one picture.
    pub fn draw(&self) -> RgbImage {
        let (label, title) = (Label::new(TEXT), Label::new(TITLE));
        let (width, height) = self.pictures[0].dimensions();
        let (cell_w, cell_h) = (width * self.scale, height * self.scale);
        let wrap = |text: &str| label.wrap(text, cell_w as f32, LINES);
        let strip = |texts: &[String]| {
            let lines = texts.iter().map(|text| wrap(text).len()).max().unwrap_or(0) as u32;
            if lines == 0 { 0 } else { lines * label.line() + GAP }
        };
        let (head, below) = (strip(&self.heads), strip(&self.cells));
        let left = MARGIN + if self.rows.is_empty() { 0 } else { BESIDE };
        let heads_top = MARGIN + if self.title.is_empty() { 0 } else { title.line() + GAP };
        let top = heads_top + head;
        let (step_x, step_y) = (cell_w + GAP, cell_h + below + GAP);
        let (columns, rows) = (self.columns as u32, self.pictures.len().div_ceil(self.columns) as u32);
        let page_w = left + columns * step_x - GAP + MARGIN;
        let page_h = top + rows * step_y - GAP + MARGIN;
        let mut page = RgbImage::from_pixel(page_w, page_h, Rgb(PAGE));

        let lines = |page: &mut RgbImage, x: u32, mut y: u32, lines: Vec<String>, ink| {
            for line in lines {
                label.draw(page, (x as f32, y as f32), &line, ink);
                y += label.line();
            }
        };
        for line in title.wrap(&self.title, (page_w - 2 * MARGIN) as f32, 1) {
            title.draw(&mut page, (MARGIN as f32, MARGIN as f32), &line, INK);
        }
        for (column, text) in (0..columns).zip(&self.heads) {
            lines(&mut page, left + column * step_x, heads_top, wrap(text), INK);
        }
        for (row, text) in (0..rows).zip(&self.rows) {
            let fit = (cell_h / label.line()).max(1) as usize;
            let wrapped = label.wrap(text, (BESIDE - 2 * GAP) as f32, fit);
            // Level with the middle of the pictures.
            let slack = cell_h.saturating_sub(wrapped.len() as u32 * label.line());
            lines(&mut page, MARGIN, top + row * step_y + slack / 2, wrapped, INK);
        }
        for (i, picture) in (0u32..).zip(&self.pictures) {
            let (x, y) = (left + i % columns * step_x, top + i / columns * step_y);
            page.copy_from(&enlarge(picture, self.scale), x, y).expect("the page was made to hold it");
            if let Some(text) = self.cells.get(i as usize) {
                lines(&mut page, x, y + cell_h + GAP / 2, wrap(text), QUIET);
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(n: usize) -> Vec<RgbImage> {
        (0..n).map(|i| RgbImage::from_pixel(2, 2, Rgb([i as u8; 3]))).collect()
    }

    #[test]
    fn cells_lie_row_by_row() {
        let page = Grid::new(plain(5), 3).expect("alike").scale(10).draw();
        assert_eq!(page.dimensions(), (2 * MARGIN + 3 * 20 + 2 * GAP, 2 * MARGIN + 2 * 20 + GAP));
        for i in 0..5u32 {
            let (x, y) = (MARGIN + i % 3 * (20 + GAP), MARGIN + i / 3 * (20 + GAP));
            assert_eq!(page.get_pixel(x, y).0, [i as u8; 3]);
            assert_eq!(page.get_pixel(x + 19, y + 19).0, [i as u8; 3]);
            assert_eq!(page.get_pixel(x + 20, y).0, PAGE);
        }
    }

    #[test]
    fn captions_make_room_for_themselves() {
        let bare = Grid::new(plain(4), 2).expect("alike").scale(20);
        let size = |grid: &Grid| grid.draw().dimensions();
        let (width, height) = size(&bare);
        assert_eq!(size(&bare.clone().rows(["a", "b"])), (width + BESIDE, height));
        assert!(size(&bare.clone().columns(["a", "b"])).1 > height);
        assert!(size(&bare.clone().captions(["a"; 4])).1 > height + 20);
        assert!(size(&bare.clone().title("t")).1 > height);
    }

    #[test]
    fn unlike_or_missing_pictures_are_errors() {
        let mut pictures = plain(2);
        pictures.push(RgbImage::new(3, 2));
        assert!(matches!(Grid::new(pictures, 2), Err(DataError::GridSize { got: (3, 2), .. })));
        assert!(matches!(Grid::new(Vec::new(), 2), Err(DataError::EmptyGrid)));
        assert!(matches!(Grid::new(plain(1), 0), Err(DataError::EmptyGrid)));
    }
}
