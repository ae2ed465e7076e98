//! The equations of Adversarial Diffusion Distillation as pure functions over tensors.
