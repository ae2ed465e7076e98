//! The same captions by every model, side by side.

use add_data::{Grid, RgbImage, area_resize, enlarge};
use add_recipe::data_error;

use crate::error::CoreError;

/// Most captions that are shown.
const ROWS: usize = 6;
/// Side of a shown picture, in pixels: smaller ones are enlarged block by block, larger ones reduced.
const SIDE: u32 = 128;

/// A column each model, a row each caption.
#[derive(Default)]
pub(super) struct Compared {
    models: Vec<String>,
    captions: Vec<String>,
    /// By models, then captions.
    pictures: Vec<Vec<RgbImage>>,
}

impl Compared {
    /// Begins the column of a model; what [`add`](Self::add) calls it.
    pub(super) fn column(&mut self, model: &str) -> usize {
        self.models.push(model.to_owned());
        self.pictures.push(Vec::new());
        self.pictures.len() - 1
    }

    /// Shows the picture of caption `at` in a column, if that caption is shown, or stands for one that has no picture.
    pub(super) fn add(&mut self, column: usize, at: usize, captions: &[String], picture: &RgbImage) {
        let n = captions.len().min(ROWS);
        let column = &mut self.pictures[column];
        if column.len() < n && at >= column.len() * captions.len() / n {
            if self.captions.len() == column.len() {
                self.captions.push(captions[at].clone());
            }
            column.push(shown(picture));
        }
    }

    /// The whole; `None` where nothing was made.
    pub(super) fn draw(self) -> Result<Option<RgbImage>, CoreError> {
        let rows = self.pictures.iter().map(Vec::len).min().unwrap_or(0);
        if rows == 0 {
            return Ok(None);
        }
        let cells = (0..rows).flat_map(|row| self.pictures.iter().map(move |column| column[row].clone()));
        let grid = Grid::new(cells.collect(), self.models.len()).map_err(data_error)?;
        Ok(Some(grid.columns(self.models).rows(self.captions).draw()))
    }
}

fn shown(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let enlarged = if width < SIDE { enlarge(picture, SIDE / width.max(1)) } else { picture.clone() };
    if (width, height) == (SIDE, SIDE) { enlarged } else { area_resize(&enlarged, SIDE, SIDE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_spread_and_pictures_brought_to_one_size() {
        let captions: Vec<String> = (0..13).map(|i| format!("caption {i}")).collect();
        let mut compared = Compared::default();
        for side in [32, 200] {
            let column = compared.column("a model");
            for at in 0..13 {
                compared.add(column, at, &captions, &RgbImage::new(side, side));
            }
        }
        assert_eq!(
            compared.captions,
            ["caption 0", "caption 2", "caption 4", "caption 6", "caption 8", "caption 10"]
        );
        assert!(compared.pictures.iter().all(|column| column.len() == ROWS));
        assert!(compared.draw().expect("a grid").expect("pictures").width() > 2 * SIDE);
        assert!(Compared::default().draw().expect("nothing").is_none());
    }
}
