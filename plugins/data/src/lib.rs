//! Plugins: captioned pictures.

mod captions;
mod coco;
mod emoji;
mod folder_split;
mod image_folder;
mod list;
mod off;
mod parquet;
mod parquet_file;
mod repeats;
mod sample;
mod sidecars;
mod web_dataset;

pub use coco::Coco;
pub use emoji::{Emoji, Style};
pub use image_folder::{Captions, ImageFolder};
pub use list::Fields;
pub use off::Off;
pub use parquet::Parquet;
pub use repeats::Repeats;
pub use web_dataset::{CaptionMember, WebDataset};
