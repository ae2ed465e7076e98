//! Numbers as a chart or a table shows them.

/// Four significant digits without an exponent where that is readable: `19.73`, `0.3520`, `1.0`, `1234`, `1.2e-7`.
pub fn format_number(value: f64) -> String {
    let magnitude = value.abs();
    if value.fract() == 0.0 && magnitude < 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1e7 || (magnitude < 1e-4 && magnitude > 0.0) {
        format!("{value:.2e}")
    } else {
        let decimals = (3 - magnitude.log10().floor() as i32).clamp(0, 7) as usize;
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_significant_digits() {
        let cases =
            [(0.0, "0.0"), (7.5, "7.500"), (1234.5, "1234"), (0.000_012, "1.20e-5"), (-0.022_49, "-0.02249")];
        for (value, want) in cases {
            assert_eq!(format_number(value), want);
        }
    }
}
