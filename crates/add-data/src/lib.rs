//! Samples: decoding with limits, epoch order, batches loaded in the background, picture grids.
//!
//! Nothing here knows a data set: the `DataSource` plugins read pictures with [`decode_rgb`] and [`square`], the
//! trainer takes its batches from a [`Feed`], whoever shows pictures draws a [`Grid`] and writes it with
//! [`write_png`].

mod bad_samples;
mod batch;
mod colour;
mod decode;
mod error;
mod grid;
mod jpeg;
mod keep;
mod label;
mod loader;
mod order;
mod picture;
mod picture_file;
mod picture_folder;
mod plain_json;
mod png_file;
mod prompts;
mod resize;
mod tiff_file;
mod unread;

pub use bad_samples::BadSamples;
pub use batch::{Batch, Skipped};
pub use decode::{Head, MAX_DECODED_BYTES, MAX_SIDE, SUFFIXES, decode_rgb, head};
pub use error::DataError;
pub use grid::Grid;
pub use image::RgbImage;
pub use keep::Keep;
pub use loader::{Batches, Feed, Loader};
pub use order::EpochOrder;
pub use picture::{from_planes, pictures, to_planes};
pub use picture_file::{PictureFormat, encode_picture, picture_text, write_picture};
pub use picture_folder::{MAX_PICTURE_FILE, captions_of, picture_files, read_head, read_picture};
pub use plain_json::plain_json;
pub use png_file::{encode_png, png_text, write_png};
pub use prompts::{Prompt, read_prompts};
pub use resize::{area_resize, enlarge, filling, square};
pub use unread::UNREAD_SUFFIXES;
