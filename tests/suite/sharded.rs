//! Ranks, here as threads, that share moments and averages: to the bit the run of one process that keeps all.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use add_core::{
    read::LoadedRecipe,
    recipe::OptimizerStates,
    train::{ADAPTERS, model_path, train_among},
};
use add_train::run::StartFrom;

use crate::{
    ranks::{go_on, on},
    runs::{Quiet, assert_same, from_file, go, recipe, student_with, teacher},
};

/// Two samples in each of four parts, whoever computes them.
const PARTS: [&str; 2] = ["gradient_accumulation=4", "replicas=1"];
/// Heads that normalise over a part.
const HEADS: &str = "objective.adversarial.heads=ProjectedHead(virtual_batch: 2)";

fn sharded(mut loaded: LoadedRecipe) -> LoadedRecipe {
    loaded.recipe.optimizer_states = OptimizerStates::Sharded;
    loaded
}

fn with(more: &[&str]) -> Vec<String> {
    PARTS.iter().chain(more).map(|&set| set.to_owned()).collect()
}

fn pretraining(steps: u64) -> LoadedRecipe {
    let more = ["objective.optimizer.cool_down=0", "preview.prompts=[\"a red apple\"]", "sampling.steps=2"];
    recipe("pretrain/emoji-teacher.ron", steps, &with(&more))
}

fn distillation(steps: u64, teacher: &Path, more: &[&str]) -> LoadedRecipe {
    student_with(steps, teacher, &[&PARTS[..], &[HEADS], more].concat())
}

/// Every file of a run but those that say where and when it was.
fn files(out: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let here: Vec<PathBuf> =
        fs::read_dir(out.join("samples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let made = [model_path(out), out.join(ADAPTERS)].into_iter().chain(here).filter(|path| path.is_file());
    let mut all: Vec<_> =
        made.map(|path| (path.strip_prefix(out).unwrap().to_owned(), fs::read(&path).unwrap())).collect();
    all.sort();
    all
}

/// Runs `make`'s recipe alone, and with shared states on so many ranks.
fn check(name: &str, ranks: &[usize], steps: u64, folder: &Path, make: &(dyn Fn() -> LoadedRecipe + Sync)) {
    let at = |who: &str| folder.join(format!("{name}-{who}"));
    go(&make(), &at("alone"), &StartFrom::Fresh);
    for &ranks in ranks {
        let out = at(&format!("{ranks}"));
        go_on(ranks, &|| sharded(make()), &out, &StartFrom::Fresh);
        assert_same(&at("alone"), &out, steps);
        let [alone, shared] = [files(&at("alone")), files(&out)];
        assert!(alone.len() > 1 && alone == shared, "{name}: pictures and models of {ranks} ranks");
    }
}

#[test]
fn two_and_four_ranks_with_a_share_each_make_the_run_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = folder.path().join("teacher-alone");
    // Two networks with one optimiser and one average, and previews of the average.
    check("teacher", &[2], 3, folder.path(), &|| pretraining(3));
    let previews = "preview=(prompts: [\"a red apple\"], steps: [1])";
    check("add", &[2, 4], 3, folder.path(), &|| {
        distillation(3, &teacher, &[previews, "objective.ema_home=Host"])
    });
    let adapter = "model.adapter=Lora(rank: 2, alpha: 4.0)";
    check("adapters", &[4], 2, folder.path(), &|| distillation(2, &teacher, &[adapter, previews]));
    let model = from_file(&model_path(&teacher));
    // A target network follows the average, which stays whole.
    let consistency = with(&[&model, "objective.optimizer.cool_down=0", previews]);
    check("consistency", &[2], 2, folder.path(), &|| {
        recipe("methods/emoji-consistency.ron", 2, &consistency)
    });
    // After two steps the averaged student becomes the teacher of the next stage.
    let halvings = "objective.halving=(from: 4, to: 2, steps: 2)";
    let stages =
        with(&[&model, "objective.guidance.steps=2", halvings, "objective.optimizer.warm_up=1", previews]);
    check("progressive", &[4], 4, folder.path(), &|| recipe("methods/emoji-progressive.ron", 4, &stages));
}

#[test]
fn a_run_goes_on_with_other_ranks_and_other_shares() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let run = |steps| distillation(steps, &at("teacher"), &[]);
    go(&run(5), &at("alone"), &StartFrom::Fresh);
    let out = at("to-and-fro");
    go_on(4, &|| sharded(run(1)), &out, &StartFrom::Fresh);
    go_on(2, &|| sharded(run(2)), &out, &StartFrom::Latest);
    go_on(2, &|| run(3), &out, &StartFrom::Latest);
    go_on(4, &|| sharded(run(4)), &out, &StartFrom::Latest);
    go(&sharded(run(5)), &out, &StartFrom::Latest);
    assert_same(&at("alone"), &out, 5);
}

#[test]
fn ranks_of_which_one_would_keep_all_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = on(2, |ranks| {
        let recipe = if ranks.rank() == 0 { sharded(pretraining(1)) } else { pretraining(1) };
        let stop = AtomicBool::new(false);
        let refused = train_among(ranks, &recipe, folder.path(), &StartFrom::Fresh, &mut Quiet, &stop);
        refused.unwrap_err().to_string()
    });
    assert!(said.iter().all(|text| text.contains("rank 1: expected the SHA-256 of the recipe")), "{said:?}");
}
