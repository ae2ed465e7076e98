//! Evaluation in float64: Frechet and kernel distances, precision and recall, CLIP score.
//!
//! Everything here works on plain slices: a feature network runs elsewhere, its rows come in as `f32`, and all
//! mathematics on them is float64 (the square root of a covariance loses half the digits it is given).
//! One metric per file; [`names`] lists what each number is called in `evaluation.json`, [`report`] turns a run
//! folder into a page.

mod classifier;
mod clip_score;
mod density_coverage;
mod diversity;
mod elo;
mod error;
mod features;
mod frechet;
mod kid;
mod knn;
mod moments;
pub mod names;
mod precision_recall;
mod ranking;
pub mod report;
pub mod resize;
mod retrieval;
mod rng;
mod table;
#[cfg(test)]
mod testing;

pub use classifier::{accuracy, top_k_accuracy};
pub use clip_score::{clip_score_hessel, clip_score_torchmetrics, mean_cosine, row_cosines};
pub use density_coverage::{DensityCoverage, density_coverage};
pub use diversity::pixel_std;
pub use elo::{EloConfig, Outcome, Vote, elo_ratings, win_rate};
pub use error::EvalError;
pub use features::FeatureSet;
pub use frechet::{frechet_distance, frechet_distance_of_sets};
pub use kid::{KidEstimate, KidSubsets, kid, kid_subsets};
pub use moments::Moments;
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use retrieval::retrieval_top_k;
pub use table::{Row, TableError, read_json, to_json, to_markdown};
