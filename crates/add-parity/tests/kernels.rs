//! The kernels' f32 against PyTorch's f32, and the products in bf16 against PyTorch's in bf16, each by the distance from f64.
//!
//! `kernels.json` and `kernels-bf16.json` hold cases of odd sizes and wide ranges with PyTorch's own distances;
//! `peers/kernels.py` writes them, and says what numbers go in.

use std::{collections::BTreeMap, fmt::Write as _};

use add_kernels::{
    AdamWStep, ConvGeometry, Filter, adamw_step, attention, conv2d, ema_lerp, geglu, gelu, group_norm,
    group_norm_silu, layer_norm, linear, quick_gelu, resize, silu,
};
use add_nn::{
    layers::{Init, stream_of, unit},
    unet::{UNet2dCondition, UnetConfig},
};
use add_plugin::Network;
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use serde::Deserialize;
use serde_json::Value;

/// How many times PyTorch's largest error ours may be, and the same of the root of the mean square, which is less a matter of
/// luck.
const TIMES: [f64; 2] = [4.0, 2.0];
/// The same in bf16.
const TIMES_IN_BF16: [f64; 2] = [2.0, 2.0];
/// The same of single convolutions in bf16: Winograd's tiles round the transformed numbers too.
const TIMES_OF_TILES_IN_BF16: [f64; 2] = [4.0, 3.0];

/// Half a unit of the last place of the largest value: nearer than that no f32 is asked to be.
const HALF_A_UNIT: f64 = 1.0 / (1 << 24) as f64;

#[derive(Deserialize)]
struct Table {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    operation: String,
    settings: Value,
    cotangent: String,
    inputs: Vec<(Vec<usize>, String, f64)>,
    results: BTreeMap<String, Expected>,
}

/// What PyTorch has of one result.
#[derive(Deserialize)]
struct Expected {
    largest: f64,
    /// Sum of the f64 numbers, each times that of the stream `sum`.
    sum: f64,
    off: f64,
    off_rms: f64,
}

/// All results of a case by name.
type Results = BTreeMap<String, Vec<f64>>;

/// Holds every case of some operations to the table, in f32 and with gradients.
#[track_caller]
fn check(operations: &[&str]) {
    compare(include_str!("kernels.json"), operations, [DType::F32, DType::F64].map(Pass::Both), TIMES);
}

/// Holds every case of an operation in bf16 to the table.
#[track_caller]
fn check_in_bf16(operation: &str, times: [f64; 2]) {
    let passes = [DType::BF16, DType::F64].map(Pass::Value);
    compare(include_str!("kernels-bf16.json"), &[operation], passes, times);
}

/// What is computed of a case.
#[derive(Clone, Copy)]
enum Pass {
    /// The value and all gradients.
    Both(DType),
    /// The value alone, without a tape, of numbers that are rounded to bf16.
    Value(DType),
}

#[track_caller]
fn compare(table: &str, operations: &[&str], [narrow, wide]: [Pass; 2], [times, times_rms]: [f64; 2]) {
    let table: Table = serde_json::from_str(table).expect("the table");
    let mut problems = String::new();
    let mut compared = 0;
    for case in table.cases.iter().filter(|case| operations.contains(&case.operation.as_str())) {
        let (narrow, wide) = (results(case, narrow), results(case, wide));
        assert!(wide.keys().eq(case.results.keys()), "{}: results {:?}", case.name, wide.keys());
        for (key, expected) in &case.results {
            compared += 1;
            let (narrow, wide) = (&narrow[key], &wide[key]);
            let same = expected.is_that_of(wide);
            let errors: Vec<f64> = narrow.iter().zip(wide).map(|(a, b)| (a - b).abs()).collect();
            let rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
            // A NaN is the largest.
            let off = errors.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0);
            let least = HALF_A_UNIT * expected.largest;
            let within = |error: f64, bound: f64| error <= bound.max(least);
            let near = within(off, times * expected.off) && within(rms, times_rms * expected.off_rms);
            if !(same && near) {
                let (times, times_rms) = (off / expected.off, rms / expected.off_rms);
                let _ = writeln!(
                    problems,
                    "{times:7.2} {times_rms:7.2} {} {key}: off by {off:.3e} of {:.3e}, PyTorch by {:.3e}{}",
                    case.name,
                    expected.largest,
                    expected.off,
                    if same { "" } else { "; f64 is another than PyTorch's" },
                );
            }
        }
    }
    assert!(compared > 0, "no case of {operations:?}");
    assert!(problems.is_empty(), "times the error of PyTorch, largest and root of mean square:\n{problems}");
}

