//! What the trainers of small networks share: AdamW with its schedule, crops of pictures, how near a network puts what is alike.
#![allow(dead_code, reason = "each trainer takes what it needs")]

use std::{collections::BTreeMap, error::Error, f64::consts::PI};

use add_kernels::{AdamWStep, adamw_step};
use add_nn::vit::Vit;
use add_plugin::{DataSource, Dataset, Draw, Network, PluginError, Split};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use data::Emoji;
use features::mini::SIDE;
use rand::{Rng, RngExt};

/// AdamW over networks.
pub(crate) struct AdamW {
    peak: f64,
    warm_up: u64,
    steps: u64,
    weight_decay: f64,
    moments: BTreeMap<String, [Tensor<1>; 2]>,
}

impl AdamW {
    pub(crate) fn new(peak: f64, warm_up: u64, steps: u64, weight_decay: f64) -> Self {
        Self { peak, warm_up, steps, weight_decay, moments: BTreeMap::new() }
    }

    /// Linear warm-up, then half a cosine down to nothing.
    fn learning_rate(&self, step: u64) -> f64 {
        let warm = (step + 1) as f64 / self.warm_up as f64;
        let cosine = 0.5 + 0.5 * (PI * step as f64 / self.steps as f64).cos();
        self.peak * warm.min(1.0) * cosine
    }

    /// Moves a network; `prefix` tells its parameters from those of the others that this optimiser moves.
    pub(crate) fn step(&mut self, prefix: &str, network: &mut dyn Network, tape: &mut Gradients, step: u64) {
        let mut taken = network.take_gradients(tape);
        let lr = self.learning_rate(step);
        network.map_parameters(&mut |name, _, p| {
            let Some(g) = taken.remove(name) else { return p };
            let name = format!("{prefix}.{name}");
            let [m, v] = self.moments.remove(&name).unwrap_or_else(|| [p.zeros_like(), p.zeros_like()]);
            let optimiser = AdamWStep {
                lr,
                beta_1: 0.9,
                beta_2: 0.99,
                eps: 1e-8,
                weight_decay: self.weight_decay,
                time: step + 1,
                grad_scale: 1.0,
            };
            let [p, m, v] = adamw_step(p, g, m, v, optimiser);
            self.moments.insert(name, [m, v]);
            p
        });
    }
}

/// A crop of a square picture, three planes of `side`, whose share of the area is in `share`, at `out` pixels a side; mirrored
/// in half of the cases.
pub(crate) fn crop(
    picture: &[f32],
    side: usize,
    share: [f32; 2],
    out: usize,
    rng: &mut impl Rng,
) -> Vec<f32> {
    let mut between = |low: f32, high: f32| low + (high - low) * rng.random::<f32>();
    let (area, ratio) = (between(share[0], share[1]), between(-0.28, 0.28).exp());
    let [w, h] = [(area * ratio).sqrt().min(1.0), (area / ratio).sqrt().min(1.0)].map(|x| x * side as f32);
    let [x0, y0] = [w, h].map(|length| between(0.0, side as f32 - length));
    let mirrored = between(0.0, 1.0) < 0.5;
    let mut cropped = Vec::with_capacity(3 * out * out);
    for plane in picture.chunks(side * side) {
        let at = |x: usize, y: usize| plane[y.min(side - 1) * side + x.min(side - 1)];
        for i in 0..out * out {
            let place = |at: usize, start: f32, length: f32| {
                (start + (at as f32 + 0.5) / out as f32 * length - 0.5).clamp(0.0, side as f32 - 1.0)
            };
            let column = if mirrored { out - 1 - i % out } else { i % out };
            let (x, y) = (place(column, x0, w), place(i / out, y0, h));
            let (fx, fy) = (x.fract(), y.fract());
            let [x, y] = [x, y].map(|v| v as usize);
            let above = at(x, y) * (1.0 - fx) + at(x + 1, y) * fx;
            let below = at(x, y + 1) * (1.0 - fx) + at(x + 1, y + 1) * fx;
            cropped.push(above * (1.0 - fy) + below * fy);
        }
    }
    cropped
}

/// Rows of length one.
pub(crate) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}

