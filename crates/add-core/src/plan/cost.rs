//! What one sample costs a network: arithmetic, and values that the tape keeps for the backward pass.
//!
//! Both follow from the shapes of its parameters and from where they lie. Counted: every convolution, linear map,
//! normalisation, attention and activation. Kept are the inputs of all these, once each, as the kernels of `add-kernels`
//! keep them; attention keeps queries, keys and values, never its scores. Not counted: additions, resizing, embeddings of
//! the timestep, all of them small.

use add_plugin::{DOWN, UP};

use super::geometry::{Geometry, Positions};

/// How the operations beside convolutions and linear maps are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// Each by one kernel of this project: the processor in f32.
    Fused,
    /// Normalisations and activations by several operations of Burn, which keep what they make in between.
    Pure,
}

/// What one sample costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Floating-point operations of the forward pass, two for each multiplication with its addition.
    pub flops: f64,
    /// Values that the tape keeps.
    pub kept: f64,
    /// Values of the largest layer's output: what a pass without a tape needs at once, a few times over.
    pub widest: f64,
    /// Values that the tape keeps when only the input of every block is kept, and one block's own at a time.
    pub kept_by_blocks: f64,
}

/// What each layer keeps and how many values its parameters have, in the order of the module's fields, which is about that of
/// the forward pass.
pub(crate) fn profile(
    shapes: &[(String, Vec<usize>)],
    geometry: &Geometry,
    kernels: KernelKind,
) -> Vec<(f64, f64)> {
    let each = |(path, shape): &(String, Vec<usize>)| {
        let kept = geometry.place(path).map_or(0.0, |place| layer(path, shape, place, kernels).kept);
        (kept, shape.iter().product::<usize>() as f64)
    };
    shapes.iter().map(each).collect()
}

/// The cost of the network with these parameters on `geometry`, of which only paths that satisfy `part` count.
pub(crate) fn cost(
    shapes: &[(String, Vec<usize>)],
    geometry: &Geometry,
    kernels: KernelKind,
    part: impl Fn(&str) -> bool,
) -> Cost {
    let mut total = Cost::default();
    let mut block = Block::default();
    let mut largest: f64 = 0.0;
    for (path, shape) in shapes.iter().filter(|(path, _)| part(path)) {
        let Some(place) = geometry.place(path) else { continue };
        let layer = layer(path, shape, place, kernels);
        total.flops += layer.flops;
        total.kept += layer.kept;
        total.widest = total.widest.max(layer.output);
        if block.name != block_name(path) {
            largest = largest.max(block.kept);
            block = Block { name: block_name(path).to_owned(), ..Block::default() };
        }
        // A block begins with what reads its input.
        if block.kept == 0.0 {
            total.kept_by_blocks += layer.input;
        }
        block.kept += layer.kept;
    }
    total.kept_by_blocks += largest.max(block.kept);
    total
}

#[derive(Default)]
struct Block {
    name: String,
    kept: f64,
}

/// The residual block, transformer or size change that a layer belongs to; elsewhere the layer itself.
fn block_name(path: &str) -> &str {
    let parts = ["resnets.", "attentions.", "downsamplers.", "upsamplers.", "layers.", "blocks.", "main."];
    let end = parts.iter().filter_map(|part| {
        let start = path.find(part).filter(|&at| at == 0 || path.as_bytes()[at - 1] == b'.')? + part.len();
        Some(start + path[start..].find('.').unwrap_or(path.len() - start))
    });
    // `down_blocks.0.resnets.1` rather than `down_blocks.0`.
    end.max().map_or_else(|| path.rsplit_once('.').map_or(path, |(layer, _)| layer), |end| &path[..end])
}

#[derive(Default)]
struct Layer {
    flops: f64,
    input: f64,
    output: f64,
    kept: f64,
}

fn layer(path: &str, shape: &[usize], place: Positions, kernels: KernelKind) -> Layer {
    let number = |n: usize| n as f64;
    let (read, written) = (number(place.input), number(place.output));
    let is_weight = path.ends_with("weight") || path.ends_with("weight_orig");
    match *shape {
        // Its input is kept by the layer that it is beside.
        [rank, ..] if path.ends_with(DOWN) => {
            let output = number(rank) * written;
            Layer {
                flops: 2.0 * shape.iter().product::<usize>() as f64 * written,
                input: 0.0,
                output,
                kept: output,
            }
        }
        [c_out, rank, ..] if path.ends_with(UP) => {
            let output = number(c_out) * written;
            Layer { flops: 2.0 * number(rank) * output, output, ..Layer::default() }
        }
        // A head's normalisation is counted with its convolution.
        [channels] if is_weight && !path.contains("main.") => norm(path, number(channels) * read, kernels),
        [c_out, c_in, ..] if is_weight && shape.len() >= 3 => {
            let each = shape.iter().skip(1).product::<usize>();
            let depthwise = path.contains("depthwise");
            let c_read = number(if depthwise { c_out } else { c_in });
            let output = number(c_out) * written;
            // The shortcut reads what the first normalisation keeps already.
            let input = if path.contains("conv_shortcut") { 0.0 } else { c_read * read };
            Layer {
                flops: 2.0 * number(c_out * each) * written,
                input,
                output,
                kept: input + activation(path, output, kernels),
            }
        }
        [c_out, c_in] if is_weight && !path.contains("token_embedding") => {
            let output = number(c_out) * written;
            let ends = |names: [&str; 2]| names.iter().any(|name| path.contains(&format!("{name}.")));
            let (query, key, value) = (["to_q", "q_proj"], ["to_k", "k_proj"], ["to_v", "v_proj"]);
            let attention = ends(query) || ends(key) || ends(value);
            // Keys and values read what the queries read, or the text, which is kept anyway.
            let input = if ends(key) || ends(value) { 0.0 } else { number(c_in) * read };
            // Scores, and their product with the values.
            let scores = if ends(query) { 4.0 * output * number(place.context) } else { 0.0 };
            Layer {
                flops: 2.0 * number(c_out * c_in) * written + scores,
                input,
                output,
                kept: input + if attention { output } else { 0.0 } + activation(path, output, kernels),
            }
        }
        _ => Layer::default(),
    }
}

