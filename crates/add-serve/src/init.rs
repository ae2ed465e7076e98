//! Pictures that a request begins with: base64, as a data address or plain.

use add_data::{RgbImage, area_resize, decode_rgb, dimensions};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{ApiError, App};

/// Decodes a picture, cuts its middle to the shape that is wanted and resizes it. One at a time: a large picture takes many times
/// its bytes while it is decoded.
pub(crate) async fn picture(
    app: &App,
    text: &str,
    height: usize,
    width: usize,
) -> Result<RgbImage, ApiError> {
    let bytes = bytes(text)?;
    let most = app.limits.init_side;
    let one = app.decoding.acquire().await;
    let decoded = tokio::task::spawn_blocking(move || {
        let (wide, high) = dimensions(&bytes).map_err(|error| ApiError::field("init", error.to_string()))?;
        if wide > most || high > most {
            return Err(ApiError::field(
                "init",
                format!("expected at most {most} pixels a side, got {wide} x {high}"),
            ));
        }
        let picture = decode_rgb(&bytes).map_err(|error| ApiError::field("init", error.to_string()))?;
        Ok(fitted(&picture, width as u32, height as u32))
    });
    let decoded =
        decoded.await.unwrap_or_else(|_| Err(ApiError::field("init", "the picture cannot be decoded")));
    drop(one);
    decoded
}

/// The bytes of a picture in base64.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, ApiError> {
    let base64 = match text.split_once(',') {
        Some((head, rest)) if head.starts_with("data:") && head.ends_with(";base64") => rest,
        _ => text,
    };
    STANDARD
        .decode(base64.trim())
        .map_err(|error| ApiError::field("init", format!("expected a picture in base64: {error}")))
}

/// The middle of a picture in another shape.
fn fitted(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (wide, high) = picture.dimensions();
    // The largest part with the wanted ratio of sides; at least a pixel of a picture that is very flat.
    let part = |side: u32, other: u32, of: u32, to: u32| {
        let fits = u64::from(other) * u64::from(of) / u64::from(to.max(1));
        u64::from(side).min(fits).max(1) as u32
    };
    let (w, h) = (part(wide, high, width, height), part(high, wide, height, width));
    let (x, y) = ((wide - w) / 2, (high - h) / 2);
    let middle = RgbImage::from_fn(w, h, |i, j| *picture.get_pixel(x + i, y + j));
    area_resize(&middle, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_picture_is_taken_in_the_wanted_shape() {
        let picture =
            RgbImage::from_fn(8, 4, |x, _| if (2..6).contains(&x) { [200; 3] } else { [0; 3] }.into());
        assert!(fitted(&picture, 2, 2).pixels().all(|pixel| pixel.0 == [200; 3]));
        assert_eq!(fitted(&picture, 6, 3).dimensions(), (6, 3));
        assert_eq!(fitted(&RgbImage::new(1, 500), 32, 16).dimensions(), (32, 16));
    }

    #[test]
    fn base64_is_read_with_and_without_an_address() {
        assert_eq!(bytes("data:image/png;base64,aGk=").expect("valid"), b"hi");
        assert_eq!(bytes(" aGk=\n").expect("valid"), b"hi");
        for wrong in ["data:image/png,aGk=", "a,b", "aGk", "\u{e4}"] {
            assert_eq!(bytes(wrong).expect_err(wrong).field.as_deref(), Some("init"));
        }
    }
}
