//! Plugins: captioned pictures.

mod coco;
mod emoji;
mod image_folder;
mod off;
mod sample;
mod web_dataset;

pub use coco::Coco;
pub use emoji::{Emoji, Style};
pub use image_folder::{Captions, ImageFolder};
pub use off::Off;
pub use web_dataset::{CaptionMember, WebDataset};
