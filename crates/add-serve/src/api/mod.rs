//! This project's own interface: models, pictures, a stream of pictures.

mod generate;
mod socket;
mod stream;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
pub(crate) use generate::generate;
use serde_json::json;
pub(crate) use stream::stream;

use crate::{App, answer};

/// What is offered.
pub(crate) async fn models(State(app): State<App>) -> Response {
    let cards: Vec<_> = app.models.iter().map(|about| &about.card).collect();
    answer::fine(&json!(cards))
}

/// That the server answers.
pub(crate) async fn health(State(app): State<App>) -> Response {
    answer::fine(&json!({ "status": "ok", "models": app.models.len(), "waiting": app.engine.waiting() }))
}

/// Counters for Prometheus.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let text = app.metrics.text(app.engine.waiting());
    answer::bytes(axum::http::StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

/// The description of every route.
pub(crate) async fn openapi() -> Response {
    answer::bytes(axum::http::StatusCode::OK, "application/json", crate::OPENAPI).into_response()
}
