//! What a plan says of each network: the bytes that it holds, and the arithmetic of a step.

use add_recipe::Dtype;
use add_train::networks::Role;

/// Bytes that a network holds all the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// The network that holds it.
    pub role: Role,
    /// Values of its parameters and buffers.
    pub parameters: f64,
    /// What they are held in.
    pub dtype: Dtype,
    /// Bytes of its values.
    pub values: f64,
    /// Bytes of the gradients of those that are trained.
    pub gradients: f64,
    /// Bytes of the optimiser's two moments.
    pub moments: f64,
    /// Bytes of the running average on the device.
    pub average: f64,
}

/// Arithmetic of a step for one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The network, or the part of it, that computes.
    pub name: &'static str,
    /// Passes, a backward pass of a trained network counting as two and of a frozen one as one.
    pub passes: f64,
    /// Floating-point operations of all of them.
    pub flops: f64,
}
