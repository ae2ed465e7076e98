//! A convolution and its gradients from numbers in bf16, on processors that multiply pairs of such numbers, and where there is a way.

use burn::tensor::bf16;
use burn_flex::FlexTensor;

use super::{Conv2d, pairs, weight_pairs};
use crate::half::{flat, flat_in_bf16, pairs as in_pairs, widen};
use crate::parallel::{dense, output, output_of, values};
use crate::product::{computes_bf16_products, turned};

impl Conv2d {
    pub(super) fn in_bf16(
        &self,
        x: &FlexTensor,
        weights: &FlexTensor,
        bias: Option<&FlexTensor>,
    ) -> Option<FlexTensor> {
        let sizes = self.0;
        let products = sizes.inner() * sizes.taps();
        if !computes_bf16_products() || sizes.is_depthwise() || products == 0 || !products.is_multiple_of(2) {
            return None;
        }
        let (x, weights) = (flat(x), flat_in_bf16(weights));
        let weights = in_pairs(&weights)?;
        let bias = bias.map(|bias| dense(widen(bias.clone())));
        let (x, bias) = (x.as_slice::<bf16>()?, bias.as_ref().map(values));
        // SAFETY: the sizes are those of the tensors, and the processor has pairs.
        Some(output_of([sizes.samples, sizes.c_out, sizes.output[0], sizes.output[1]], |out| unsafe {
            pairs::forward(sizes, x, weights, bias, out);
        }))
    }

    pub(super) fn input_gradient_in_bf16(&self, weights: &FlexTensor, dy: &[bf16]) -> Option<FlexTensor> {
        let sizes = self.0.of_input_gradient()?;
        if !(sizes.c_in * sizes.taps()).is_multiple_of(2) {
            return None;
        }
        let weights = flat_in_bf16(weights);
        let weights = turned(weights.as_slice()?, [sizes.c_in, sizes.c_out, sizes.taps()]);
        // SAFETY: the sizes are those of the tensors, and the processor has pairs.
        Some(output_of([sizes.samples, sizes.c_out, sizes.output[0], sizes.output[1]], |out| unsafe {
            pairs::forward(sizes, dy, &weights, None, out);
        }))
    }

    pub(super) fn weight_gradient_in_bf16(&self, x: &FlexTensor, dy: &[bf16]) -> Option<FlexTensor> {
        let sizes = self.0;
        if !weight_pairs::is_possible(sizes) {
            return None;
        }
        let x = flat(x);
        let x = x.as_slice()?;
        // SAFETY: the sizes are those of the tensors, and the processor has pairs.
        Some(output([sizes.c_out, sizes.c_in, sizes.window[0], sizes.window[1]], |out| unsafe {
            weight_pairs::gradient(sizes, x, dy, out);
        }))
    }
}
