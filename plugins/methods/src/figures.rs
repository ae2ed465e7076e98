//! Figures that several methods report.

use add_plugin::Logits;
use add_train::report::StepReport;
use burn::tensor::Tensor;

/// The variance of all values, `[1]`.
pub(crate) fn variance(x: Tensor<4>) -> Tensor<1> {
    let mean = x.clone().mean().reshape([1, 1, 1, 1]);
    (x - mean).square().mean()
}

/// Reports of each head the mean logit of real pictures and of fakes, and the share of them on their side of zero, over a
/// part that is `share` of the batch.
pub(crate) fn logits(report: &mut StepReport, share: f64, real: &[Logits], fake: &[Logits]) {
    for (logits, mean, right, side) in
        [(real, "logits_real", "sign_real", 1.0), (fake, "logits_fake", "sign_fake", -1.0)]
    {
        report.heads(mean, share, each(logits, Tensor::mean));
        let above = |l: Tensor<2>| l.mul_scalar(side).greater_elem(0.0).float().mean();
        report.heads(right, share, each(logits, above));
    }
}

/// A figure `[1]` of each head's logits, off the tape.
fn each(logits: &[Logits], figure: impl Fn(Tensor<2>) -> Tensor<1>) -> Vec<Tensor<1>> {
    logits.iter().map(|Logits(l)| figure(l.clone().inner())).collect()
}
