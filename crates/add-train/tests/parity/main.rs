//! Whole training steps: the production `AddTrainer::step` in float64 against the same run in PyTorch.

mod comparison;
mod fixture;
mod networks;
mod pure_noise;
mod run;
mod shared_fakes;

#[test]
fn five_steps_with_the_exponential_weighting_are_pytorchs() {
    run::check("add_exp", 1);
}

#[test]
fn five_steps_with_guided_score_distillation_and_two_teacher_steps_are_pytorchs() {
    run::check("add_sds_cfg_2steps", 1);
}

/// Every part is the whole batch of the fixture, so that the heads' groups stay what they are; means do not notice.
#[test]
fn a_batch_in_two_parts_takes_the_same_steps() {
    run::check("add_exp", 2);
    run::check("add_sds_cfg_2steps", 2);
}
