//! Plugins: noise schedules.

mod cosine;
mod fields;
mod rectified_flow;
mod scaled_linear;
mod zero_terminal_snr;

pub use cosine::Cosine;
pub use rectified_flow::RectifiedFlow;
pub use scaled_linear::ScaledLinear;
pub use zero_terminal_snr::ZeroTerminalSnr;

/// Reads a schedule as a recipe would.
#[cfg(test)]
fn recipe(text: &str) -> ron::error::SpannedResult<add_plugin::Plugin<dyn add_plugin::Schedule>> {
    use ron::extensions::Extensions;
    ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES).from_str(text)
}