impl Expected {
    fn is_that_of(&self, values: &[f64]) -> bool {
        let sum: f64 = (0..).zip(values).map(|(i, x)| x * unit(stream_of("sum", 0), i)).sum();
        let largest = values.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * self.largest * (values.len() as f64).sqrt();
        near(largest, self.largest) && near(sum, self.sum)
    }
}

/// The input `name` of a case.
fn numbers<const D: usize>(name: &str, (shape, values, scale): &(Vec<usize>, String, f64)) -> Tensor<D> {
    let stream = stream_of(name, 0);
    let other = stream_of(&format!("{name}.{values}"), 0);
    let plane: usize = shape.iter().skip(2).product();
    let number = |i| {
        let u = unit(stream, i);
        let value = match values.as_str() {
            "wide" => u * (10.0 * unit(other, i)).round_ties_even().exp2(),
            "planes" => u * (6.0 * unit(other, i / plane)).round_ties_even().exp2(),
            "offset" => u + 30.0,
            "even" => u,
            unknown => panic!("no values {unknown}"),
        };
        (value * scale) as f32
    };
    let all: Vec<f32> = (0..shape.iter().product()).map(number).collect();
    Tensor::from_data(TensorData::new(all, shape.clone()), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.without_autodiff().into_data().convert_dtype(DType::F64).try_to_vec().expect("numbers")
}

fn results(case: &Case, pass: Pass) -> Results {
    let run = Run { case, pass };
    let s = &case.settings;
    let pair = |key: &str| [0, 1].map(|i| size(&s[key][i]));
    match case.operation.as_str() {
        "conv2d" => {
            let (stride, padding, groups) = (pair("stride"), pair("padding"), size(&s["groups"]));
            run.of_three(|x, w, b| conv2d(x, w, Some(b), ConvGeometry { stride, padding, groups }))
        }
        "linear" => run.of_three(|x: Tensor<3>, w: Tensor<2>, b| linear(x, w, Some(b))),
        "layer_norm" => run.of_three(|x, w, b| layer_norm(x, w, b, 1e-5)),
        "group_norm" => run.of_three(|x, w, b| group_norm(x, size(&s["groups"]), w, b, 1e-5)),
        "group_norm_silu" => run.of_three(|x, w, b| group_norm_silu(x, size(&s["groups"]), w, b, 1e-5)),
        "attention" => run.of_three(|q: Tensor<4>, k: Tensor<4>, v| {
            let ([.., n, _], m) = (q.dims(), k.dims()[2]);
            let mask = (s["causal"] == true)
                .then(|| Tensor::<2, Bool>::tril_mask([n, m], 0, &Device::flex()).reshape([1, 1, n, m]));
            attention(q, k, v, mask)
        }),
        "geglu" => run.of_one(geglu),
        "gelu" => run.of_one(gelu::<3>),
        "silu" => run.of_one(silu::<3>),
        "quick_gelu" => run.of_one(quick_gelu::<3>),
        "resize" => {
            let filter = match (s["filter"].as_str(), s["antialias"] == true) {
                (Some("area"), _) => Filter::Area,
                (Some("bilinear"), false) => Filter::Linear,
                (Some("bilinear"), true) => Filter::LinearAntialiased,
                (Some("bicubic"), true) => Filter::CubicAntialiased,
                other => panic!("no filter {other:?}"),
            };
            run.of_one(|x| resize(x, pair("size"), filter))
        }
        "unet" => run.unet(),
        "adamw" => run.adamw(),
        "ema" => {
            let value = ema_lerp(run.input(0), run.input(1), 0.999);
            Results::from([("value".to_owned(), values(value))])
        }
        unknown => panic!("no operation {unknown}"),
    }
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

/// A case in one number type.
struct Run<'a> {
    case: &'a Case,
    pass: Pass,
}

impl Run<'_> {
    fn input<const D: usize>(&self, i: usize) -> Tensor<D> {
        self.cast(numbers(&format!("{}.{i}", self.case.name), &self.case.inputs[i]))
    }

    fn cast<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        match self.pass {
            Pass::Both(dtype) => tensor.cast(dtype),
            Pass::Value(dtype) => tensor.cast(DType::BF16).cast(dtype),
        }
    }

    fn leaf<const D: usize>(&self, i: usize) -> Tensor<D> {
        match self.pass {
            Pass::Both(_) => self.input(i).autodiff().require_grad(),
            Pass::Value(_) => self.input(i),
        }
    }

    fn of_one<const A: usize, const D: usize>(&self, f: impl Fn(Tensor<A>) -> Tensor<D>) -> Results {
        let x = self.leaf(0);
        let y = f(x.clone());
        let gradients = (y.clone() * self.cotangent(&y)).sum().backward();
        named(y, [values(x.grad(&gradients).expect("a gradient"))])
    }

    fn of_three<const A: usize, const B: usize, const C: usize, const D: usize>(
        &self,
        f: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<D>,
    ) -> Results {
        let (a, b, c) = (self.leaf(0), self.leaf(1), self.leaf(2));
        let y = f(a.clone(), b.clone(), c.clone());
        if let Pass::Value(_) = self.pass {
            return named(y, []);
        }
        let gradients = (y.clone() * self.cotangent(&y)).sum().backward();
        let of = |gradient: Option<Vec<f64>>| gradient.expect("a gradient");
        let all =
            [a.grad(&gradients).map(values), b.grad(&gradients).map(values), c.grad(&gradients).map(values)];
        named(y, all.map(of))
    }

    fn cotangent<const D: usize>(&self, y: &Tensor<D>) -> Tensor<D> {
        let given = (y.dims().to_vec(), self.case.cotangent.clone(), 1.0);
        numbers(&format!("{}.cotangent", self.case.name), &given).cast(y.dtype())
    }

    /// A whole network, whose values have the names of diffusers.
    fn unet(&self) -> Results {
        let config: UnetConfig = serde_json::from_value(self.case.settings.clone()).expect("a configuration");
        let mut net = UNet2dCondition::new(&config, &Init::new(0, &Device::flex())).expect("a network");
        net.set_parameters(&mut |name, shape, _| {
            let count: usize = shape.iter().product();
            let (offset, scale) = match shape {
                [rows, _, ..] => (0.0, (3.0 * *rows as f64 / count as f64).sqrt()),
                _ if name.ends_with("weight") => (1.0, 0.2),
                _ => (0.0, 0.1),
            };
            let values = numbers::<1>(&format!("unet.{name}"), &(vec![count], "even".to_owned(), scale));
            Some(self.cast(values + offset))
        });
        let (x, text) = (self.input(0), self.input(1));
        named(net.forward(x, Tensor::full([2], 500.0, &Device::flex()), text, None), [])
    }

    /// Three steps from a second moment of its own.
    fn adamw(&self) -> Results {
        let mut state = [self.input(0), self.input::<1>(0).zeros_like(), self.input::<1>(1).abs()];
        for time in 1..=3 {
            let step = AdamWStep {
                lr: 0.01,
                beta_1: 0.9,
                beta_2: 0.999,
                eps: 1e-8,
                weight_decay: 0.05,
                time,
                grad_scale: 1.0,
            };
            let [p, m, v] = state;
            state = adamw_step(p, self.input(1 + time as usize), m, v, step);
        }
        let names = ["parameter", "first moment", "second moment"];
        names.into_iter().map(str::to_owned).zip(state.map(values)).collect()
    }
}

