//! Trains `MiniDino` on the split `train` of the embedded emoji pictures, without captions or labels, and writes
//! `configs/weights/emoji-dino.safetensors`.
//!
//! `cargo run --release -p add-plugins-features --example train_mini_dino [steps]`
//!
//! A student that sees small crops must say of each picture what its own average says of large ones, as a distribution over
//! `PROTOTYPES` directions. Caron et al. 2021, "Emerging properties in self-supervised vision transformers", algorithm 1.
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

mod training;

use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, time::Instant};

use add_data::Loader;
use add_nn::{
    layers::{Init, Linear},
    vit::Vit,
};
use add_plugin::{DataSource, Dataset, Draw, Network as _, Purpose, Split, frozen};
use add_weights::{Precision, named_tensors, save};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData, activation},
};
use data::Emoji;
use features::mini::{SIDE, dino_config};
use training::{AdamW, crop, recolour, report, unit};

const SEED: u64 = 3;
const STEPS: u64 = 3_000;
const BATCH: usize = 48;
const PEAK_LR: f64 = 1e-3;
const WARM_UP: u64 = 200;
const WEIGHT_DECAY: f64 = 0.05;
/// Large crops, of which both networks see each, at 64 pixels.
const LARGE: usize = 2;
const LARGE_SHARE: [f32; 2] = [0.4, 1.0];
/// Small crops, which the student sees, at 32 pixels.
const SMALL: usize = 4;
const SMALL_SHARE: [f32; 2] = [0.1, 0.4];
const SMALL_SIDE: usize = 32;
/// Directions that pictures are sorted by.
const PROTOTYPES: usize = 1024;
const HIDDEN: usize = 512;
const BOTTLENECK: usize = 64;
/// Temperatures: the average is sure of itself, the student is not yet.
const STUDENT_TEMPERATURE: f64 = 0.1;
const TEACHER_TEMPERATURE: f64 = 0.04;
/// How much of the centre stays in a step, and of the average at the beginning.
const CENTRE: f64 = 0.9;
const AVERAGE: f64 = 0.99;

/// The transformer with what tells the prototypes from it.
#[derive(Module, Debug)]
struct Sorter {
    tower: Vit,
    first: Linear,
    second: Linear,
    bottleneck: Linear,
    /// `[PROTOTYPES, BOTTLENECK]`.
    prototypes: Param<Tensor<2>>,
}

impl Sorter {
    fn new(device: &Device) -> Result<Self, Box<dyn Error>> {
        let (config, init) = (dino_config(), Init::new(SEED, device));
        Ok(Self {
            tower: Vit::new(&config, &init.at("tower"))?,
            first: Linear::new(config.channels, HIDDEN, &init.at("first")),
            second: Linear::new(HIDDEN, HIDDEN, &init.at("second")),
            bottleneck: Linear::new(HIDDEN, BOTTLENECK, &init.at("bottleneck")),
            prototypes: init.normal("prototypes", [PROTOTYPES, BOTTLENECK], 1.0),
        })
    }

    /// Cosines with the prototypes, `[B, PROTOTYPES]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::gelu(self.first.forward_rows(self.tower.image_embedding(x)));
        let x = activation::gelu(self.second.forward_rows(x));
        let x = unit(self.bottleneck.forward_rows(x));
        // Of unit length, as in the paper's code.
        let prototypes = unit(self.prototypes.val());
        x.matmul(prototypes.swap_dims(0, 1))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(STEPS), |arg| arg.parse())?;
    let train: Arc<dyn Dataset> = Emoji::new(SIDE)?.open(Split::Train)?.into();
    let device = Device::flex();
    let mut student = Sorter::new(&device.clone().autodiff())?;
    let mut teacher = frozen(&student);
    let mut optimiser = AdamW::new(PEAK_LR, WARM_UP, steps, WEIGHT_DECAY);
    let mut centre = Tensor::<2>::zeros([1, PROTOTYPES], &device);
    let started = Instant::now();
    let batches = Loader::new(train.clone(), SEED, BATCH)?.stream(0, 1);
    for (step, batch) in (0..steps).zip(batches) {
        let batch = batch?;
        let [large, small] =
            [(LARGE, LARGE_SHARE, SIDE), (SMALL, SMALL_SHARE, SMALL_SIDE)].map(|(count, share, side)| {
                let views = |view: usize| {
                    let pictures = batch.pixels.chunks(3 * SIDE * SIDE).enumerate();
                    let values: Vec<f32> = pictures
                        .flat_map(|(position, picture)| {
                            let index =
                                (step * BATCH as u64 + position as u64) * 16 + (side + view) as u64 % 16;
                            let mut rng = Draw { seed: SEED, step, index }.rng(Purpose::AugmentReal);
                            let mut view = crop(picture, SIDE, share, side, &mut rng);
                            recolour(&mut view, 1.0, &mut rng);
                            view
                        })
                        .collect();
                    Tensor::<4>::from_data(TensorData::new(values, [BATCH, 3, side, side]), &device)
                };
                (0..count).map(views).collect::<Vec<_>>()
            });
        let targets: Vec<Tensor<2>> = large.iter().map(|view| teacher.forward(view.clone())).collect();
        let sharpened: Vec<Tensor<2>> = targets
            .iter()
            .map(|target| activation::softmax((target.clone() - centre.clone()) / TEACHER_TEMPERATURE, 1))
            .collect();
        let mut losses = Vec::new();
        for (view, pictures) in large.iter().chain(&small).enumerate() {
            let log_p = activation::log_softmax(
                student.forward(pictures.clone().autodiff()) / STUDENT_TEMPERATURE,
                1,
            );
            for (_, target) in sharpened.iter().enumerate().filter(|(other, _)| *other != view) {
                losses.push((log_p.clone() * target.clone().autodiff()).sum_dim(1).mean().neg());
            }
        }
        let pairs = losses.len() as f64;
        let loss = losses.into_iter().reduce(|a, b| a + b).ok_or("no views")? / pairs;
        let mut tape = loss.clone().backward();
        optimiser.step("student", &mut student, &mut tape, step);
        let mean = Tensor::cat(targets, 0).mean_dim(0);
        centre = centre * CENTRE + mean * (1.0 - CENTRE);
        // The average's share rises to 1 along half a cosine.
        let progress = (std::f64::consts::PI * step as f64 / steps as f64).cos();
        let share = 1.0 - (1.0 - AVERAGE) * f64::midpoint(progress, 1.0);
        follow(&mut teacher, &student, share);
        if step % 50 == 49 {
            let spread = sharpened[0].clone().mean_dim(0);
            let entropy = (spread.clone() * (spread + 1e-12).log()).sum().neg().into_scalar::<f32>();
            let loss = loss.into_scalar::<f32>();
            println!(
                "step {} loss {loss:.3} entropy of the mean {entropy:.2} {:.0} s",
                step + 1,
                started.elapsed().as_secs_f64()
            );
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/weights/emoji-dino.safetensors");
    save(&path, &named_tensors(&teacher.tower), Precision::F16, &BTreeMap::new())?;
    report(&teacher.tower, dino_config().channels)
}

/// Moves the average towards the student.
fn follow(teacher: &mut Sorter, student: &Sorter, share: f64) {
    let mut values = BTreeMap::new();
    student.for_each_parameter(&mut |name, _, p| {
        values.insert(name.to_owned(), p);
    });
    teacher.map_parameters(&mut |name, _, p| match values.remove(name) {
        Some(value) => p * share + value * (1.0 - share),
        None => p,
    });
}
