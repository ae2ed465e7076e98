//! Wilson's score interval of a share, which stays within 0 and 1 and holds for few votes too.
//!
//! ```text
//! (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
//! ```
//!
//! Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

/// The normal deviate that leaves 2.5% on either side.
const Z: f64 = 1.959_963_984_540_054;

/// The 95% interval `[low, high]` of a share of which `successes` of `n` were seen; a tie may count as half a success.
/// Without observations it is all of `[0, 1]`.
///
/// # Panics
/// When there are more successes than observations, or fewer than none.
pub fn wilson(successes: f64, n: u64) -> [f64; 2] {
    assert!((0.0..=n as f64).contains(&successes), "0 to {n} successes, got {successes}");
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, z2) = (n as f64, Z * Z);
    let p = successes / n;
    let centre = p + z2 / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let bound = |sum: f64| (sum / (1.0 + z2 / n)).clamp(0.0, 1.0);
    [bound(centre - reach), bound(centre + reach)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    #[test]
    fn the_interval_is_that_of_statsmodels() {
        // statsmodels 0.15.0, proportion_confint(k, n, 0.05, "wilson").
        for (successes, n, low, high) in [
            (7.0, 10, 0.396_778_147_461_145_37, 0.892_208_732_593_698_9),
            (0.0, 10, 0.0, 0.277_532_799_862_889_26),
            (20.0, 20, 0.838_874_841_947_180_1, 1.0),
            (50.5, 100, 0.408_651_193_529_523_3, 0.600_978_871_488_406_8),
            (613.0, 1000, 0.582_434_326_672_965_9, 0.642_700_825_909_298_5),
        ] {
            let got = wilson(successes, n);
            assert_close(got[0], low, 1e-14);
            assert_close(got[1], high, 1e-14);
        }
        let [low, high] = wilson(0.0, 0);
        assert_close(low, 0.0, 0.0);
        assert_close(high, 1.0, 0.0);
    }
}
