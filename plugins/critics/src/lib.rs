//! Critics: what discriminator heads look at in place of a network of pictures.

mod teacher_features;

pub use teacher_features::{Levels, TeacherFeatures};
