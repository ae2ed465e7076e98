//! Times every kernel against the pure operations it replaces, on the shapes of the training run and of SD 1.5.
//!
//! `cargo bench -p add-kernels --profile release [-- PART_OF_A_NAME]`: criterion's groups are `forward`, and `both`, which is
//! forward with all gradients (of `x` alone where the weights are frozen).

use std::{hint::black_box, time::Duration};

use add_kernels::{AdamWStep, ConvGeometry, reference};
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, SamplingMode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
}

/// Both sides of one comparison.
struct Race<'a> {
    criterion: &'a mut Criterion,
}

impl Race<'_> {
    fn run(&mut self, group: &str, ours: &mut dyn FnMut(), pure_ops: &mut dyn FnMut()) {
        let mut group = self.criterion.benchmark_group(group);
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function("ours", |bencher| bencher.iter(&mut *ours));
        group.bench_function("pure", |bencher| bencher.iter(&mut *pure_ops));
        group.finish();
    }

    /// Functions of tensors `x` (tracked) and `w` (tracked or frozen).
    fn compare<const D: usize, const E: usize, const F: usize>(
        &mut self,
        name: &str,
        x: [usize; D],
        w: [usize; E],
        frozen: bool,
        ours: impl Fn(Tensor<D>, Tensor<E>) -> Tensor<F>,
        pure_ops: impl Fn(Tensor<D>, Tensor<E>) -> Tensor<F>,
    ) {
        let (x, w) = (random(x), random(w));
        self.run(
            &format!("{name}, forward"),
            &mut || drop(black_box(ours(x.clone(), w.clone()))),
            &mut || drop(black_box(pure_ops(x.clone(), w.clone()))),
        );
        let x = x.autodiff().require_grad();
        let w = if frozen { w } else { w.autodiff().require_grad() };
        let gradient = random(ours(x.clone(), w.clone()).dims());
        let step = |y: Tensor<F>| drop(black_box((y * gradient.clone()).sum().backward()));
        let mut our_step = || step(ours(x.clone(), w.clone()));
        let mut pure_step = || step(pure_ops(x.clone(), w.clone()));
        self.run(&format!("{name}, both"), &mut our_step, &mut pure_step);
    }

    fn conv(&mut self, name: &str, x: [usize; 4], w: [usize; 4], stride: usize, groups: usize, frozen: bool) {
        let bias = random([w[0]]);
        let geometry = ConvGeometry { stride: [stride; 2], padding: [w[2] / 2; 2], groups };
        self.compare(
            name,
            x,
            w,
            frozen,
            |x, w| add_kernels::conv2d(x, w, Some(bias.clone()), geometry),
            |x, w| reference::conv2d(x, w, Some(bias.clone()), geometry),
        );
    }

    fn group_norm(&mut self, name: &str, x: [usize; 4], groups: usize) {
        let bias = random([x[1]]);
        self.compare(
            name,
            x,
            [x[1]],
            false,
            |x, w| add_kernels::group_norm_silu(x, groups, w, bias.clone(), 1e-5),
            |x, w| reference::group_norm_silu(x, groups, w, bias.clone(), 1e-5),
        );
    }

    fn attention(&mut self, name: &str, q: [usize; 4], keys: usize) {
        self.compare(
            name,
            q,
            [q[0], q[1], keys, q[3]],
            false,
            |q, kv| add_kernels::attention(q, kv.clone(), kv, None),
            |q, kv| reference::attention(q, kv.clone(), kv, None),
        );
    }

    fn linear(&mut self, name: &str, x: [usize; 3], out: usize) {
        let bias = random([out]);
        self.compare(
            name,
            x,
            [out, x[2]],
            false,
            |x, w| add_kernels::linear(x, w, Some(bias.clone())),
            |x, w| reference::linear(x, w, Some(bias.clone())),
        );
    }

    fn layer_norm(&mut self, name: &str, x: [usize; 3]) {
        let bias = random([x[2]]);
        self.compare(
            name,
            x,
            [x[2]],
            false,
            |x, w| add_kernels::layer_norm(x, w, bias.clone(), 1e-5),
            |x, w| reference::layer_norm(x, w, bias.clone(), 1e-5),
        );
    }

    fn geglu(&mut self, name: &str, x: [usize; 3]) {
        self.compare(name, x, [1], true, |x, _| add_kernels::geglu(x), |x, _| reference::geglu(x));
    }

    fn adamw(&mut self, name: &str, n: usize) {
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
        self.run(
            name,
            &mut || {
                let [p, m, v] = ours.take().expect("put back");
                ours = Some(add_kernels::adamw_step(p, g.clone(), m, v, step));
            },
            &mut || {
                let [p, m, v] = pure_ops.take().expect("put back");
                pure_ops = Some(reference::adamw_step(p, g.clone(), m, v, step));
            },
        );
    }
}

