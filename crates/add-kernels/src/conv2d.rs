//! Two-dimensional convolution over `[B, C, H, W]`.
//!
//! `y[b, o, i, j] = bias[o] + sum_{c, u, v} w[o, c, u, v] x[b, c, i s + u - p, j s + v - p]`, zero outside of `x`.

mod depthwise;
mod in_bf16;
mod input;
mod padded;
mod pairs;
mod sizes;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod weight_pairs;
mod weights;
mod windows;
mod winograd;

use burn::tensor::{Tensor, module, ops::ConvOptions};
use burn_flex::FlexTensor;

use crate::half::as_type;
use crate::parallel::{SharedMut, dense, output, values};
use crate::tape::{Kernel, apply};
use padded::Padded;
use sizes::Sizes;
use weights::{WeightGradient, bias_gradient};
use windows::WindowProduct;
use winograd::{Winograd, WinogradGradient};
pub use winograd::{allow_winograd, winograd_is_allowed};

/// Stride and zero padding of a convolution, each `[rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step of the window.
    pub stride: [usize; 2],
    /// Zeros added on both sides.
    pub padding: [usize; 2],
    /// Groups of channels that are convolved apart from each other.
    pub groups: usize,
}

impl ConvGeometry {
    /// One group, the same stride and padding in both directions.
    pub const fn square(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], groups: 1 }
    }
}

/// `x: [B, C_in, H, W]`, `weight: [C_out, C_in / groups, k_h, k_w]`, `bias: [C_out]` to `[B, C_out, H', W']`.
///
/// # Panics
/// If the shapes do not fit each other, or the window is larger than the padded image.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    let sizes = Sizes::new(x.dims(), weight.dims(), bias.as_ref().map(Tensor::dims), geometry);
    let kernel = Conv2d(sizes);
    match bias {
        Some(bias) => {
            match apply(kernel, [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()]) {
                Ok(y) => Tensor::from_dispatch(y),
                Err([x, weight, bias]) => conv2d_reference(
                    Tensor::from_dispatch(x),
                    Tensor::from_dispatch(weight),
                    Some(Tensor::from_dispatch(bias)),
                    geometry,
                ),
            }
        }
        None => match apply(kernel, [x.into_dispatch(), weight.into_dispatch()]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x, weight]) => {
                conv2d_reference(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), None, geometry)
            }
        },
    }
}

/// The same by Burn's own operation.
#[doc(hidden)]
pub fn conv2d_reference(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    let ConvGeometry { stride, padding, groups } = geometry;
    let dtype = x.dtype();
    let (weight, bias) = (as_type(weight, dtype), bias.map(|bias| as_type(bias, dtype)));
    module::conv2d(x, weight, bias, ConvOptions::new(stride, padding, [1, 1], groups))
}

#[derive(Debug, Clone)]
struct Conv2d(Sizes);

