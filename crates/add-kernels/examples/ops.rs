//! Times every kernel against the pure operations it replaces, on the shapes of the training run and of SD 1.5.
//!
//! `cargo run --release -p add-kernels --example ops [-- PART_OF_A_NAME]` prints the fastest of several runs in
//! milliseconds: forward alone, and forward with all gradients (`dx` alone for frozen weights).

#![allow(clippy::print_stdout, reason = "the output of the program")]

use std::time::Instant;

use add_kernels::{AdamWStep, ConvGeometry, reference};
use burn::tensor::{Device, Distribution, Tensor};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
}

/// Fastest of several runs of each, taken in turns, in milliseconds.
fn race(runs: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut best = vec![f64::MAX; runs.len()];
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < 5 || (begin.elapsed().as_secs_f64() < 1.0 && rounds < 200) {
        for (best, run) in best.iter_mut().zip(runs.iter_mut()) {
            let start = Instant::now();
            run();
            *best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        rounds += 1;
    }
    best
}

/// Prints one line: `ours` against `pure`, each a function of tensors `x` (tracked) and `w` (tracked or frozen).
fn compare<const D: usize, const E: usize, const F: usize>(
    name: &str,
    x: [usize; D],
    w: [usize; E],
    frozen: bool,
    ours: impl Fn(Tensor<D>, Tensor<E>) -> Tensor<F>,
    pure_ops: impl Fn(Tensor<D>, Tensor<E>) -> Tensor<F>,
) {
    if !std::env::args().nth(1).is_none_or(|part| name.contains(&part)) {
        return;
    }
    let (x, w) = (random(x), random(w));
    let forward =
        race(&mut [&mut || drop(ours(x.clone(), w.clone())), &mut || drop(pure_ops(x.clone(), w.clone()))]);
    let tracked = x.autodiff().require_grad();
    let w = if frozen { w } else { w.autodiff().require_grad() };
    let gradient = random(ours(tracked.clone(), w.clone()).dims());
    let step = |y: Tensor<F>| drop((y * gradient.clone()).sum().backward());
    let mut our_step = || step(ours(tracked.clone(), w.clone()));
    let mut pure_step = || step(pure_ops(tracked.clone(), w.clone()));
    let both = race(&mut [&mut our_step, &mut pure_step]);
    println!(
        "{name:34} {:8.3} {:8.3} {:5.1}x   {:8.3} {:8.3} {:5.1}x",
        forward[0],
        forward[1],
        forward[1] / forward[0],
        both[0],
        both[1],
        both[1] / both[0]
    );
}

fn conv(name: &str, x: [usize; 4], w: [usize; 4], stride: usize, groups: usize, frozen: bool) {
    let bias = random([w[0]]);
    let geometry = ConvGeometry { stride: [stride; 2], padding: [w[2] / 2; 2], groups };
    compare(
        name,
        x,
        w,
        frozen,
        |x, w| add_kernels::conv2d(x, w, Some(bias.clone()), geometry),
        |x, w| reference::conv2d(x, w, Some(bias.clone()), geometry),
    );
}

fn group_norm(name: &str, x: [usize; 4], groups: usize) {
    let bias = random([x[1]]);
    compare(
        name,
        x,
        [x[1]],
        false,
        |x, w| add_kernels::group_norm_silu(x, groups, w, bias.clone(), 1e-5),
        |x, w| reference::group_norm_silu(x, groups, w, bias.clone(), 1e-5),
    );
}

fn attention(name: &str, q: [usize; 4], keys: usize) {
    let kv = [q[0], q[1], keys, q[3]];
    compare(
        name,
        q,
        kv,
        false,
        |q, kv| add_kernels::attention(q, kv.clone(), kv, None),
        |q, kv| reference::attention(q, kv.clone(), kv, None),
    );
}

fn linear(name: &str, x: [usize; 3], out: usize) {
    let bias = random([out]);
    compare(
        name,
        x,
        [out, x[2]],
        false,
        |x, w| add_kernels::linear(x, w, Some(bias.clone())),
        |x, w| reference::linear(x, w, Some(bias.clone())),
    );
}

fn layer_norm(name: &str, x: [usize; 3]) {
    let bias = random([x[2]]);
    compare(
        name,
        x,
        [x[2]],
        false,
        |x, w| add_kernels::layer_norm(x, w, bias.clone(), 1e-5),
        |x, w| reference::layer_norm(x, w, bias.clone(), 1e-5),
    );
}

fn geglu(name: &str, x: [usize; 3]) {
    compare(name, x, [1], true, |x, _| add_kernels::geglu(x), |x, _| reference::geglu(x));
}

fn adamw(name: &str, n: usize) {
    if !std::env::args().nth(1).is_none_or(|part| name.contains(&part)) {
        return;
    }
    let step = AdamWStep {
        lr: 1e-3,
        beta_1: 0.9,
        beta_2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        time: 10,
        grad_scale: 0.5,
    };
    let g = random([n]);
    let mut ours = Some([random([n]), random([n]), random([n]).abs()]);
    let mut pure_ops = ours.clone().map(|tensors| tensors.map(|t| t * 1.0));
    let times = race(&mut [
        &mut || {
            let [p, m, v] = ours.take().expect("put back");
            ours = Some(add_kernels::adamw_step(p, g.clone(), m, v, step));
        },
        &mut || {
            let [p, m, v] = pure_ops.take().expect("put back");
            pure_ops = Some(reference::adamw_step(p, g.clone(), m, v, step));
        },
    ]);
    println!("{name:34} {:8.3} {:8.3} {:5.1}x", times[0], times[1], times[1] / times[0]);
}

fn main() {
    println!("{:34} {:^24}   {:^24}", "", "forward", "forward and backward");
    println!("{:34} {:>8} {:>8} {:>6}   {:>8} {:>8} {:>6}", "", "ours", "pure", "", "ours", "pure", "");
    conv("conv 3x3 64 16x16 b16", [16, 64, 16, 16], [64, 64, 3, 3], 1, 1, false);
    conv("conv 3x3 96 8x8 b16", [16, 96, 8, 8], [96, 96, 3, 3], 1, 1, false);
    conv("conv 3x3 128 4x4 b16", [16, 128, 4, 4], [128, 128, 3, 3], 1, 1, false);
    conv("conv 3x3 192>96 8x8 b16", [16, 192, 8, 8], [96, 192, 3, 3], 1, 1, false);
    conv("conv 3x3 64>96 /2 16x16 b16", [16, 64, 16, 16], [96, 64, 3, 3], 2, 1, false);
    conv("conv 1x1 128>64 16x16 b16", [16, 128, 16, 16], [64, 128, 1, 1], 1, 1, false);
    conv("conv 3x3 4>64 16x16 b16", [16, 4, 16, 16], [64, 4, 3, 3], 1, 1, false);
    conv("conv 3x3 64>4 16x16 b16", [16, 64, 16, 16], [4, 64, 3, 3], 1, 1, false);
    conv("conv 3x3 64 32x32 b32", [32, 64, 32, 32], [64, 64, 3, 3], 1, 1, false);
    conv("frozen 3x3 3>32 /2 64x64 b16", [16, 3, 64, 64], [32, 3, 3, 3], 2, 1, true);
    conv("frozen 1x1 16>96 32x32 b16", [16, 16, 32, 32], [96, 16, 1, 1], 1, 1, true);
    conv("frozen 1x1 192>32 8x8 b16", [16, 192, 8, 8], [32, 192, 1, 1], 1, 1, true);
    conv("frozen 1x1 160>960 2x2 b16", [16, 160, 2, 2], [960, 160, 1, 1], 1, 1, true);
    conv("frozen depthwise 96 /2 32x32 b16", [16, 96, 32, 32], [96, 1, 3, 3], 2, 96, true);
    conv("frozen depthwise 192 8x8 b16", [16, 192, 8, 8], [192, 1, 3, 3], 1, 192, true);
    conv("frozen depthwise 960 2x2 b16", [16, 960, 2, 2], [960, 1, 3, 3], 1, 960, true);
    group_norm("group norm silu 64 16x16 b16", [16, 64, 16, 16], 32);
    group_norm("group norm silu 192 8x8 b16", [16, 192, 8, 8], 16);
    group_norm("group norm silu 128 4x4 b16", [16, 128, 4, 4], 32);
    attention("attention 64x64 4x32 b16", [16, 4, 64, 32], 64);
    attention("attention 64x77 4x32 b16", [16, 4, 64, 32], 77);
    attention("attention 16x16 4x32 b16", [16, 4, 16, 32], 16);
    linear("linear 96>96 64 b16", [16, 64, 96], 96);
    linear("linear 96>768 64 b16", [16, 64, 96], 768);
    linear("linear 384>96 64 b16", [16, 64, 384], 96);
    linear("linear 128>256 1 b16", [16, 1, 128], 256);
    layer_norm("layer norm 96 64 b16", [16, 64, 96]);
    geglu("geglu 2x384 64 b16", [16, 64, 768]);
    adamw("adamw 100 thousand", 100_000);
    adamw("adamw 5 million", 5_000_000);
    conv("sd conv 3x3 320 64x64 b1", [1, 320, 64, 64], [320, 320, 3, 3], 1, 1, false);
    conv("sd conv 3x3 640 32x32 b1", [1, 640, 32, 32], [640, 640, 3, 3], 1, 1, false);
    conv("sd conv 3x3 1280 8x8 b1", [1, 1280, 8, 8], [1280, 1280, 3, 3], 1, 1, false);
    group_norm("sd group norm silu 320 64x64 b1", [1, 320, 64, 64], 32);
    attention("sd attention 4096x4096 8x40 b1", [1, 8, 4096, 40], 4096);
    attention("sd attention 4096x77 8x40 b1", [1, 8, 4096, 40], 77);
    linear("sd linear 320>2560 4096 b1", [1, 4096, 320], 2560);
    layer_norm("sd layer norm 320 4096 b1", [1, 4096, 320]);
    geglu("sd geglu 2x1280 4096 b1", [1, 4096, 2560]);
}
