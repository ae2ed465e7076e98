//! Times linear layers in f32 and in bf16, in turns, and prints the table of `BF16.md`:
//! `cargo run --release -p add-kernels --example bf16_products`.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::{hint::black_box, time::Instant};

use add_kernels::{computes_bf16_products, linear};
use burn::tensor::{DType, Device, Distribution, Tensor};

/// Tokens, inputs and outputs of layers of Stable Diffusion 1.5 at 512 pixels and XL at 1024.
const LAYERS: [(&str, [usize; 3]); 8] = [
    ("SD1.5, 64x64: attention", [4096, 320, 320]),
    ("SD1.5, 64x64: feed-forward in", [4096, 320, 2560]),
    ("SD1.5, 64x64: feed-forward out", [4096, 1280, 320]),
    ("SD1.5, 16x16: feed-forward in", [256, 1280, 10_240]),
    ("SDXL, 64x64: feed-forward in", [4096, 640, 5120]),
    ("SDXL, 32x32: attention", [1024, 1280, 1280]),
    ("SDXL, 32x32: feed-forward out", [1024, 5120, 1280]),
    ("SDXL: keys of the text", [77, 2048, 1280]),
];
/// Turns, of which the fastest of each counts.
const TURNS: usize = 30;

fn main() {
    println!("| layer | tokens x in x out | f32 | bf16 | ratio |\n|---|---|---|---|---|");
    for (name, [tokens, inputs, outputs]) in LAYERS {
        let device = Device::flex();
        let normal = Distribution::Normal(0.0, 1.0);
        let x = Tensor::<3>::random([1, tokens, inputs], normal, &device);
        let weight = Tensor::<2>::random([outputs, inputs], normal, &device);
        let bias = Tensor::<1>::random([outputs], normal, &device);
        let layer =
            |dtype: DType| (x.clone().cast(dtype), weight.clone().cast(dtype), bias.clone().cast(dtype));
        let layers = [layer(DType::F32), layer(DType::BF16)];
        let mut fastest = [f64::MAX; 2];
        for _ in 0..TURNS {
            for ((x, weight, bias), fastest) in layers.iter().zip(&mut fastest) {
                let began = Instant::now();
                black_box(linear(x.clone(), weight.clone(), Some(bias.clone())));
                *fastest = fastest.min(began.elapsed().as_secs_f64());
            }
        }
        let [single, short] = fastest;
        println!(
            "| {name} | {tokens} x {inputs} x {outputs} | {:.2} ms | {:.2} ms | {:.2} |",
            1e3 * single,
            1e3 * short,
            short / single
        );
    }
    println!("\nIn bf16: {}.", if computes_bf16_products() { "AVX512-BF16" } else { "widened to f32" });
}
