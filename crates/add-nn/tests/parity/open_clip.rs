//! The pairs of towers against `open_clip`.

use add_nn::{
    layers::Init,
    open_clip::{OpenClip, OpenClipConfig},
};
use add_weights::{Loading, names};
use burn::tensor::{DType, Device};

use crate::fixture::fixtures;

#[test]
fn towers_equal_open_clip() {
    for mut fixture in fixtures("openclip", "") {
        let device = Device::flex();
        let config: OpenClipConfig = serde_json::from_str(&fixture.config).expect("a configuration");
        let net = OpenClip::new(&config, &Init::new(0, &device)).expect("a valid one");
        let loading = Loading { source: &names::open_clip, ignore: &names::is_unused, dtype: DType::F32 };
        let net = loading.load(net, fixture.weights()).expect("all parameters");
        let images = net.image_features(fixture.input("in.image", DType::F32, &device));
        let texts = net.text_features(fixture.ids("in.text", &device));
        fixture.check("out.logits_per_image", net.logits_per_image(images.clone(), texts.clone()));
        fixture.check("out.image_features", images);
        fixture.check("out.text_features", texts);
        fixture.finish(3);
    }
}
