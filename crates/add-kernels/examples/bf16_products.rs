//! Times linear layers, convolutions and attention in f32 and in bf16, in turns, and prints the table of `BF16.md`:
//! `cargo run --release -p add-kernels --example bf16_products`.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::{hint::black_box, time::Instant};

use add_kernels::{ConvGeometry, attention, bf16_products, conv2d, linear};
use burn::tensor::{DType, Device, Distribution, Tensor};

/// As in `add`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens, inputs and outputs of layers of Stable Diffusion 1.5 at 512 pixels and XL at 1024.
const LINEAR: [(&str, [usize; 3]); 8] = [
    ("SD1.5, 64x64: attention", [4096, 320, 320]),
    ("SD1.5, 64x64: feed-forward in", [4096, 320, 2560]),
    ("SD1.5, 64x64: feed-forward out", [4096, 1280, 320]),
    ("SD1.5, 16x16: feed-forward in", [256, 1280, 10_240]),
    ("SDXL, 64x64: feed-forward in", [4096, 640, 5120]),
    ("SDXL, 32x32: attention", [1024, 1280, 1280]),
    ("SDXL, 32x32: feed-forward out", [1024, 5120, 1280]),
    ("SDXL: keys of the text", [77, 2048, 1280]),
];
/// Channels in and out, side of the image, side of the window and stride of convolutions of the same.
const CONVOLUTIONS: [(&str, [usize; 5]); 6] = [
    ("SD1.5, 64x64", [320, 320, 64, 3, 1]),
    ("SD1.5, 32x32", [640, 640, 32, 3, 1]),
    ("SD1.5, 16x16", [1280, 1280, 16, 3, 1]),
    ("SD1.5, 8x8", [1280, 1280, 8, 3, 1]),
    ("SD1.5, 64x64 to 32x32", [320, 320, 64, 3, 2]),
    ("SD1.5, 32x32: shortcut", [960, 640, 32, 1, 1]),
];
/// Heads, queries, keys and width of a head.
const ATTENTION: [(&str, [usize; 4]); 4] = [
    ("SD1.5, 64x64", [8, 4096, 4096, 40]),
    ("SD1.5, 64x64: text", [8, 4096, 77, 40]),
    ("SD1.5, 32x32", [8, 1024, 1024, 80]),
    ("SDXL, 32x32", [20, 1024, 1024, 64]),
];
/// Turns, of which the fastest of each counts.
const TURNS: usize = 30;

fn main() {
    println!("| what | sizes | f32 | bf16 | ratio |\n|---|---|---|---|---|");
    for (name, [tokens, inputs, outputs]) in LINEAR {
        let (x, w, b) = (random([1, tokens, inputs]), random([outputs, inputs]), random([outputs]));
        row(&format!("linear, {name} | {tokens} x {inputs} x {outputs}"), |dtype| {
            let (x, w, b) = (x.clone().cast(dtype), w.clone().cast(dtype), b.clone().cast(dtype));
            Box::new(move || drop(black_box(linear(x.clone(), w.clone(), Some(b.clone())))))
        });
    }
    for (name, [c_in, c_out, side, window, stride]) in CONVOLUTIONS {
        let x = random([1, c_in, side, side]);
        let (w, b) = (random([c_out, c_in, window, window]), random([c_out]));
        let geometry = ConvGeometry::square(stride, window / 2);
        row(&format!("convolution, {name} | {c_in} to {c_out}, {window}x{window} / {stride}"), |dtype| {
            let (x, w, b) = (x.clone().cast(dtype), w.clone().cast(dtype), b.clone().cast(dtype));
            Box::new(move || drop(black_box(conv2d(x.clone(), w.clone(), Some(b.clone()), geometry))))
        });
    }
    for (name, [heads, queries, keys, width]) in ATTENTION {
        let [q, k, v] = [queries, keys, keys].map(|tokens| random([1, heads, tokens, width]));
        row(&format!("attention, {name} | {heads} x {queries} x {keys} x {width}"), |dtype| {
            let [q, k, v] = [&q, &k, &v].map(|tensor| tensor.clone().cast(dtype));
            Box::new(move || drop(black_box(attention(q.clone(), k.clone(), v.clone(), None))))
        });
        row(&format!("attention and gradients, {name} | {heads} x {queries} x {keys} x {width}"), |dtype| {
            let inputs = [&q, &k, &v].map(|tensor| tensor.clone().cast(dtype));
            Box::new(move || {
                let [q, k, v] = inputs.clone().map(|tensor| tensor.autodiff().require_grad());
                drop(black_box(attention(q, k, v, None).sum().backward()));
            })
        });
    }
    println!("\nIn bf16: {}.", bf16_products());
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn row(name: &str, job: impl Fn(DType) -> Box<dyn Fn()>) {
    let jobs = [job(DType::F32), job(DType::BF16)];
    let mut fastest = [f64::MAX; 2];
    for _ in 0..TURNS {
        for (job, fastest) in jobs.iter().zip(&mut fastest) {
            let began = Instant::now();
            job();
            *fastest = fastest.min(began.elapsed().as_secs_f64());
        }
    }
    let [single, short] = fastest;
    println!("| {name} | {:.2} ms | {:.2} ms | {:.2} |", 1e3 * single, 1e3 * short, short / single);
}
