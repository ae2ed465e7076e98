//! The seeded generator of subsets and orders, and the sets that tests draw with it.

pub(crate) use add_random::SplitMix64;

/// Sets for tests.
#[cfg(test)]
pub(crate) trait NormalSet {
    /// A `[rows, dim]` set of standard normals.
    fn normal_set(&mut self, rows: usize, dim: usize) -> crate::FeatureSet;
}

#[cfg(test)]
impl NormalSet for SplitMix64 {
    fn normal_set(&mut self, rows: usize, dim: usize) -> crate::FeatureSet {
        crate::FeatureSet::new(dim, (0..rows * dim).map(|_| self.normal()).collect()).unwrap()
    }
}
