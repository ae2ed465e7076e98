//! Plugins: captioned pictures.

mod emoji;
mod image_folder;
mod off;

pub use emoji::{Emoji, Style};
pub use image_folder::{Captions, ImageFolder};
pub use off::Off;
