//! Pretrains a tiny model for a few steps, watched by an observer, and samples it:
//! `cargo run --release -p add --example train`.
#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::ops::ControlFlow;

use add::{Pipeline, RecipeBuilder, Request, Training, plugins, recipe::Weights};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe = || {
        let backbone =
            plugins::backbones::Mini { channels: vec![16, 32], heads: 2, detail: 4, ..Default::default() };
        RecipeBuilder::new("tiny")
            .data(plugins::data::Emoji::new(32)?)
            .codec(plugins::codecs::Identity {})
            .text(plugins::text_encoders::Mini::default())
            .model(backbone, plugins::schedules::Cosine::default(), Weights::Random())
            .objective(plugins::methods::Diffusion::default())
            .sampling(plugins::samplers::Ddim::default(), 4)
            .set(|recipe| {
                recipe.batch = 8;
                recipe.run.steps = 100;
            })
            .build()
    };
    let folder = std::env::temp_dir().join(format!("add-example-{}", std::process::id()));
    let ending = Training::new(&recipe()?, &folder)
        .observe(|done, figures| {
            println!("{}", figures.to_json(done));
            if done < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .run()?;
    println!("{ending:?}");
    let pipeline = Pipeline::from_trained(recipe()?, folder.join("model.safetensors"))?;
    println!("{} picture", pipeline.generate(&Request::new("a dog face").seed(1))?.len());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
