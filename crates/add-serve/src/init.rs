//! Pictures that a request begins with: base64, as a data address or plain.

use add_data::{Head, RgbImage, decode_rgb, filling, head};
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
        let Head { width: wide, height: high, .. } =
            head(&bytes).map_err(|error| ApiError::field("init", error.to_string()))?;
        if wide > most || high > most {
            return Err(ApiError::field(
                "init",
                format!("expected at most {most} pixels a side, got {wide} x {high}"),
            ));
        }
        let picture = decode_rgb(&bytes).map_err(|error| ApiError::field("init", error.to_string()))?;
        Ok(filling(&picture, width as u32, height as u32))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_an_address() {
        assert_eq!(bytes("data:image/png;base64,aGk=").expect("valid"), b"hi");
        assert_eq!(bytes(" aGk=\n").expect("valid"), b"hi");
        for wrong in ["data:image/png,aGk=", "a,b", "aGk", "\u{e4}"] {
            assert_eq!(bytes(wrong).expect_err(wrong).field.as_deref(), Some("init"));
        }
    }
}
