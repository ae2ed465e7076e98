//! Which blocks of a transformer are hooked.

use serde::{Deserialize, Serialize};

/// Which blocks are hooked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocks {
    /// The last of each quarter: 2, 5, 8, 11 of 12.
    #[default]
    Quarters,
    /// These, from 0.
    At(Vec<usize>),
}

impl Blocks {
    /// The numbers of the blocks that are read in a network of `depth` blocks.
    pub(crate) fn resolve(&self, depth: usize) -> Vec<usize> {
        match self {
            Self::Quarters => quarters(depth),
            Self::At(blocks) => blocks.clone(),
        }
    }
}

/// The last block of each quarter of `depth` blocks: 2, 5, 8, 11 of 12.
fn quarters(depth: usize) -> Vec<usize> {
    (1..=4).map(|i| i * depth / 4 - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_end_at_the_last_block() {
        assert_eq!(quarters(12), [2, 5, 8, 11]);
        assert_eq!(quarters(24), [5, 11, 17, 23]);
        assert_eq!(quarters(40), [9, 19, 29, 39]);
    }
}
