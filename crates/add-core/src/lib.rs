//! A recipe in RON, read, checked and assembled into a trainer, a sampler or an evaluator.
