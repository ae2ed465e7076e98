//! The chain rule cut at the student's picture: each term of a loss gives its gradient there, and one backward pass carries
//! their sum through the student. So the balance of the terms is visible, and the tapes of the networks that look at the
//! picture never live together with each other's.

use add_train::gradients::scalars;
use burn::tensor::{Gradients, Tensor};

/// The values of `x_hat` as the start of a new tape.
pub(crate) fn leaf(x_hat: &Tensor<4>) -> Tensor<4> {
    x_hat.clone().inner().autodiff().require_grad()
}

/// `d loss / d leaf` on the plain device.
pub(crate) fn gradient_at(leaf: &Tensor<4>, loss: Tensor<1>) -> Tensor<4> {
    leaf.grad(&loss.backward()).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

/// A loss and `|gradient|_2`, in one reading.
pub(crate) fn value_and_norm(loss: Tensor<1>, gradient: &Tensor<4>) -> [f64; 2] {
    let both = scalars([loss.inner(), gradient.clone().square().sum()]);
    [both[0], both[1].sqrt()]
}

/// The backward pass from `x_hat` with this `gradient` at it, which lies on the plain device.
pub(crate) fn carry(x_hat: Tensor<4>, gradient: Tensor<4>) -> Gradients {
    (x_hat * gradient.autodiff()).sum().backward()
}
