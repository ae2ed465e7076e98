//! Trains `MiniClip` on the split `train` of the embedded emoji pictures and their captions and writes
//! `configs/weights/emoji-clip.safetensors`.
//!
//! `cargo run --release -p add-plugins-features --example train_mini_clip [steps]`
//!
//! Of a batch, every picture must find its own caption among all, and every caption its picture. Radford et al. 2021, figure 3. The
//! text tower is needed for that alone and is not kept.
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

mod training;

use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, time::Instant};

use add_data::Loader;
use add_nn::{
    layers::{Init, Linear},
    vit::Vit,
};
use add_plugin::{DataSource, Dataset, Draw, Purpose, Split, TextEncoder, frozen};
use add_weights::{Precision, named_tensors, save};
use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData, activation},
};
use data::Emoji;
use features::mini::{SIDE, WIDTH, clip_config};
use text_encoders::Mini;
use training::{AdamW, crop, recolour, report, unit};

const SEED: u64 = 4;
const STEPS: u64 = 3_000;
const BATCH: usize = 96;
const PEAK_LR: f64 = 1e-3;
const WARM_UP: u64 = 200;
const WEIGHT_DECAY: f64 = 0.1;
const SHARE: [f32; 2] = [0.6, 1.0];
/// The logarithm of the factor of cosines at the beginning, 1 / 0.07, and the most that it may become, 100.
const SCALE: f64 = 2.659_260_036_932_778;
const MOST_SCALE: f64 = 4.605_170_185_988_092;

/// The image tower, and what brings texts to its width.
#[derive(Module, Debug)]
struct Towers {
    images: Vit,
    texts: Linear,
    /// The logarithm of the factor of cosines, `[1]`.
    scale: Param<Tensor<1>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(STEPS), |arg| arg.parse())?;
    let train: Arc<dyn Dataset> = Emoji::new(SIDE)?.open(Split::Train)?.into();
    let device = Device::flex();
    let init = Init::new(SEED, &device.clone().autodiff());
    let mut towers = Towers {
        images: Vit::new(&clip_config(), &init.at("images"))?,
        texts: Linear::without_bias(WIDTH, WIDTH, &init.at("texts")),
        scale: init.constant("scale", [1], SCALE as f32),
    };
    let mut encoder = Mini::default().init(SEED, &device.clone().autodiff())?;
    let mut optimiser = AdamW::new(PEAK_LR, WARM_UP, steps, WEIGHT_DECAY);
    let targets: Vec<i64> = (0..BATCH as i64).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [BATCH, 1]), &device);
    let started = Instant::now();
    let batches = Loader::new(train.clone(), SEED, BATCH)?.stream(0, 1);
    for (step, batch) in (0..steps).zip(batches) {
        let batch = batch?;
        let pictures = batch.pixels.chunks(3 * SIDE * SIDE).enumerate();
        let values: Vec<f32> = pictures
            .flat_map(|(position, picture)| {
                let draw = Draw { seed: SEED, step, index: step * BATCH as u64 + position as u64 };
                let mut rng = draw.rng(Purpose::AugmentReal);
                let mut view = crop(picture, SIDE, SHARE, SIDE, &mut rng);
                // Captions name colours, so these change a little.
                recolour(&mut view, 0.2, &mut rng);
                view
            })
            .collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [BATCH, 3, SIDE, SIDE]), &device);
        let images = unit(towers.images.image_embedding(x.autodiff()));
        let texts = unit(towers.texts.forward_rows(encoder.encode(&batch.captions).pooled));
        let scale = towers.scale.val().clamp_max(MOST_SCALE).exp();
        let logits = images.matmul(texts.swap_dims(0, 1)) * scale.unsqueeze::<2>();
        let agree = |logits: Tensor<2>| {
            activation::log_softmax(logits, 1).gather(1, targets.clone().autodiff()).mean().neg()
        };
        let loss = (agree(logits.clone()) + agree(logits.clone().swap_dims(0, 1))) / 2.0;
        let mut tape = loss.clone().backward();
        optimiser.step("towers", &mut towers, &mut tape, step);
        optimiser.step("encoder", &mut *encoder, &mut tape, step);
        if step % 50 == 49 {
            let found = logits.inner().argmax(1).equal(targets.clone()).int().sum().into_scalar::<i64>();
            let loss = loss.into_scalar::<f32>();
            println!(
                "step {} loss {loss:.3}, {found} of {BATCH} {:.0} s",
                step + 1,
                started.elapsed().as_secs_f64()
            );
        }
    }
    let images = frozen(&towers.images);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/weights/emoji-clip.safetensors");
    save(&path, &named_tensors(&images), Precision::F16, &BTreeMap::new())?;
    report(&images, WIDTH)
}
