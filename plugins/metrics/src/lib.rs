//! Plugins: what an evaluation measures. The mathematics is in `add-eval`; here it meets networks and pictures.

mod caption_accuracy;
mod frechet;
mod kernel;
mod precision_recall;
mod rows;
