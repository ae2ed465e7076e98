//! A look at the embedded pictures: `cargo run --release -p add-plugins-data --example show_emoji -- emoji.png`.

use std::{error::Error, path::PathBuf, sync::Arc};

use add_data::{Grid, Loader, pictures, write_png};
use add_plugin::{DataSource, Dataset, Split};
use burn::tensor::Device;
use data::Emoji;

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args_os().nth(1).unwrap_or_else(|| "emoji.png".into()).into();
    let mut shown = Vec::new();
    let mut captions = Vec::new();
    for split in [Split::Train, Split::TestPair, Split::TestConcept] {
        let data: Arc<dyn Dataset> = Emoji::new(32)?.open(split)?.into();
        let batch = Loader::new(data, 7, 8)?.load(0)?;
        shown.extend(pictures(&batch.pixels(&Device::flex())));
        captions.extend(batch.captions);
    }
    let grid = Grid::new(shown, 8)?
        .scale(4)
        .title("Embedded emoji at 32 px")
        .rows(["train", "test_pair: a known concept in a new style", "test_concept: a new concept"])
        .captions(captions);
    write_png(&path, &grid.draw(), &[("seed", "7")])?;
    Ok(())
}
