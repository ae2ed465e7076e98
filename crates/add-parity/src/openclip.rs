//! Family `openclip`: pairs of an image and a text tower against `open_clip`.
//!
//! The configuration is `open_clip`'s `model_cfg`. `out.image_features` (of `in.image`, already normalised pictures)
//! and `out.text_features` (of the ids `in.text`) are not normalised; `out.logits_per_image` is
//! `exp(logit_scale)` times the cosine of every picture with every text.

use add_nn::{
    layers::Init,
    open_clip::{OpenClip, OpenClipConfig},
};
use add_weights::{Loading, names};
use burn::tensor::DType;

use crate::{Fixture, ParityError, ParityRow, row::Comparison};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let config: OpenClipConfig = fixture.config()?;
    let net = OpenClip::new(&config, &Init::new(0, fixture.device()))?;
    let loading = Loading { source: &names::open_clip, ignore: &names::is_unused, dtype: DType::F32 };
    let net = loading.load(net, &fixture.weights()?)?;
    let images = net.image_features(fixture.tensor("in.image", DType::F32)?);
    let texts = net.text_features(fixture.ids("in.text")?);
    rows.check("out.logits_per_image", net.logits_per_image(images.clone(), texts.clone()));
    rows.check("out.image_features", images);
    rows.check("out.text_features", texts);
    Ok(rows.finish(|key| key.starts_with("act.").then(|| "the towers show their features only".into())))
}
