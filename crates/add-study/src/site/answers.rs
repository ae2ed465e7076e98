//! What the page asks for: where a voter is, a vote, a vote taken back, a picture.

use std::sync::Arc;

use add_data::MAX_PICTURE_FILE;
use add_serve::{
    ApiError,
    web::{bytes, fine},
};
use axum::{
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{App, Site};
use crate::{
    Choice, Study, Vote,
    book::{Refusal, now},
    order,
    vote::{Line, Undo, check_id, check_name},
};

/// Comparisons of an answer: the one to be shown, and those whose pictures the page loads before they are needed.
const AHEAD: usize = 4;

/// A voter who asks where they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asking {
    voter: String,
}

/// A vote as the page sends it: sides alone, since the page does not know the models.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cast {
    voter: String,
    #[serde(default)]
    name: String,
    vote: String,
    task: usize,
    prompt: Choice,
    quality: Choice,
}

/// A vote to be taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeBack {
    voter: String,
    undo: String,
}

/// The server is there.
pub(super) async fn health() -> Response {
    fine(&json!({ "status": "ok" }))
}

/// Where a voter is.
pub(super) async fn state(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let asking: Asking = read(&app, request).await?;
    check_id("voter", &asking.voter).map_err(unfit)?;
    work(app.site, move |site| Ok(where_is(site, &asking.voter))).await
}

/// Keeps a vote; the answer comes when it is on the disk.
pub(super) async fn vote(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let cast: Cast = read(&app, request).await?;
    let vote = as_vote(app.site.study(), cast).map_err(unfit)?;
    work(app.site, move |site| add(site, &vote.voter.clone(), Line::Vote(vote))).await
}

/// Takes a vote back.
pub(super) async fn undo(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let TakeBack { voter, undo } = read(&app, request).await?;
    let undo = Undo { vote: undo, time: now(), voter };
    undo.check().map_err(unfit)?;
    work(app.site, move |site| add(site, &undo.voter.clone(), Line::Undo(undo))).await
}

/// A picture of the study.
pub(super) async fn picture(State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    if !app.site.pictures.contains(&name) {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no such picture"));
    }
    let path = Study::picture(&app.site.folder, &name);
    let read = spawn_blocking(move || add_files::read(&path, MAX_PICTURE_FILE)).await;
    let read = read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|e| e.to_string()));
    let read = read.map_err(|problem| {
        tracing::error!("{name}: {problem}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the picture cannot be read")
    })?;
    let mut response = bytes(StatusCode::OK, "image/png", read);
    let kept = HeaderValue::from_static("private, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, kept);
    Ok(response)
}

async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, ApiError> {
    let fields = app.bodies.fields(request).await?;
    serde_json::from_value(Value::Object(fields)).map_err(|error| unfit(error.to_string()))
}

fn unfit(problem: String) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, problem)
}

/// Runs what waits for the disk beside the connections.
async fn work(
    site: Arc<Site>,
    job: impl FnOnce(&Site) -> Result<Value, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let done = spawn_blocking(move || job(&site)).await;
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; see its log");
    Ok(fine(&done.map_err(failed)??))
}

fn add(site: &Site, voter: &str, line: Line) -> Result<Value, ApiError> {
    // Named, so that the lock ends before the answer is put together.
    let added = site.book().add(&site.study, &line);
    added.map_err(|refusal| match refusal {
        Refusal::Conflict(problem) => ApiError::new(StatusCode::CONFLICT, problem),
        Refusal::Unwritten(problem) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("the vote was not kept: {problem}"))
        }
    })?;
    Ok(where_is(site, voter))
}

fn as_vote(study: &Study, cast: Cast) -> Result<Vote, String> {
    let Cast { voter, name, vote, task, prompt, quality } = cast;
    check_id("voter", &voter)?;
    let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    name.as_deref().map_or(Ok(()), check_name)?;
    let found = order::task(study, &voter, task);
    let found = found.ok_or_else(|| format!("task: expected below {}, got {task}", study.comparisons()))?;
    let model = |index: usize| study.models[index].name.clone();
    let (left, right) = (model(found.left), model(found.right));
    let vote = Vote { vote, time: now(), voter, name, caption: found.caption, left, right, prompt, quality };
    vote.check(study)?;
    Ok(vote)
}

/// How far a voter is, and what comes next.
fn where_is(site: &Site, voter: &str) -> Value {
    let study = &site.study;
    let tasks = order::tasks(study, voter, site.most);
    let book = site.book();
    let ballots = book.ballots();
    let open = tasks.iter().filter_map(|number| order::task(study, voter, *number)).filter(|task| {
        let pair = (task.left.min(task.right), task.left.max(task.right));
        !ballots.has(voter, task.caption, pair)
    });
    let open: Vec<order::Task> = open.collect();
    let next: Vec<Value> = open
        .iter()
        .take(AHEAD)
        .map(|task| {
            let picture = |model: usize| format!("/pictures/{}", study.pictures[task.caption][model]);
            json!({
                "task": task.number,
                "caption": study.captions[task.caption],
                "left": picture(task.left),
                "right": picture(task.right),
            })
        })
        .collect();
    json!({
        "done": tasks.len() - open.len(),
        "of": tasks.len(),
        "next": next,
        "undo": ballots.last_of(voter).map(|vote| &vote.vote),
    })
}
