//! Losses, heads, weightings, schedules and samplers against a float64 reference written from the paper.

mod algebra;
mod distillation;
mod fixture;
mod heads;
mod laws;
mod r1_routes;
mod samplers;