impl<const N: usize> Kernel<N> for Conv2d {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, ()) {
        let sizes = self.0;
        let (x, weights, bias) = (values(&inputs[0]), values(&inputs[1]), inputs.get(2).map(values));
        let y = output([sizes.samples, sizes.c_out, sizes.output[0], sizes.output[1]], |out| {
            if sizes.is_depthwise() {
                depthwise::forward(sizes, x, weights, bias, out);
            } else {
                forward(sizes, x, weights, bias, out);
            }
        });
        (y, ())
    }

    fn forward_in_bf16(&self, inputs: &[FlexTensor; N]) -> Option<FlexTensor> {
        self.in_bf16(&inputs[0], &inputs[1], inputs.get(2))
    }

    fn recorded_in_bf16(&self, inputs: &[FlexTensor; N]) -> Option<(FlexTensor, ())> {
        Some((<Self as Kernel<N>>::forward_in_bf16(self, inputs)?, ()))
    }

    fn gradient_in_bf16(
        &self,
        inputs: &[FlexTensor; N],
        dy: &FlexTensor,
        which: usize,
    ) -> Option<FlexTensor> {
        match which {
            0 => self.input_gradient_in_bf16(&inputs[1], dy.as_slice()?),
            1 => self.weight_gradient_in_bf16(&inputs[0], dy.as_slice()?),
            _ => None,
        }
    }

    fn backward(
        &self,
        inputs: [FlexTensor; N],
        (): (),
        dy: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let sizes = self.0;
        let dy = dense(dy);
        let (x, weights, dy) = (values(&inputs[0]), values(&inputs[1]), values(&dy));
        std::array::from_fn(|i| {
            wanted[i].then(|| match i {
                0 => output([sizes.samples, sizes.c_in, sizes.input[0], sizes.input[1]], |out| {
                    if sizes.is_depthwise() {
                        depthwise::input_gradient(sizes, dy, weights, out);
                    } else {
                        input::gradient(sizes, dy, weights, out);
                    }
                }),
                1 => output([sizes.c_out, sizes.inner(), sizes.window[0], sizes.window[1]], |out| {
                    if sizes.is_depthwise() {
                        depthwise::weight_gradient(sizes, x, dy, out);
                    } else {
                        weight_gradient(sizes, x, dy, out);
                    }
                }),
                _ => output([sizes.c_out], |out| {
                    bias_gradient(dy, sizes.samples, sizes.c_out, sizes.output[0] * sizes.output[1], out);
                }),
            })
        })
    }
}

fn forward(sizes: Sizes, x: &[f32], weights: &[f32], bias: Option<&[f32]>, out: SharedMut) {
    if sizes.in_tiles(sizes.output) {
        // SAFETY: every processor has such products, and the sizes are those of the tensors.
        return unsafe { Winograd::forward(sizes, x, weights, bias, out).run() };
    }
    let image = Padded::new(x, sizes.samples * sizes.c_in, sizes.input, sizes.padding, sizes.padding);
    let sources = sources(sizes, &image);
    let pixels = sizes.output[0] * sizes.output[1];
    let (inner, outer) = (sizes.inner(), sizes.outer());
    for group in 0..sizes.groups {
        WindowProduct {
            image: &image.values()[group * inner * image.plane()..],
            image_sample: sizes.c_in * image.plane(),
            image_step: [sizes.stride[0] * image.size[1], sizes.stride[1]],
            sources: &sources,
            weights: &weights[group * outer * sources.len()..][..outer * sources.len()],
            rows: outer,
            bias: bias.map(|b| &b[group * outer..][..outer]),
            samples: sizes.samples,
            grid: sizes.output,
            // SAFETY: the channels of the group are inside of the output.
            out: SharedMut::new(unsafe { out.at(group * outer * pixels) }),
            out_sample: sizes.c_out * pixels,
            out_row: pixels,
            out_step: [sizes.output[1], 1],
        }
        .run();
    }
}

/// Offsets in the padded image of the inputs of one output, in the order of the weights.
fn sources(sizes: Sizes, image: &Padded) -> Vec<usize> {
    let [k_h, k_w] = sizes.window;
    let of_channel = |c| (0..k_h * k_w).map(move |t| c * image.plane() + t / k_w * image.size[1] + t % k_w);
    (0..sizes.inner()).flat_map(of_channel).collect()
}

