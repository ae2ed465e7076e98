//! `add merge`: LoRAs merged into a model of other programs, in that model's own files.

use std::path::PathBuf;

use add_core::lora::merge;
use clap::Args;

use super::print;
use crate::{Outcome, progress::Download};

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// A diffusers folder, a single file of Stable Diffusion, or the file of one network.
    model: PathBuf,
    /// A LoRA, LoHa or LoKr, with how much it counts [default: 1]; may be repeated.
    #[arg(long, value_name = "PLACE[:SCALE]", required = true)]
    lora: Vec<String>,
    /// The new folder or file. Tensors keep their number types.
    #[arg(long)]
    out: PathBuf,
}

impl Merge {
    pub(crate) fn run(&self) -> Outcome {
        merge(&self.model, &self.lora, &self.out, &mut Download::new())?;
        print(&self.out.display().to_string());
        Ok(0)
    }
}
