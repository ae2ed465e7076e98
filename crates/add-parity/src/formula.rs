//! Weights as a formula, so that a full-size network is compared without its file of gigabytes.
//!
//! Element `i` (row-major) of the tensor that a library calls `name` is `offset + scale * u_i` in f32, where `u_i` in
//! [-1, 1) is element `i` of the stream of `name` and a seed ([`add_nn::layers::stream_of`]), and offset and scale
//! follow from name and shape.

use add_nn::layers::{stream_of, unit};
use add_plugin::Network;
use add_weights::Source;
use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};

/// What the names of embedding tables and single tokens contain.
const EMBEDDINGS: [&str; 8] = [
    "token_embedding",
    "position_embedding",
    "positional_embedding",
    "pos_embed",
    "cls_token",
    "class_embedding",
    "mask_token",
    "register_tokens",
];

/// Fills `module`, on the CPU, with the formula's values under the names that `source` gives its parameters. One that
/// the formula leaves alone, a scalar, keeps its own.
pub(crate) fn fill<M: Module>(mut module: M, source: &dyn Fn(&str) -> Source, seed: u64) -> M {
    let flat = |values: Vec<f32>| {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
    };
    module.set_parameters(&mut |name, shape, _| values(&source(name), shape, seed).map(flat));
    module
}

/// The values of a parameter of `shape`, row-major.
fn values(source: &Source, shape: &[usize], seed: u64) -> Option<Vec<f32>> {
    let count: usize = shape.iter().product();
    let value = |name: &str, shape: &[usize]| {
        let (offset, scale) = rule(name, shape)?;
        let stream = stream_of(name, seed);
        Some(move |i| (offset + scale * unit(stream, i)) as f32)
    };
    match (source, shape) {
        (Source::Whole(name), _) => Some((0..count).map(value(name, shape)?).collect()),
        (Source::Rows { name, part, of }, [rows, rest @ ..]) => {
            let whole = [&[rows * of][..], rest].concat();
            Some((part * count..(part + 1) * count).map(value(name, &whole)?).collect())
        }
        (Source::Transposed(name), &[rows, columns]) => {
            let value = value(name, &[columns, rows])?;
            Some((0..count).map(|i| value(i % columns * rows + i / columns)).collect())
        }
        _ => None,
    }
}

/// Offset and scale of the tensor `name`; `None` for those that the formula leaves alone.
fn rule(name: &str, shape: &[usize]) -> Option<(f64, f64)> {
    let count: usize = shape.iter().product();
    let ends = |ending: &str| name.ends_with(ending);
    if ends("num_batches_tracked") || ends("logit_scale") {
        None
    } else if ends(".gamma") || ends("lambda1") {
        Some((0.75, 0.25))
    } else if EMBEDDINGS.iter().any(|part| name.contains(part)) {
        Some((0.0, 0.5 * 3_f64.sqrt()))
    } else if ends("running_var") {
        Some((1.0, 0.5))
    } else if ends("running_mean") {
        Some((0.0, 0.1))
    } else if shape.len() >= 2 {
        // A bare matrix that multiplies from the right.
        let right = ends("text_projection") || ends("visual.proj");
        let fan_in = if right { shape[0] } else { count / shape[0] };
        Some((0.0, (3.0 / fan_in as f64).sqrt()))
    } else if ends("weight") {
        Some((1.0, 0.2))
    } else {
        Some((0.0, 0.1))
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the formula gives exact numbers")]
mod tests {
    use super::*;

    /// The last line of the formula's own Python file.
    #[test]
    fn the_first_values_are_those_of_the_reference() {
        let whole = Source::Whole("conv_in.weight".to_owned());
        let values = values(&whole, &[320, 4, 3, 3], 7).expect("filled");
        assert_eq!(stream_of("conv_in.weight", 0), 0x1CE6_9906_BDC5_74A7);
        let first = [-0.056_483_309_715_986_25, -0.099_018_342_793_083_19, 0.014_308_446_086_943_15];
        assert_eq!(values[..3], first.map(|value: f64| value as f32));
    }

    #[test]
    fn parts_and_transposes_are_views_of_the_same_stream() {
        let name = || "blocks.0.attn.qkv.weight".to_owned();
        let whole = values(&Source::Whole(name()), &[6, 4], 1).expect("filled");
        let part = values(&Source::Rows { name: name(), part: 1, of: 3 }, &[2, 4], 1).expect("filled");
        assert_eq!(part, whole[8..16]);
        let name = || "text_projection".to_owned();
        let stored = values(&Source::Whole(name()), &[4, 6], 1).expect("filled");
        let turned = values(&Source::Transposed(name()), &[6, 4], 1).expect("filled");
        assert!((0..24).all(|i| turned[i] == stored[i % 4 * 6 + i / 4]));
    }
}
