//! Trains the judge on the split `train` of the embedded emoji pictures and writes `assets/judge.safetensors`, which is
//! embedded as `gzip -9 --no-name` or zopfli packs it.
//!
//! `cargo run --release -p add-plugins-features --example train_judge [steps]`: about five minutes on one core.
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

mod training;

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use add_data::Loader;
use add_nn::layers::Init;
use add_plugin::{DataSource, Dataset, Draw, Purpose, Split, frozen};
use add_weights::{Precision, named_tensors, save};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use data::Emoji;
use features::judge::{Classes, JudgeNet, LABELLINGS, SIDE};
use rand::{Rng, RngExt};
use training::AdamW;

const SEED: u64 = 2;
const STEPS: u64 = 1_800;
const BATCH: usize = 64;
const PEAK_LR: f64 = 2.5e-3;
const WARM_UP: u64 = 60;
const WEIGHT_DECAY: f64 = 0.1;
const DROPOUT: f64 = 0.3;
/// Share of the target that is spread over all classes.
const SMOOTHING: f64 = 0.1;

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(STEPS), |arg| arg.parse())?;
    let train: Arc<dyn Dataset> = Emoji::new(SIDE)?.open(Split::Train)?.into();
    let classes =
        Classes::new(LABELLINGS.map(|name| (0..train.len()).map(|i| label(&*train, i, name)).collect()));
    let device = Device::flex();
    let mut network = JudgeNet::new(classes.counts(), &Init::new(SEED, &device.clone().autodiff()));
    let mut optimiser = AdamW::new(PEAK_LR, WARM_UP, steps, WEIGHT_DECAY);
    let started = Instant::now();
    let batches = Loader::new(train.clone(), SEED, BATCH)?.stream(0, 1);
    for (step, batch) in (0..steps).zip(batches) {
        let mut batch = batch?;
        for (position, picture) in batch.pixels.chunks_mut(3 * SIDE * SIDE).enumerate() {
            let draw = Draw { seed: SEED, step, index: step * BATCH as u64 + position as u64 };
            augment(picture, &mut draw.rng(Purpose::AugmentReal));
        }
        let features = network.features(batch.pixels(&device).0.autodiff());
        let mut rng = Draw { seed: SEED, step, index: 0 }.rng(Purpose::Test);
        // What is drawn would be learnt by heart; how it is drawn has too few numbers for that.
        let [what, how] = features;
        let features = [dropout(what, &mut rng), how];
        let losses: Vec<Tensor<1>> = network
            .answers(features)
            .into_iter()
            .enumerate()
            .map(|(l, logits)| {
                let class = |&i: &usize| classes.index(l, &label(&*train, i, LABELLINGS[l]));
                cross_entropy(logits, batch.indices.iter().filter_map(class).collect())
            })
            .collect();
        let loss = losses.iter().cloned().reduce(|a, b| a + b).ok_or("no answers")?;
        optimiser.step("judge", &mut network, &mut loss.backward(), step);
        if step % 100 == 99 {
            let losses: Vec<f32> = losses.iter().map(|l| l.clone().into_scalar::<f32>()).collect();
            println!("step {} {losses:.3?} {:.0} s", step + 1, started.elapsed().as_secs_f64());
        }
    }
    let network = frozen(&network);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/judge.safetensors");
    save(&path, &named_tensors(&network), Precision::F16, &classes.to_metadata())?;
    for split in [Split::Train, Split::TestPair, Split::TestConcept] {
        report(&network, &classes, split)?;
    }
    Ok(())
}

fn label(data: &dyn Dataset, index: usize, labelling: &str) -> String {
    let labels = data.labels(index);
    labels.into_iter().find(|(name, _)| *name == labelling).map(|(_, label)| label).unwrap_or_default()
}

/// Mean over the batch of `-(1 - s) log p(target) - s mean log p`, `logits: [B, C]`.
fn cross_entropy(logits: Tensor<2>, targets: Vec<usize>) -> Tensor<1> {
    let batch = targets.len();
    let targets: Vec<i64> = targets.into_iter().map(|t| t as i64).collect();
    let targets = Tensor::<2, Int>::from_data(
        TensorData::new(targets, [batch, 1]),
        &logits.device().without_autodiff(),
    );
    let log_p = activation::log_softmax(logits, 1);
    let of_target = log_p.clone().gather(1, targets.autodiff()).mean();
    (of_target * (1.0 - SMOOTHING) + log_p.mean() * SMOOTHING).neg()
}

