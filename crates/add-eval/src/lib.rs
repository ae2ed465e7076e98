//! Evaluation in float64: Frechet and kernel distances, precision and recall, CLIP score.
//!
//! Everything here works on plain slices: a feature network runs elsewhere, its rows come in as `f32`, and all
//! mathematics on them is float64 (the square root of a covariance loses half the digits it is given).
//! One metric per file; [`report`] turns a run folder into a page.

mod bradley_terry;
mod clip_score;
mod cmmd;
mod density_coverage;
mod diversity;
mod elo;
mod error;
mod features;
mod frechet;
mod halves;
mod kid;
mod knn;
mod moments;
mod npz;
mod precision_recall;
pub mod report;
pub mod resize;
mod rng;
mod table;
#[cfg(test)]
mod testing;
mod wilson;

pub use bradley_terry::Tally;
pub use clip_score::{ClipScoreConvention, mean_cosine, row_cosines};
pub use cmmd::cmmd;
pub use density_coverage::{Neighbourhoods, neighbourhoods};
pub use diversity::pixel_std;
pub use elo::{EloConfig, Outcome, Vote, elo_ratings, win_rate};
pub use error::EvalError;
pub use features::FeatureSet;
pub use frechet::{Gaussian, frechet_distance};
pub use halves::{interval, mean_with_interval};
pub use kid::kid;
pub use moments::Moments;
pub use npz::{NpzError, read_npz, write_npz};
pub use precision_recall::on_manifold;
pub use table::{Better, Latency, Row, TableError, read_json, to_json, to_markdown};
pub use wilson::wilson;
