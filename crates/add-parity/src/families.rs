//! The families of fixtures, and what compares them.

use crate::{
    Fixture, ParityError, ParityRow, losses, metrics, mobilenet_v2, openclip, sched, text, tokens, train,
    unet, vae, vit,
};

/// Compares one fixture; an error means that nothing could be compared.
pub type Comparison = fn(&Fixture) -> Result<Vec<ParityRow>, ParityError>;

/// Each family by the name of its folder.
pub const FAMILIES: [(&str, Comparison); 11] = [
    ("unet", unet::run),
    ("vae", vae::run),
    ("text", text::run),
    ("openclip", openclip::run),
    ("tokens", tokens::run),
    ("vit", vit::run),
    ("mobilenet_v2", mobilenet_v2::run),
    ("losses", losses::run),
    ("sched", sched::run),
    ("metrics", metrics::run),
    ("train", train::run),
];

/// What compares the fixtures of a folder of this name.
pub fn comparison_of(family: &str) -> Option<Comparison> {
    FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, comparison)| *comparison)
}
