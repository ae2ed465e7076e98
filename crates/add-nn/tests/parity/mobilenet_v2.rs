//! `MobileNetV2` against torchvision on the shipped weights.

use std::path::Path;

use add_nn::{layers::Init, mobilenet_v2::MobileNetV2};
use add_weights::{Loading, Source, WeightsFile};
use burn::tensor::{DType, Device};

use crate::fixture::small_fixtures;

#[test]
fn mobilenet_v2_equals_torchvision_and_passes_gradients_to_its_input() {
    let weights = "../../plugins/features/assets/mobilenet_v2_features_f16.safetensors";
    let weights =
        WeightsFile::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(weights)).expect("the weights");
    let device = Device::flex();
    let source = |name: &str| Source::Whole(MobileNetV2::torchvision_name(name));
    let loading = Loading { source: &source, ignore: &|_| false, dtype: DType::F32 };
    let net =
        loading.load(MobileNetV2::new(&Init::new(0, &device)), &weights).expect("all parameters").fold();
    for mut fixture in small_fixtures("mobilenet_v2", "") {
        let image = fixture.input::<4>("in.image", DType::F32, &device).autodiff().require_grad();
        let hooks = [3, 6, 10, 13, 17];
        let outputs = net.forward_blocks(image.clone(), &hooks);
        let mut sum = None;
        for (hook, output) in hooks.into_iter().zip(outputs) {
            let g = fixture.input::<4>(&format!("in.g.{hook}"), DType::F32, &device);
            let term = (output.clone() * g).sum();
            sum = Some(sum.map_or(term.clone(), |sum| sum + term));
            fixture.check(&format!("out.features.{hook}"), output.inner());
        }
        let grads = sum.expect("hooks").backward();
        fixture.check("grad.image", image.grad(&grads).expect("a gradient"));
        fixture.finish(6);
    }
}
