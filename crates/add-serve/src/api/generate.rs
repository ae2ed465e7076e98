//! One picture as PNG, or several in JSON.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    ApiError, App, answer,
    body::{Fields, fields},
    engine::{Handle, Made, Order},
    wanted::Wanted,
};

/// Answers with a picture, or with several and how long they took.
pub(crate) async fn generate(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let Fields { fields, held } = fields(&app, request).await?;
    let order = Wanted::read(fields)?.order(&app).await?;
    drop(held);
    let made = app.engine.make(order.clone(), Handle::default()).await?;
    if let [picture] = &made.pictures[..] {
        let mut response = answer::bytes(StatusCode::OK, "image/png", picture.clone());
        for (name, value) in [
            ("x-seed", order.wishes[0].seed.to_string()),
            ("x-index", order.wishes[0].index.to_string()),
            ("x-queue-milliseconds", format!("{:.2}", made.ms_queue)),
            ("x-compute-milliseconds", format!("{:.2}", made.ms_compute)),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        return Ok(response);
    }
    Ok(answer::fine(&several(&order, &made)))
}

/// Pictures in JSON.
fn several(order: &Order, made: &Made) -> Value {
    let pictures = order.wishes.iter().zip(&made.pictures);
    json!({
        "pictures": pictures
            .map(|(wish, png)| json!({ "seed": wish.seed, "index": wish.index, "png": STANDARD.encode(png) }))
            .collect::<Vec<_>>(),
        "steps": made.calls,
        "ms_queue": made.ms_queue,
        "ms_compute": made.ms_compute,
        "together": made.together,
    })
}
