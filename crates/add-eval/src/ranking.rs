//! The share of random tie-breaks in which an item lands among the first `k`.
//!
//! ```text
//! hit = clamp((k - ahead) / (tied + 1), 0, 1)
//! ```
//!
//! Where `ahead` items are strictly better and `tied` others are equal. Counting ties for the item would call a
//! network that gives every input the same output perfect; counting them against it punishes a true duplicate.
//! This way a constant network scores exactly chance.

/// Probability that the item is in the first `k` when ties break at random.
pub(crate) fn hit_within(k: usize, ahead: usize, tied: usize) -> f64 {
    (k.saturating_sub(ahead) as f64 / (tied + 1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::hit_within;

    #[test]
    fn ties_share_the_places_left() {
        let bits = |values: [f64; 5]| values.map(f64::to_bits);
        let got = [
            hit_within(1, 0, 0),
            hit_within(1, 1, 0),
            hit_within(5, 3, 3),
            hit_within(5, 9, 0),
            hit_within(3, 0, 1),
        ];
        assert_eq!(bits(got), bits([1.0, 0.0, 0.5, 0.0, 1.0]));
    }
}
