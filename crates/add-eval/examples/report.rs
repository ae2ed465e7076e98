//! Writes `report.html` of a run folder: `cargo run --release -p add-eval --example report -- runs/name`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = std::env::args_os().nth(1).map(PathBuf::from).ok_or("expected the path of a run folder")?;
    add_eval::report::write_report(&run, &add_eval::report::Presentation::default())?;
    Ok(())
}
