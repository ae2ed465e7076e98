//! `add plugins`: what this binary links.

use clap::Args;

use super::print;

/// Arguments of `plugins`.
#[derive(Debug, Args)]
pub(crate) struct Plugins {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Plugins {
    pub(crate) fn run(&self) -> u8 {
        let listings = add_plugin::listings();
        if self.json {
            print(&serde_json::to_string_pretty(&listings).unwrap_or_default());
        } else {
            for row in listings {
                print(&format!("{:<16} {:<18} {}", row.family, row.name, row.source));
            }
        }
        0
    }
}
