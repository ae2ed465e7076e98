//! Plugins: what an evaluation measures. The mathematics is in `add-eval`; here it meets networks and pictures.

mod caption_accuracy;
mod clip_score;
mod cmmd;
mod defaults;
mod density_coverage;
mod diversity;
mod fd_dino_v2;
mod fid;
mod frechet;
mod gaussians;
mod kernel;
mod kid;
mod look;
mod manifolds;
mod precision_recall;
mod preparation;
mod reconstruction;
mod sets;
