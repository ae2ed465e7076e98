//! Runs that several ranks share, here as threads: to the bit those of one process.

use std::{path::Path, rc::Rc, sync::atomic::AtomicBool};

use add_core::{error::CoreError, read::LoadedRecipe, train::train_among};
use add_train::{
    ranks::{Collective, Threads, is_first},
    run::{Ending, StartFrom},
};

use crate::runs::{Quiet, StopAfter, assert_same, go, student, teacher};

/// Two microbatches of eight, whoever computes them.
fn in_two_rounds(mut loaded: LoadedRecipe) -> LoadedRecipe {
    (loaded.recipe.batch, loaded.recipe.replicas, loaded.recipe.gradient_accumulation) = (16, 1, 2);
    loaded
}

/// What `f` gives on each of two ranks.
fn on_two<R: Send>(f: impl Fn(&Rc<dyn Collective>) -> R + Sync) -> Vec<R> {
    on(2, f)
}

/// What `f` gives on each of so many ranks.
pub(super) fn on<R: Send>(ranks: usize, f: impl Fn(&Rc<dyn Collective>) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let f = &f;
        let start = |ranks: Threads| scope.spawn(move || f(&(Rc::new(ranks) as Rc<dyn Collective>)));
        let handles: Vec<_> = Threads::new(ranks).into_iter().map(start).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// Runs `make`'s recipe on two ranks; only the first may touch `out`.
fn go_on_two(make: &(dyn Fn() -> LoadedRecipe + Sync), out: &Path, start: &StartFrom) {
    go_on(2, make, out, start);
}

/// The same on so many ranks.
pub(super) fn go_on(ranks: usize, make: &(dyn Fn() -> LoadedRecipe + Sync), out: &Path, start: &StartFrom) {
    let endings = on(ranks, |ranks| {
        let nowhere = out.with_extension("nowhere");
        let out = if is_first(&**ranks) { out } else { &nowhere };
        let ending = train_among(ranks, &make(), out, start, &mut Quiet, &AtomicBool::new(false)).unwrap();
        assert!(!nowhere.exists(), "the first rank alone writes");
        ending
    });
    assert!(endings.iter().all(|ending| *ending == Ending::Finished));
}

#[test]
fn two_ranks_make_the_run_of_two_rounds_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pretraining = |steps| in_two_rounds(teacher(steps));
    go(&pretraining(3), &at("teacher"), &StartFrom::Fresh);
    go_on_two(&|| pretraining(3), &at("teacher-shared"), &StartFrom::Fresh);
    assert_same(&at("teacher"), &at("teacher-shared"), 3);

    let distillation = |steps| in_two_rounds(student(steps, &at("teacher")));
    go(&distillation(4), &at("alone"), &StartFrom::Fresh);
    go_on_two(&|| distillation(4), &at("shared"), &StartFrom::Fresh);
    assert_same(&at("alone"), &at("shared"), 4);

    // From one process to two ranks and back.
    go(&distillation(2), &at("to-and-fro"), &StartFrom::Fresh);
    go_on_two(&|| distillation(3), &at("to-and-fro"), &StartFrom::Latest);
    go(&distillation(4), &at("to-and-fro"), &StartFrom::Latest);
    assert_same(&at("alone"), &at("to-and-fro"), 4);
}

#[test]
fn a_stop_that_one_rank_hears_of_stops_both_at_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let endings = on_two(|ranks| {
        let stop = AtomicBool::new(false);
        let after = if is_first(&**ranks) { u64::MAX } else { 2 };
        let recipe = in_two_rounds(teacher(5));
        train_among(ranks, &recipe, folder.path(), &StartFrom::Fresh, &mut StopAfter(after, &stop), &stop)
            .unwrap()
    });
    assert_eq!(endings, [Ending::Stopped(2); 2]);
}

#[test]
fn a_rank_with_another_recipe_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = on_two(|ranks| {
        let mut recipe = in_two_rounds(teacher(1));
        recipe.recipe.seed += ranks.rank() as u64;
        let stop = AtomicBool::new(false);
        let refused = train_among(ranks, &recipe, folder.path(), &StartFrom::Fresh, &mut Quiet, &stop);
        refused.map_err(|error: CoreError| error.to_string()).unwrap_err()
    });
    assert!(said.iter().all(|text| text.contains("rank 1: expected the SHA-256 of the recipe")), "{said:?}");
}

#[test]
fn rounds_that_cannot_be_shared_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = on_two(|ranks| {
        let stop = AtomicBool::new(false);
        let refused = train_among(ranks, &teacher(1), folder.path(), &StartFrom::Fresh, &mut Quiet, &stop);
        let error = refused.unwrap_err();
        (error.is_usage(), error.to_string())
    });
    assert!(
        said.iter().all(|(usage, text)| *usage && text.contains("multiple of the 2 ranks, got 1")),
        "{said:?}"
    );
}