/// Changes a picture's brightness, contrast and colours; one in five loses its colours.
pub(crate) fn recolour(picture: &mut [f32], strength: f32, rng: &mut impl Rng) {
    let mut between = |reach: f32| 1.0 + reach * strength * (2.0 * rng.random::<f32>() - 1.0);
    let (contrast, brightness) = (between(0.4), between(0.4) - 1.0);
    let gains = [between(0.3), between(0.3), between(0.3)];
    let saturation = if rng.random::<f32>() < 0.2 * strength { 0.0 } else { 1.0 };
    let pixels = picture.len() / 3;
    for i in 0..pixels {
        let colours = [0, 1, 2].map(|plane| picture[plane * pixels + i]);
        let grey = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2];
        for (plane, (colour, gain)) in colours.into_iter().zip(gains).enumerate() {
            let colour = grey + (colour - grey) * saturation;
            // Gains act on the ink, so that white stays white but for brightness.
            let inked = 1.0 - (1.0 - colour) * gain * contrast;
            picture[plane * pixels + i] = (inked + brightness * 0.5).clamp(-1.0, 1.0);
        }
    }
}

/// The label of each picture by a labelling.
fn classes(data: &dyn Dataset, labelling: &str) -> Vec<String> {
    (0..data.len())
        .map(|index| {
            let labels = data.labels(index).into_iter().find(|(name, _)| *name == labelling);
            labels.map(|(_, label)| label).unwrap_or_default()
        })
        .collect()
}

/// The share of `queries` whose label is that of most of their `k` nearest `known` ones, by the cosine. Rows have one width.
fn nearest_agree(known: (&[f32], &[String]), queries: (&[f32], &[String]), width: usize, k: usize) -> f64 {
    let unit = |rows: &[f32]| -> Vec<Vec<f32>> {
        rows.chunks(width)
            .map(|row| {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                row.iter().map(|x| x / length).collect()
            })
            .collect()
    };
    let (rows, asked) = (unit(known.0), unit(queries.0));
    let right = asked.iter().zip(queries.1).filter(|(query, label)| {
        let mut near: Vec<(f32, &String)> = rows
            .iter()
            .zip(known.1)
            .map(|(row, label)| (row.iter().zip(*query).map(|(a, b)| a * b).sum(), label))
            .collect();
        near.select_nth_unstable_by(k - 1, |a, b| b.0.total_cmp(&a.0));
        let mut votes: BTreeMap<&String, f32> = BTreeMap::new();
        for (cosine, label) in &near[..k] {
            // Nearer ones count for more, as in DINO's evaluation.
            *votes.entry(label).or_default() += (cosine / 0.07).exp();
        }
        votes.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).is_some_and(|(best, _)| best == *label)
    });
    right.count() as f64 / queries.1.len() as f64
}

/// Prints how often the nearest pictures of `train` agree with one of a held-out set about its labels.
pub(crate) fn report(tower: &Vit, width: usize) -> Result<(), Box<dyn Error>> {
    let [train, held_out] = [Split::Train, Split::TestPair].map(|split| Emoji::new(SIDE)?.open(split));
    let (train, held_out) = (train?, held_out?);
    let (known, asked) = (embeddings(tower, &*train)?, embeddings(tower, &*held_out)?);
    for labelling in ["category", "style", "concept"] {
        let (of_train, of_held_out) = (classes(&*train, labelling), classes(&*held_out, labelling));
        let k = if labelling == "concept" { 1 } else { 10 };
        let share = nearest_agree((&known, &of_train), (&asked, &of_held_out), width, k);
        println!("test_pair: {labelling} by the {k} nearest: {share:.3}");
    }
    Ok(())
}

/// What the tower makes of each picture, one behind the other.
fn embeddings(tower: &Vit, data: &dyn Dataset) -> Result<Vec<f32>, PluginError> {
    let mut rows = Vec::new();
    for index in 0..data.len() {
        let sample = data.get(index, &Draw { seed: 0, step: 0, index: 0 })?;
        let x = TensorData::new(sample.pixels, [1, 3, SIDE, SIDE]);
        rows.extend(tower.image_embedding(Tensor::from_data(x, &Device::flex())).into_data().iter::<f32>());
    }
    Ok(rows)
}