/// A normalisation keeps its input; in pure operations also the centred and the normal values, and `SiLU` after a residual
/// block's keeps its argument and its sigmoid.
fn norm(path: &str, input: f64, kernels: KernelKind) -> Layer {
    let silu = path.contains("resnets.") || path.contains("conv_norm_out");
    let between = match kernels {
        KernelKind::Fused => 0.0,
        KernelKind::Pure if silu => 4.0,
        KernelKind::Pure => 2.0,
    };
    Layer { flops: 0.0, input, output: input, kept: input * (1.0 + between) }
}

/// What the nonlinearity right after a layer keeps of the layer's `output`.
fn activation(path: &str, output: f64, kernels: KernelKind) -> f64 {
    let gated = path.contains("ff.net.0.");
    let one = path.contains("mlp.fc1.")
        || ["stem.", "expand.", "depthwise.", "last."].iter().any(|name| path.contains(name));
    let head = path.contains("main.");
    match kernels {
        // Normalisation and leaky ReLU of a head are pure operations everywhere.
        _ if head => 5.0 * output,
        KernelKind::Fused if gated || one => output,
        // Both halves, and of the gate its error function and its product.
        KernelKind::Pure if gated => 2.5 * output,
        KernelKind::Pure if one => 3.0 * output,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(path: &str, shape: &[usize]) -> (String, Vec<usize>) {
        (path.to_owned(), shape.to_vec())
    }

    fn whole(shapes: &[(String, Vec<usize>)], geometry: &Geometry, kernels: KernelKind) -> Cost {
        cost(shapes, geometry, kernels, |_| true)
    }

    #[test]
    fn a_convolution_costs_its_weights_at_every_position() {
        // 320 x 320 x 9 weights at 64 x 64 positions, twice: 7,549,747,200. It keeps 320 x 4,096 values.
        let conv = [shape("down_blocks.0.resnets.0.conv1.weight", &[320, 320, 3, 3])];
        let got =
            whole(&conv, &Geometry::Unet { side: 64, levels: 4, text: 77, patch: 1 }, KernelKind::Fused);
        assert!((got.flops - 7_549_747_200.0).abs() < 1.0, "{got:?}");
        assert!((got.kept - 1_310_720.0).abs() < 1.0, "{got:?}");
    }

    #[test]
    fn attention_costs_its_maps_and_twice_its_scores() {
        let map = |name: &str| shape(&format!("layers.0.self_attn.{name}.weight"), &[8, 8]);
        let four = ["q_proj", "k_proj", "v_proj", "out_proj"].map(map);
        let got = whole(&four, &Geometry::Sequence(10), KernelKind::Fused);
        // Four maps of 64 weights at 10 tokens, 5,120; the scores and their product with the values, 4 x 8 x 10 x 10.
        assert!((got.flops - (5_120.0 + 3_200.0)).abs() < 1e-9, "{got:?}");
        // The shared input, queries, keys and values, and the input of the last map: 5 x 80.
        assert!((got.kept - 400.0).abs() < 1e-9, "{got:?}");
    }

    #[test]
    fn blocks_keep_their_inputs_and_one_block_at_a_time() {
        let shapes = [
            shape("mid_block.resnets.0.norm1.weight", &[4]),
            shape("mid_block.resnets.0.conv1.weight", &[4, 4, 3, 3]),
            shape("mid_block.resnets.1.norm1.weight", &[4]),
            shape("mid_block.resnets.1.conv1.weight", &[4, 4, 3, 3]),
        ];
        let got =
            whole(&shapes, &Geometry::Unet { side: 2, levels: 1, text: 1, patch: 1 }, KernelKind::Fused);
        // Each layer keeps 4 channels at 4 positions; each block has two.
        assert!((got.kept - 64.0).abs() < 1e-9, "{got:?}");
        assert!((got.kept_by_blocks - (2.0 * 16.0 + 32.0)).abs() < 1e-9, "{got:?}");
    }

    #[test]
    fn pure_operations_keep_more() {
        let norm = [shape("mid_block.resnets.0.norm1.weight", &[4])];
        let geometry = Geometry::Unet { side: 2, levels: 1, text: 1, patch: 1 };
        let kept = |kernels| whole(&norm, &geometry, kernels).kept;
        assert!((kept(KernelKind::Pure) - 5.0 * kept(KernelKind::Fused)).abs() < 1e-9);
    }
}