fn emoji(race: &mut Race<'_>) {
    race.conv("conv 3x3 64 16x16 b16", [16, 64, 16, 16], [64, 64, 3, 3], 1, 1, false);
    race.conv("conv 3x3 96 8x8 b16", [16, 96, 8, 8], [96, 96, 3, 3], 1, 1, false);
    race.conv("conv 3x3 128 4x4 b16", [16, 128, 4, 4], [128, 128, 3, 3], 1, 1, false);
    race.conv("conv 3x3 192>96 8x8 b16", [16, 192, 8, 8], [96, 192, 3, 3], 1, 1, false);
    race.conv("conv 3x3 64>96 /2 16x16 b16", [16, 64, 16, 16], [96, 64, 3, 3], 2, 1, false);
    race.conv("conv 1x1 128>64 16x16 b16", [16, 128, 16, 16], [64, 128, 1, 1], 1, 1, false);
    race.conv("conv 3x3 4>64 16x16 b16", [16, 4, 16, 16], [64, 4, 3, 3], 1, 1, false);
    race.conv("conv 3x3 64>4 16x16 b16", [16, 64, 16, 16], [4, 64, 3, 3], 1, 1, false);
    race.conv("conv 3x3 64 32x32 b32", [32, 64, 32, 32], [64, 64, 3, 3], 1, 1, false);
    race.conv("frozen 3x3 3>32 /2 64x64 b16", [16, 3, 64, 64], [32, 3, 3, 3], 2, 1, true);
    race.conv("frozen 1x1 16>96 32x32 b16", [16, 16, 32, 32], [96, 16, 1, 1], 1, 1, true);
    race.conv("frozen 1x1 192>32 8x8 b16", [16, 192, 8, 8], [32, 192, 1, 1], 1, 1, true);
    race.conv("frozen 1x1 160>960 2x2 b16", [16, 160, 2, 2], [960, 160, 1, 1], 1, 1, true);
    race.conv("frozen depthwise 96 /2 32x32 b16", [16, 96, 32, 32], [96, 1, 3, 3], 2, 96, true);
    race.conv("frozen depthwise 192 8x8 b16", [16, 192, 8, 8], [192, 1, 3, 3], 1, 192, true);
    race.conv("frozen depthwise 960 2x2 b16", [16, 960, 2, 2], [960, 1, 3, 3], 1, 960, true);
    race.group_norm("group norm silu 64 16x16 b16", [16, 64, 16, 16], 32);
    race.group_norm("group norm silu 192 8x8 b16", [16, 192, 8, 8], 16);
    race.group_norm("group norm silu 128 4x4 b16", [16, 128, 4, 4], 32);
    race.attention("attention 64x64 4x32 b16", [16, 4, 64, 32], 64);
    race.attention("attention 64x77 4x32 b16", [16, 4, 64, 32], 77);
    race.attention("attention 16x16 4x32 b16", [16, 4, 16, 32], 16);
    race.linear("linear 96>96 64 b16", [16, 64, 96], 96);
    race.linear("linear 96>768 64 b16", [16, 64, 96], 768);
    race.linear("linear 384>96 64 b16", [16, 64, 384], 96);
    race.linear("linear 128>256 1 b16", [16, 1, 128], 256);
    race.layer_norm("layer norm 96 64 b16", [16, 64, 96]);
    race.geglu("geglu 2x384 64 b16", [16, 64, 768]);
    race.adamw("adamw 100 thousand", 100_000);
    race.adamw("adamw 5 million", 5_000_000);
}

fn stable_diffusion(race: &mut Race<'_>) {
    race.conv("sd conv 3x3 320 64x64 b1", [1, 320, 64, 64], [320, 320, 3, 3], 1, 1, false);
    race.conv("sd conv 3x3 640 32x32 b1", [1, 640, 32, 32], [640, 640, 3, 3], 1, 1, false);
    race.conv("sd conv 3x3 1280 8x8 b1", [1, 1280, 8, 8], [1280, 1280, 3, 3], 1, 1, false);
    race.group_norm("sd group norm silu 320 64x64 b1", [1, 320, 64, 64], 32);
    race.attention("sd attention 4096x4096 8x40 b1", [1, 8, 4096, 40], 4096);
    race.attention("sd attention 4096x77 8x40 b1", [1, 8, 4096, 40], 77);
    race.linear("sd linear 320>2560 4096 b1", [1, 4096, 320], 2560);
    race.layer_norm("sd layer norm 320 4096 b1", [1, 4096, 320]);
    race.geglu("sd geglu 2x1280 4096 b1", [1, 4096, 2560]);
}

fn main() {
    // A few runs of each: the largest takes seconds.
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    let mut criterion = criterion.configure_from_args();
    let race = &mut Race { criterion: &mut criterion };
    emoji(race);
    stable_diffusion(race);
    criterion.final_summary();
}
