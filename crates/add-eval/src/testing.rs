//! How the tests compare numbers.

/// Fails unless `got` is within `relative` of `want`, measured against the larger magnitude.
#[track_caller]
pub(crate) fn assert_close(got: f64, want: f64, relative: f64) {
    let scale = got.abs().max(want.abs());
    assert!((got - want).abs() <= relative * scale, "got {got}, want {want}");
}
