//! The last timestep, where the student is given pure noise. The recordings hold one way of it; the other choices of a
//! recipe are pinned by what must not matter.

use add_plugin::{Latents, Pixels, Timesteps};
use add_train::report::StepReport;
use burn::tensor::Tensor;
use methods::add::{AddInputs, AddTrainer, ImageCondition, Terminal};

use super::{
    recording::Recording,
    run::{Run, leaky},
    shipped,
};

/// Changes a step before it is taken.
type Change<'a> = &'a dyn Fn(&mut AddTrainer<'_>, &mut AddInputs<'static>);

/// The figures of a first step in which every sample is at `s`.
fn step_at(s: usize, changes: &[Change<'_>]) -> StepReport {
    let fixture = shipped("add_exp");
    let recording = Recording::read(&fixture).expect("a run");
    let mut run = Run::new(&recording, 1).expect("networks");
    let mut inputs = run.inputs(0).expect("inputs");
    inputs.generator.s = Timesteps::same(s as f64, inputs.batch());
    inputs.discriminator = None;
    for change in changes {
        change(&mut run.trainer, &mut inputs);
    }
    run.step(vec![inputs])
}

/// 0-based, out of 1000.
const LAST: usize = 999;
const EARLIER: usize = 749;

#[test]
fn the_heads_know_the_image_embedding_only_where_the_input_holds_a_signal() {
    let matters = |s: usize, condition: ImageCondition| {
        let set: Change = &|trainer, _| trainer.method.options.image_condition = condition;
        let negative: Change = &|_, inputs| inputs.embedding_view = Box::new(Tensor::neg);
        step_at(s, &[set]).to_json(0) != step_at(s, &[set, negative]).to_json(0)
    };
    assert!(!matters(LAST, ImageCondition::WhereInformed));
    assert!(matters(EARLIER, ImageCondition::WhereInformed));
    assert!(matters(LAST, ImageCondition::Always));
}

#[test]
fn a_replaced_input_knows_nothing_of_the_picture() {
    let matters = |s: usize, terminal: Terminal| {
        // A schedule with signal left at the end; without the discriminator nothing else sees the picture.
        let set: Change = &|trainer, _| {
            trainer.method.student_diffusion = leaky().expect("betas");
            trainer.method.options.terminal = terminal;
            trainer.method.options.adversarial_weight = 0.0;
        };
        let negative: Change = &|_, inputs| {
            inputs.pixels = Pixels(inputs.pixels.0.clone().neg());
            inputs.x_0 = Latents(inputs.x_0.0.clone().neg());
        };
        step_at(s, &[set]).to_json(0) != step_at(s, &[set, negative]).to_json(0)
    };
    assert!(!matters(LAST, Terminal::InputReplacement));
    assert!(matters(EARLIER, Terminal::InputReplacement));
    assert!(matters(LAST, Terminal::Schedule));
}