/// Sets a share of the features to zero and scales the rest up.
fn dropout(features: Tensor<2>, rng: &mut impl Rng) -> Tensor<2> {
    let keep = 1.0 / (1.0 - DROPOUT) as f32;
    let [b, c] = features.dims();
    let mask: Vec<f32> = (0..b * c).map(|_| if rng.random::<f64>() < DROPOUT { 0.0 } else { keep }).collect();
    let mask = Tensor::<2>::from_data(TensorData::new(mask, [b, c]), &features.device().without_autodiff());
    features * mask
}

/// Moves and scales the picture on white, changes its contrast and colours, softens it and adds noise.
fn augment(picture: &mut [f32], rng: &mut impl Rng) {
    let side = SIDE as f32;
    let mut between = |low: f32, high: f32| low + (high - low) * rng.random::<f32>();
    let scale = [between(0.87, 1.15), between(0.87, 1.15)];
    let shift = [between(-3.0, 3.0), between(-3.0, 3.0)];
    let contrast = between(0.88, 1.06);
    let (blur, noise) = (between(-0.5, 0.6).max(0.0), between(-0.05, 0.06).max(0.0));
    for plane in picture.chunks_mut(SIDE * SIDE) {
        let gain = contrast * between(0.97, 1.03);
        let old = plane.to_vec();
        let at = |x: f32, y: f32| {
            let inside = x >= 0.0 && y >= 0.0 && x < side && y < side;
            if inside { old[y as usize * SIDE + x as usize] } else { 1.0 }
        };
        let mut moved = vec![0.0; old.len()];
        for (i, value) in moved.iter_mut().enumerate() {
            let place =
                |at: usize, axis: usize| (at as f32 - side / 2.0) / scale[axis] + side / 2.0 + shift[axis];
            let (x, y) = (place(i % SIDE, 0), place(i / SIDE, 1));
            let (x0, y0) = (x.floor(), y.floor());
            let (fx, fy) = (x - x0, y - y0);
            let above = at(x0, y0) * (1.0 - fx) + at(x0 + 1.0, y0) * fx;
            let below = at(x0, y0 + 1.0) * (1.0 - fx) + at(x0 + 1.0, y0 + 1.0) * fx;
            *value = above * (1.0 - fy) + below * fy;
        }
        for (i, value) in plane.iter_mut().enumerate() {
            let near = |dx: isize, dy: isize| {
                let (x, y) = ((i % SIDE) as isize + dx, (i / SIDE) as isize + dy);
                let last = SIDE as isize - 1;
                moved[y.clamp(0, last) as usize * SIDE + x.clamp(0, last) as usize]
            };
            let soft = (near(-1, 0) + near(1, 0) + near(0, -1) + near(0, 1)) / 4.0;
            // Three uniform numbers are near enough to a normal one.
            let grain = between(-1.0, 1.0) + between(-1.0, 1.0) + between(-1.0, 1.0);
            let value_soft = moved[i] + (soft - moved[i]) * blur * 0.7;
            // White stays white.
            *value = (1.0 - (1.0 - value_soft) * gain + grain * noise).clamp(-1.0, 1.0);
        }
    }
}

/// Prints the accuracy on real pictures.
fn report(network: &JudgeNet, classes: &Classes, split: Split) -> Result<(), Box<dyn Error>> {
    let data: Arc<dyn Dataset> = Emoji::new(SIDE)?.open(split)?.into();
    let mut right = [0usize; 5];
    // The last batch may begin the next epoch; what comes again is left out.
    for batch in (0..).map(|step| Loader::new(data.clone(), 0, 43)?.load(step)).take(data.len().div_ceil(43))
    {
        let batch = batch?;
        let left = data.len() - (batch.step as usize * 43).min(data.len());
        let answers = network.answers(network.features(batch.pixels(&Device::flex()).0)).map(|logits| {
            let width = logits.dims()[1];
            let values: Vec<f32> = logits.to_data().iter::<f32>().collect();
            values.chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
        });
        for (row, &index) in batch.indices.iter().enumerate().take(left) {
            let rank = |l: usize| {
                let class = classes.index(l, &label(&*data, index, LABELLINGS[l]))?;
                let logits = &answers[l][row];
                Some(logits.iter().filter(|&&other| other > logits[class]).count())
            };
            let [category, style, concept] = [0, 1, 2].map(rank);
            let first = |rank| rank == Some(0);
            let all = [
                first(category),
                first(style),
                first(category) && first(style),
                first(concept),
                concept.is_some_and(|rank| rank < 5),
            ];
            for (count, is) in right.iter_mut().zip(all) {
                *count += usize::from(is);
            }
        }
    }
    let share = right.map(|n| n as f64 / data.len() as f64);
    println!("{split:?}: category, style, both, concept, concept in 5: {share:.3?}");
    Ok(())
}
