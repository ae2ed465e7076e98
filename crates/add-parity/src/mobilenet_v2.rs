//! Family `mobilenet_v2`: the feature network against torchvision's class.
//!
//! `out.features.N` is `features.N` of `in.image` (already normalised), for every `N` that has a cotangent
//! `in.g.N`; `grad.image` is that of `sum_N sum(features.N * g.N)`. Without a weights file of its own, a fixture is
//! about the weights that this project ships, torchvision's in half precision.

use add_nn::{layers::Init, mobilenet_v2::MobileNetV2};
use add_weights::{Loading, Source, WeightsFile};
use burn::tensor::DType;
use features::MOBILENET_V2_WEIGHTS;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, gradient, nothing},
};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let own = fixture.tensors_beside(&format!("{}.weights.safetensors", fixture.name()))?;
    let weights = match own {
        Some(weights) => weights,
        None => WeightsFile::from_gzip("the shipped weights", MOBILENET_V2_WEIGHTS)?,
    };
    let source = |name: &str| Source::Whole(MobileNetV2::torchvision_name(name));
    let loading = Loading { source: &source, ignore: &|_| false, dtype: DType::F32 };
    let net = loading.load(MobileNetV2::new(&Init::new(0, fixture.device())), &weights)?.fold();

    let mut blocks: Vec<usize> = fixture.parts("in.g.").iter().filter_map(|n| n.parse().ok()).collect();
    blocks.sort_unstable();
    let image = fixture.leaf::<4>("in.image", DType::F32)?;
    let outputs = net.forward_blocks(image.clone(), &blocks);
    let mut sum = None;
    for (block, output) in blocks.into_iter().zip(outputs) {
        let term = (output.clone() * fixture.tensor(&format!("in.g.{block}"), DType::F32)?).sum();
        sum = Some(sum.map_or(term.clone(), |sum| sum + term));
        rows.check(&format!("out.features.{block}"), output);
    }
    if let Some(sum) = sum {
        rows.check("grad.image", gradient(&image, &sum.backward()));
    }
    Ok(rows.finish(nothing))
}
