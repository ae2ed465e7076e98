//! What a network takes where some measures are assumed.

use add_recipe::{
    Dtype,
    passes::{Count, NetworkPart, Pass, Share},
};

use super::{
    Costed, Kind,
    held::Work,
    measures::{Decoder, KeptStates, Measures, Trained, Types},
};
use crate::outline::Keeps;

/// The arithmetic of a network's passes.
pub(super) fn passes(pass: &Pass, network: &Costed, measures: &Measures) -> Work {
    let once = match pass.count {
        Count::Times(times) => times,
        // The gradient by values that stay as they are is not computed.
        Count::ThereAndBack => {
            if network.trained {
                3.0
            } else {
                2.0
            }
        }
    };
    let again = if pass.taped && by_blocks(network, measures) { 1.0 } else { 0.0 };
    let passes = share(pass.share, measures) * (once + again);
    let cost = match pass.part {
        NetworkPart::Whole => network.cost,
        NetworkPart::Encoder => network.encoder,
    };
    Work { name: pass.name, passes, flops: passes * cost.flops }
}

/// Which share of a picture is computed.
pub(super) fn share(share: Share, measures: &Measures) -> f64 {
    match (share, measures.decoder) {
        (Share::Whole, _) => 1.0,
        (Share::OfDistance(part), Decoder::AsStated) => part,
        (Share::OfDistance(part), Decoder::Crop) => part.min(0.25),
    }
}

/// Values that are trained of a network.
pub(super) fn trained(network: &Costed, measures: &Measures) -> f64 {
    match measures.trained {
        Trained::Adapters(rank) if network.kind == Kind::Denoiser => rank as f64 * network.adapters,
        _ => network.parameters,
    }
}

/// Whether a network's tape keeps the inputs of its blocks alone.
pub(super) fn by_blocks(network: &Costed, measures: &Measures) -> bool {
    match measures.tape {
        // Heads have no blocks.
        KeptStates::Blocks if network.kind != Kind::Heads => true,
        KeptStates::Blocks | KeptStates::AsStated => network.keeps == Keeps::Blocks,
    }
}

/// Bytes on a network's tape for one sample.
pub(super) fn tape(network: &Costed, measures: &Measures) -> f64 {
    let kept = if by_blocks(network, measures) { network.cost.kept_by_blocks } else { network.cost.kept };
    dtype(network, measures.tapes).bytes() as f64 * kept
}

/// What a network computes in.
pub(super) fn dtype(network: &Costed, types: Types) -> Dtype {
    match types {
        Types::Bf16 if network.kind != Kind::Heads => Dtype::BF16,
        Types::Bf16 | Types::AsStated => network.dtype,
    }
}