fn weight_gradient(sizes: Sizes, x: &[f32], dy: &[f32], out: SharedMut) {
    let Sizes { samples, c_in, c_out, input, output, padding, .. } = sizes;
    if sizes.in_tiles(output) {
        let (channels, size, rows, grid) = (c_in, input, c_out, output);
        return WinogradGradient { image: x, samples, channels, size, padding, dy, rows, grid, out }.run();
    }
    let image = Padded::new(x, sizes.samples * sizes.c_in, sizes.input, sizes.padding, sizes.padding);
    let sources = sources(sizes, &image);
    let pixels = sizes.output[0] * sizes.output[1];
    let (inner, outer) = (sizes.inner(), sizes.outer());
    for group in 0..sizes.groups {
        WeightGradient {
            image: &image.values()[group * inner * image.plane()..],
            image_sample: sizes.c_in * image.plane(),
            image_step: [sizes.stride[0] * image.size[1], sizes.stride[1]],
            sources: &sources,
            dy: &dy[group * outer * pixels..],
            dy_sample: sizes.c_out * pixels,
            channels: outer,
            samples: sizes.samples,
            grid: sizes.output,
            // SAFETY: the weights of the group are inside of the output.
            out: SharedMut::new(unsafe { out.at(group * outer * sources.len()) }),
        }
        .run();
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Tensor};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{input_gradient_near_in_bf16, near, near_in_bf16, random, trained_near_in_bf16};

    /// What sums of another order in f32 leave of each product.
    const ORDER: f64 = 1e-6;
    /// What transformed tiles and weights, rounded to bf16, leave of the root of the number of products.
    const TILES: f64 = 0.01;

    /// What an output or a gradient in bf16 may be off by, `products` being those of one number.
    pub(super) fn more(products: usize, in_tiles: bool) -> f64 {
        ORDER * products as f64 + if in_tiles { TILES * (products as f64).sqrt() } else { 0.0 }
    }

    fn check(
        x: Tensor<4>,
        weight: [usize; 4],
        bias: bool,
        geometry: ConvGeometry,
    ) -> Result<(), TestCaseError> {
        let w = random(weight, 2);
        let sizes = Sizes::new(x.dims(), weight, None, geometry);
        let forth = more(sizes.inner() * sizes.taps(), sizes.in_tiles(sizes.output));
        let frozen = w.clone().cast(DType::BF16);
        let layer = |x, dtype| conv2d(x, frozen.clone().cast(dtype), None, geometry);
        let back = more(sizes.outer() * sizes.taps(), sizes.in_tiles(sizes.input));
        input_gradient_near_in_bf16(x.clone(), layer, back)?;
        let weights = more(sizes.samples * sizes.output[0] * sizes.output[1], false);
        if bias {
            let inputs = (x, w, random([weight[0]], 3));
            let ours = |(x, w, b)| conv2d(x, w, Some(b), geometry);
            let reference = |(x, w, b)| conv2d_reference(x, w, Some(b), geometry);
            near(inputs.clone(), ours, reference)?;
            near_in_bf16(inputs.clone(), ours, reference, forth)?;
            trained_near_in_bf16(inputs, ours, reference, &[back, weights, weights])
        } else {
            let ours = |(x, w)| conv2d(x, w, None, geometry);
            let reference = |(x, w)| conv2d_reference(x, w, None, geometry);
            near((x.clone(), w.clone()), ours, reference)?;
            near_in_bf16((x.clone(), w.clone()), ours, reference, forth)?;
            trained_near_in_bf16((x, w), ours, reference, &[back, weights])
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn value_and_gradients_equal_those_of_burn(
            (batch, per_group, out_per_group, groups) in (1_usize..5, 1_usize..12, 1_usize..20, 1_usize..3),
            (height, width) in (1_usize..13, 1_usize..19),
            (k_h, k_w) in (1_usize..4, 1_usize..4),
            stride in (1_usize..4, 1_usize..4),
            padding in (0_usize..3, 0_usize..3),
            bias: bool,
            view in 0..3,
        ) {
            prop_assume!(height + 2 * padding.0 >= k_h && width + 2 * padding.1 >= k_w);
            let c = per_group * groups;
            let x = match view {
                0 => random([batch, c, height, width], 1),
                1 => random([batch, c, width, height], 1).swap_dims(2, 3),
                _ => random([batch + 1, c, height + 1, width + 2], 1)
                    .slice([1..batch + 1, 0..c, 1..height + 1, 1..width + 1]),
            };
            let geometry = ConvGeometry { stride: [stride.0, stride.1], padding: [padding.0, padding.1], groups };
            check(x, [out_per_group * groups, per_group, k_h, k_w], bias, geometry)?;
        }

        #[test]
        fn depthwise_value_and_gradients_equal_those_of_burn(
            (batch, channels) in (1_usize..4, 1_usize..30),
            (height, width) in (1_usize..13, 1_usize..19),
            (k_h, k_w) in (1_usize..5, 1_usize..5),
            stride in (1_usize..4, 1_usize..4),
            padding in (0_usize..4, 0_usize..4),
            bias: bool,
        ) {
            prop_assume!(height + 2 * padding.0 >= k_h && width + 2 * padding.1 >= k_w);
            let geometry = ConvGeometry { stride: [stride.0, stride.1], padding: [padding.0, padding.1], groups: channels };
            check(random([batch, channels, height, width], 1), [channels, 1, k_h, k_w], bias, geometry)?;
        }
    }

    #[test]
    fn sizes_of_the_training_run_equal_those_of_burn() {
        for (x, weight, stride) in [
            ([5, 64, 16, 16], [64, 64, 3, 3], 1),
            ([16, 128, 4, 4], [128, 128, 3, 3], 1),
            ([3, 64, 16, 16], [96, 64, 3, 3], 2),
            ([4, 192, 8, 8], [96, 192, 1, 1], 1),
            ([2, 4, 16, 16], [64, 4, 3, 3], 1),
            ([2, 64, 16, 16], [4, 64, 3, 3], 1),
            ([1, 320, 16, 16], [320, 320, 3, 3], 1),
        ] {
            let geometry = ConvGeometry::square(stride, weight[2] / 2);
            check(random(x, 1), weight, true, geometry).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn windows_of_large_images_equal_those_of_burn(
            (c_in, c_out) in (32_usize..50, 32_usize..80),
            (height, width) in (12_usize..40, 17_usize..40),
            padding in (0_usize..3, 0_usize..3),
            samples in 1_usize..4,
            bias: bool,
        ) {
            let geometry = ConvGeometry { padding: [padding.0, padding.1], ..ConvGeometry::square(1, 1) };
            let grid = [height + 2 * padding.0 - 2, width + 2 * padding.1 - 2];
            prop_assume!(winograd::pays(c_in, c_out, grid));
            check(random([samples, c_in, height, width], 1), [c_out, c_in, 3, 3], bias, geometry)?;
        }
    }

    #[test]
    fn more_channels_than_one_block_equal_those_of_burn() {
        for (x, weight) in [([5, 64, 16, 16], [330, 64, 3, 3]), ([1, 330, 24, 24], [32, 330, 3, 3])] {
            check(random(x, 1), weight, true, ConvGeometry::square(1, 1)).unwrap();
        }
    }

    #[test]
    fn a_sample_has_the_same_bits_alone_and_among_others() {
        for (channels, side) in [(12, 5), (64, 8), (64, 16), (40, 15), (33, 23), (32, 32), (32, 48)] {
            let (x, w) = (random([5, channels, side, side], 1), random([64, channels, 3, 3], 2));
            for dtype in [DType::F32, DType::BF16] {
                let (x, w) = (x.clone().cast(dtype), w.clone().cast(dtype));
                let run =
                    |x| conv2d(x, w.clone(), None, ConvGeometry::square(1, 1)).narrow(0, 0, 1).into_data();
                let alone = run(x.clone().narrow(0, 0, 1));
                for samples in 2..=5 {
                    let among = run(x.clone().narrow(0, 0, samples));
                    assert_eq!(among, alone, "{channels} {side}, {samples} samples in {dtype:?}");
                }
            }
        }
    }

    #[test]
    fn every_run_gives_the_same_bits() {
        let (x, w) = (random([7, 24, 9, 9], 1), random([40, 24, 3, 3], 2));
        let run = || conv2d(x.clone(), w.clone(), None, ConvGeometry::square(1, 1));
        let first = run().into_data();
        for _ in 0..5 {
            assert_eq!(run().into_data(), first);
        }
    }
}
