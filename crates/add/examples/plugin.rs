//! A weighting of one's own in a recipe: `cargo run --release -p add --example plugin`, from the repository's root.
#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use add::plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// `c(t) = sigma_t`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoiseLevel {}

impl Weighting for NoiseLevel {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        schedule.sigma(t)
    }
}

inventory::submit!(Entry::weighting::<NoiseLevel>("NoiseLevel", "an example"));

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("configs/emoji.ron")?;
    let recipe = add::parse(&text.replace("Exponential()", "NoiseLevel()"), "emoji with another weighting")?;
    println!("{}", add::show(&recipe.recipe));
    Ok(())
}
