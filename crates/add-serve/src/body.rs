//! Bodies of requests: JSON, up to a size, within a time, and with a bound on all that are held at once.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header},
};
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{ApiError, App, Limits};

/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;
/// Bodies up to this size need no permit, so that large ones that come slowly hold up no others.
const SMALL: usize = 64 << 10;

/// Permits for bytes of bodies that are held at once.
pub(crate) fn permits(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes.div_ceil(UNIT)))
}

/// The fields of a request, and the right to hold them in memory.
pub(crate) struct Fields {
    pub(crate) fields: Map<String, Value>,
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

/// Reads a JSON object.
pub(crate) async fn fields(app: &App, request: Request) -> Result<Fields, ApiError> {
    read(&app.limits, &app.bodies, request).await
}

/// Reads a JSON object, with permits out of `bodies`.
pub(crate) async fn read(
    limits: &Limits,
    bodies: &Arc<Semaphore>,
    request: Request,
) -> Result<Fields, ApiError> {
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type: expected application/json, got {:?}", crate::wanted::shown(kind)),
        ));
    }
    let most = limits.body;
    let too_large = || {
        let message = format!("expected a body of at most {most} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let stated = request.headers().get(header::CONTENT_LENGTH);
    let stated = stated.map(|length| length.to_str().ok().and_then(|length| length.parse::<usize>().ok()));
    // A body in chunks does not say how long it will be.
    let length = match stated {
        Some(Some(length)) if length <= most => length,
        Some(_) => return Err(too_large()),
        None => most,
    };
    let read = async {
        let held = if length > SMALL {
            let units = length.div_ceil(UNIT) as u32;
            let held = Arc::clone(bodies).acquire_many_owned(units).await;
            Some(held.map_err(|_| ApiError::busy("the server is about to end"))?)
        } else {
            None
        };
        let bytes = axum::body::to_bytes(Body::new(request.into_body()), most).await.map_err(|error| {
            let limited = error.to_string().contains("length limit");
            if limited { too_large() } else { ApiError::new(StatusCode::BAD_REQUEST, "the body was cut off") }
        })?;
        Ok((bytes, held))
    };
    let (bytes, held) = timeout(limits.body_time, read).await.map_err(|_| {
        let seconds = limits.body_time.as_secs();
        ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {seconds} s"))
    })??;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(Fields { fields, held }),
        Ok(_) => Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "expected a JSON object")),
        Err(error) => Err(ApiError::new(StatusCode::BAD_REQUEST, format!("expected JSON: {error}"))),
    }
}
