//! Seeds that nobody chose.

use std::hash::{BuildHasher as _, RandomState};

/// A seed that differs from one call to the next, small enough for every client.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0) >> 32
}
