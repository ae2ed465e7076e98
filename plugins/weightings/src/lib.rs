//! Plugins: weightings and targets of the distillation loss, ADD Eq. (4).

mod exponential;
mod nfsd;
mod sds;
mod uniform;

pub use exponential::Exponential;
pub use nfsd::Nfsd;
pub use sds::{Sds, SdsWeight};
pub use uniform::Uniform;

/// Reads a weighting as a recipe would.
#[cfg(test)]
fn recipe(text: &str) -> ron::error::SpannedResult<add_plugin::Plugin<dyn add_plugin::Weighting>> {
    use ron::extensions::Extensions;
    ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES).from_str(text)
}

/// `alpha_bar` 0.64, 0.36 and 0: alpha 0.8, 0.6 and 0, sigma 0.6, 0.8 and 1.
#[cfg(test)]
fn three_steps() -> add_plugin::NoiseSchedule {
    add_plugin::NoiseSchedule::from_alphas_cumprod(&[0.64, 0.36, 0.0])
}
