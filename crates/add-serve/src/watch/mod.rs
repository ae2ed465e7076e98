//! Watching runs: what `train` writes into the run folders, as JSON, pictures and server-sent events.
//!
//! | address | what it answers |
//! |---|---|
//! | `/api/runs` | the runs, the latest first |
//! | `/api/runs/NAME/metrics?from=LINE` | lines of `metrics.jsonl` from 0-based `LINE` on |
//! | `/api/runs/NAME/events` | server-sent events: what the run is, its charts, its lines as they are written |
//! | `/api/runs/NAME/samples/STEP` | the sample grid of a step, a PNG |
//! | `/api/runs/NAME/compared` | the evaluation's grid, a PNG |

mod about;
mod folders;
mod follow;
mod lines;

use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, Uri, header},
    response::Response,
};
use serde_json::json;
use url::form_urlencoded;

pub(crate) use self::folders::Runs;
use crate::{ApiError, App, answer};

/// Largest grid that is sent, in bytes.
const MAX_PICTURE: u64 = 32 << 20;

/// Every run.
pub(crate) async fn list(State(app): State<App>) -> Result<Response, ApiError> {
    let list = off_the_loop(move || about::list(&app.runs)).await?;
    Ok(answer::fine(&json!({ "runs": list })))
}

/// Lines of a run's metrics.
pub(crate) async fn metrics(
    State(app): State<App>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let from = match query(&uri, "from") {
        None => 0,
        Some(text) => text.parse::<usize>().map_err(|_| {
            ApiError::field("from", format!("expected a line's number from 0 on, got {text:?}"))
        })?,
    };
    let run = app.runs.run(&name)?;
    let page = off_the_loop(move || lines::page(&app.runs, &run, from)).await??;
    Ok(answer::fine(&page))
}

/// What happens in a run, as it happens.
pub(crate) async fn events(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let run = app.runs.run(&name)?;
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let body = follow::stream(app, run, last);
    let mut response = answer::bytes(StatusCode::OK, "text/event-stream", body);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The sample grid of a step.
pub(crate) async fn sample(
    State(app): State<App>,
    Path((name, step)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let step = step
        .parse::<u64>()
        .map_err(|_| ApiError::field("step", format!("expected a step's number, got {step:?}")))?;
    picture(app, &name, format!("samples/step-{step:07}.png")).await
}

/// The evaluation's grid.
pub(crate) async fn compared(State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    picture(app, &name, "evaluation.png".to_owned()).await
}

async fn picture(app: App, name: &str, file: String) -> Result<Response, ApiError> {
    let run = app.runs.run(name)?;
    let missing = ApiError::new(StatusCode::NOT_FOUND, format!("the run {name} has no {file}"));
    let read = off_the_loop(move || app.runs.read(&run, &file, MAX_PICTURE)).await?;
    match read {
        Some(png) => Ok(answer::bytes(StatusCode::OK, "image/png", png)),
        None => Err(missing),
    }
}

/// Work on files, away from the threads that serve connections.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "reading the run folders failed"))
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
