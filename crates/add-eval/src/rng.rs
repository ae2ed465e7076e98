//! `SplitMix64`: the seeded generator of subsets and orders.
//!
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
//! Written out here so that a published number can be recomputed from its seed whatever a crate changes.

/// The generator's state.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts the stream of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An index in `0..n`; the bias of the multiplication is below `n / 2^64`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// `take` of `items` in random order, without replacement, moved to the front (Fisher-Yates).
    pub(crate) fn choose<'a, T>(&mut self, items: &'a mut [T], take: usize) -> &'a mut [T] {
        for at in 0..take {
            let from = at + self.below(items.len() - at);
            items.swap(at, from);
        }
        &mut items[..take]
    }

    /// A standard normal pair's first half (Box-Muller), for tests.
    #[cfg(test)]
    pub(crate) fn normal(&mut self) -> f64 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (u, v) = (unit(self.next_u64()), unit(self.next_u64()));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A `[rows, dim]` set of standard normals, for tests.
    #[cfg(test)]
    pub(crate) fn normal_set(&mut self, rows: usize, dim: usize) -> crate::FeatureSet {
        crate::FeatureSet::new(dim, (0..rows * dim).map(|_| self.normal()).collect()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // First outputs for seed 1234567, as listed with the reference implementation.
        let mut rng = SplitMix64::new(1_234_567);
        let got: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_choice_has_no_repeats_and_every_item_is_reached() {
        let mut rng = SplitMix64::new(7);
        let mut seen = [0; 10];
        for _ in 0..200 {
            let mut items: Vec<usize> = (0..10).collect();
            let mut chosen = rng.choose(&mut items, 4).to_vec();
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), 4);
            for item in chosen {
                seen[item] += 1;
            }
        }
        // 80 expected each, standard deviation about 7.
        assert!(seen.iter().all(|&count| (45..=115).contains(&count)), "{seen:?}");
    }
}
