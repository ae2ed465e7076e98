//! Evaluation in float64: Frechet and kernel distances, precision and recall, CLIP score.
