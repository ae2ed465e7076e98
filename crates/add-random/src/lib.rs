//! `SplitMix64` and Box-Muller: the numbers behind initial weights, subsets and orders.
//!
//! Sources: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; Box and Muller, "A note
//! on the generation of random normal deviates", 1958. Written out here so that a published number can be recomputed from
//! its seed whatever a crate changes.

/// What a generator's state grows by at each step: the odd number nearest to `2^64` divided by the golden ratio.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The generator's state.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// An index in `0..n`; the bias of the multiplication is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// `take` of `items` in random order, without replacement, moved to the front (Fisher-Yates).
    ///
    /// # Panics
    /// When there are fewer items.
    pub fn choose<'a, T>(&mut self, items: &'a mut [T], take: usize) -> &'a mut [T] {
        for at in 0..take {
            let from = at + self.below(items.len() - at);
            items.swap(at, from);
        }
        &mut items[..take]
    }

    /// The next standard normal number; it takes two steps.
    pub fn normal(&mut self) -> f64 {
        normal(self.next_u64(), self.next_u64())
    }
}

/// Output `i`, from 0, of the stream of `seed`, without those before it.
pub fn output(seed: u64, i: usize) -> u64 {
    mix(seed.wrapping_add((i as u64 + 1).wrapping_mul(GOLDEN)))
}

/// A bijection on 64 bits in which every bit of the input moves about half of the output's: the generator's last step.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A standard normal number from two random words (Box-Muller, the cosine of the pair).
pub fn normal(radius: u64, angle: u64) -> f64 {
    let scale = 1.0 / (1_u64 << 53) as f64;
    // In (0, 1]: the logarithm of 0 is none.
    let radius = ((radius >> 11) as f64 + 1.0) * scale;
    let angle = (angle >> 11) as f64 * scale;
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // First outputs for seed 1234567, as listed with the reference implementation.
        let published = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        let mut rng = SplitMix64::new(1_234_567);
        assert_eq!([(); 3].map(|()| rng.next_u64()), published);
        assert_eq!([0, 1, 2].map(|i| output(1_234_567, i)), published);
    }

    #[test]
    fn normal_numbers_are_those_of_the_formula() {
        // A radius of exp(-1/2) is 1 deviation; angles of none and of half a turn are its two signs.
        let radius = ((-0.5_f64).exp() * (1_u64 << 53) as f64) as u64 - 1;
        assert!((normal(radius << 11, 0) - 1.0).abs() < 1e-15);
        assert!((normal(radius << 11, 1 << 63) + 1.0).abs() < 1e-15);
        assert!(normal(u64::MAX, 0).abs() < 1e-15 && normal(0, 0).is_finite());
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
