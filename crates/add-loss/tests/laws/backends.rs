//! Two CPU backends of Burn, whose kernels share no code, compute the same numbers.

use add_loss::{PixelReduction, R1Route, Reduction, distillation, hinge_discriminator, r1};
use add_plugin::{Discriminator, Network};
use burn::tensor::{DType, Device, Tensor};
use heads::ProjectedHead;
use proptest::prelude::*;

use crate::testing::{random, values};

/// Tolerance relative to the largest value: some of ndarray's steps are in single precision whatever the tensors are (3e-8 was seen). The
/// exact numbers, to 1e-9, are those of flex, which add-parity compares with PyTorch.
const ROUNDING: f64 = 1e-6;

/// Both losses of the discriminator, R1, all their gradients, and the distillation's, one list after the other.
fn everything(device: &Device, tokens: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut heads =
        ProjectedHead::default().build(&[4, 6], 3, seed, &device.clone().autodiff()).expect("heads");
    heads.map_parameters(&mut |_, _, value| value.cast(DType::F64));
    let on = |shape: [usize; 3], index: u64| -> Tensor<3> {
        Tensor::from_data(random(shape, index).into_data(), (device, DType::F64))
    };
    let features = |index: u64| vec![on([8, 4, tokens], index), on([8, 6, tokens], index + 1)];
    let (real, fake) = (features(seed % 1000), features(seed % 1000 + 2));
    let condition = on([1, 8, 3], seed % 1000 + 4).squeeze_dim::<2>(0);
    let (hinge_real, hinge_fake) = hinge_discriminator(
        &heads.logits(&real, Some(condition.clone())),
        &heads.logits(&fake, Some(condition.clone())),
        Reduction::Sum,
    );
    let penalty = r1(&heads, &real, Some(&condition), R1Route::Tangent, &[], Reduction::Sum);
    let total = hinge_real.clone() + hinge_fake.clone() + penalty.surrogate;
    let taken = heads.take_gradients(&mut total.backward());
    let leaf = real[0].clone().unsqueeze_dim::<4>(3).autodiff().require_grad();
    let target = fake[0].clone().unsqueeze_dim::<4>(3);
    let distance = distillation(leaf.clone(), target, &[0.5; 8], PixelReduction::Mean);
    let gradient = leaf.grad(&distance.backward()).expect("a gradient");
    let mut all = vec![values(hinge_real), values(hinge_fake), values(penalty.value), values(gradient)];
    all.extend(taken.into_values().map(values));
    all
}

proptest! {
    #[test]
    #[expect(deprecated, reason = "burn-ndarray gives a second opinion for as long as there is one")]
    fn flex_and_ndarray_agree(tokens in 1_usize..9, seed in any::<u64>()) {
        let flex = everything(&Device::flex(), tokens, seed);
        let ndarray = everything(&Device::ndarray(), tokens, seed);
        prop_assert_eq!(flex.len(), ndarray.len());
        // Some biases have no gradient but rounding.
        let largest = flex.iter().flatten().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        for (a, b) in flex.iter().flatten().zip(ndarray.iter().flatten()) {
            prop_assert!((a - b).abs() <= ROUNDING * largest, "{a} and {b} of {largest}");
        }
    }
}
