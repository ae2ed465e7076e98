//! The interface of A1111's web UI (`/sdapi/v1/…`), as its clients call it.
//!
//! Those clients send every field there is, most with the web UI's defaults. A field that changes nothing here is passed over
//! where it has a value that asks for nothing; any other value, and any field that is not known, is named in `warnings` of the
//! answer and of its `info`. Source: modules/api/models.py of AUTOMATIC1111/stable-diffusion-webui 1.10.

mod fields;
mod generate;
mod lists;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    extract::{Request, State as AppState},
    response::Response,
};
pub(crate) use generate::{img2img, txt2img};
pub(crate) use lists::{
    ABSENT, cmd_flags, embeddings, none, prompt_styles, refreshed, samplers, schedulers, scripts, sd_models,
};
use serde_json::{Map, Value, json};

use crate::{
    ApiError, App, answer,
    body::{Fields, fields as read},
    engine::Handle,
    init,
    models::About,
};

/// What the web UI keeps between requests.
#[derive(Default)]
pub(crate) struct State {
    /// The chosen model's place.
    model: usize,
    /// Requests under way.
    under_way: Vec<Handle>,
}

impl State {
    /// Notes a request, and forgets those that have ended, also where their clients went away.
    fn begin(&mut self, handle: Handle) {
        self.under_way.retain(Handle::is_shared);
        self.under_way.push(handle);
    }
}

/// The state, also after a panic of somebody who held it.
fn state(of: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The chosen model.
fn chosen(app: &App) -> (usize, &Arc<About>) {
    let place = state(&app.a1111).model;
    (place, &app.models[place])
}

/// A model by its name, or by the title that `sd-models` gives it.
fn find(app: &App, name: &str) -> Result<usize, ApiError> {
    app.model(Some(name)).map(|(place, _)| place).map_err(|error| {
        let field = Some("sd_model_checkpoint".to_owned());
        ApiError { field, ..error }
    })
}

/// A refusal as the web UI words it.
fn refusal(error: &ApiError) -> Response {
    let kind = error.status.canonical_reason().unwrap_or("error");
    error.with_body(
        &json!({ "error": kind, "detail": error.sentence(), "errors": error.message, "field": error.field }),
    )
}

/// The options that there are.
pub(crate) async fn options(AppState(app): AppState<App>) -> Response {
    let (_, about) = chosen(&app);
    answer::fine(&json!({
        "sd_model_checkpoint": about.card.name,
        "sd_checkpoint_hash": Value::Null,
        "samples_format": "png",
        "CLIP_stop_at_last_layers": 1,
    }))
}

/// Changes options; those that there are not are named.
pub(crate) async fn set_options(AppState(app): AppState<App>, request: Request) -> Response {
    answered(set(&app, request).await.map(|warnings| json!({ "warnings": warnings })))
}

async fn set(app: &App, request: Request) -> Result<Vec<String>, ApiError> {
    let Fields { fields, .. } = read(app, request).await?;
    let mut warnings = Vec::new();
    if let Some(place) = model_of(app, &fields, &mut warnings)? {
        state(&app.a1111).model = place;
    }
    Ok(warnings)
}

/// The model that settings name; all else in them is named in the warnings.
fn model_of(
    app: &App,
    settings: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Option<usize>, ApiError> {
    let mut place = None;
    for (name, value) in settings {
        match (name.as_str(), value.as_str()) {
            ("sd_model_checkpoint", Some(model)) => place = Some(find(app, model)?),
            _ => warnings.push(format!("{name}: there is no such option; it was left as it is")),
        }
    }
    Ok(place)
}

/// How far the picture is that is made now.
pub(crate) async fn progress(AppState(app): AppState<App>) -> Response {
    let (now, waiting) = (app.engine.progress(), app.engine.waiting());
    let (step, of) = now.map_or((0, 0), |now| (now.step, now.of));
    answer::fine(&json!({
        "progress": if of == 0 { 0.0 } else { step as f64 / of as f64 },
        "eta_relative": 0.0,
        "state": {
            "skipped": false, "interrupted": false, "stopping_generation": false, "job": "", "job_timestamp": "0",
            "job_count": waiting + usize::from(now.is_some()), "job_no": 0, "sampling_step": step, "sampling_steps": of,
        },
        "current_image": Value::Null,
        "textinfo": Value::Null,
    }))
}

/// Gives up what this interface was asked for.
pub(crate) async fn interrupt(AppState(app): AppState<App>) -> Response {
    state(&app.a1111).under_way.drain(..).for_each(|handle| handle.stop());
    answer::fine(&json!({}))
}

/// The text in a PNG.
pub(crate) async fn png_info(AppState(app): AppState<App>, request: Request) -> Response {
    answered(info(&app, request).await)
}

async fn info(app: &App, request: Request) -> Result<Value, ApiError> {
    let Fields { mut fields, .. } = read(app, request).await?;
    let Some(Value::String(image)) = fields.remove("image") else {
        return Err(ApiError::field("image", "expected a PNG in base64"));
    };
    if let Some((name, _)) = fields.into_iter().next() {
        return Err(ApiError::field(&name, "expected `image` alone"));
    }
    let wrong = |error: ApiError| ApiError { field: Some("image".to_owned()), ..error };
    let text = add_data::png_text(&init::bytes(&image).map_err(wrong)?)
        .map_err(|error| ApiError::field("image", error.to_string()))?;
    let lines: Vec<String> = text.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let items: Map<String, Value> = text.into_iter().map(|(name, value)| (name, json!(value))).collect();
    Ok(json!({ "info": lines.join("\n"), "items": items, "parameters": {} }))
}

/// An answer, or the refusal.
fn answered(outcome: Result<Value, ApiError>) -> Response {
    match outcome {
        Ok(body) => answer::fine(&body),
        Err(error) => refusal(&error),
    }
}
