//! Samples the shipped student: `cargo run --release -p add --example sample`, from the repository's root.

use add::{Pipeline, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipeline = Pipeline::from_recipe(add::read("configs/emoji.ron")?)?;
    for (i, picture) in
        pipeline.generate(&Request::new("a red apple, noto emoji").count(4))?.iter().enumerate()
    {
        picture.save(std::env::temp_dir().join(format!("apple-{i}.png")))?;
    }
    Ok(())
}