fn named<const D: usize>(y: Tensor<D>, gradients: impl IntoIterator<Item = Vec<f64>>) -> Results {
    let gradients = (0..).zip(gradients).map(|(i, gradient): (usize, _)| (format!("gradient {i}"), gradient));
    gradients.chain([("value".to_owned(), values(y))]).collect()
}

#[test]
fn convolutions_are_as_exact_as_those_of_pytorch() {
    check(&["conv2d"]);
}

#[test]
fn linear_layers_are_as_exact_as_those_of_pytorch() {
    check(&["linear"]);
}

#[test]
fn convolutions_in_bf16_are_near_those_of_pytorch() {
    check_in_bf16("conv2d", TIMES_OF_TILES_IN_BF16);
}

#[test]
fn linear_layers_in_bf16_are_as_exact_as_those_of_pytorch() {
    check_in_bf16("linear", TIMES_IN_BF16);
}

#[test]
fn attention_in_bf16_is_as_exact_as_that_of_pytorch() {
    check_in_bf16("attention", TIMES_IN_BF16);
}

#[test]
fn a_unet_in_bf16_is_as_exact_as_that_of_pytorch() {
    check_in_bf16("unet", TIMES_IN_BF16);
}

#[test]
fn normalisations_are_as_exact_as_those_of_pytorch() {
    check(&["layer_norm", "group_norm", "group_norm_silu"]);
}

#[test]
fn attention_is_as_exact_as_that_of_pytorch() {
    check(&["attention"]);
}

#[test]
fn activations_are_as_exact_as_those_of_pytorch() {
    check(&["geglu", "gelu", "silu", "quick_gelu"]);
}

#[test]
fn resizing_is_as_exact_as_that_of_pytorch() {
    check(&["resize"]);
}

#[test]
fn updates_are_as_exact_as_those_of_pytorch() {
    check(&["adamw", "ema"]);
}
