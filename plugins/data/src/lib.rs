//! Plugins: captioned pictures.

mod emoji;
mod image_folder;

pub use emoji::{Emoji, Style};
pub use image_folder::{Captions, ImageFolder};
