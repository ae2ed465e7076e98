//! OpenAI's interface for pictures, as its client libraries call it.
//!
//! `negative`, `seed`, `steps`, `guidance` and `sampler` are additions, which the Python library sends with `extra_body`.
//! Source: OpenAI's API reference, "Create image".

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ApiError, App, answer,
    body::{Fields, fields},
    engine::Handle,
    seed,
    wanted::{Wanted, unreadable},
};

/// The fields of a request. Another one is refused by name, as OpenAI does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Generations {
    prompt: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    n: Option<usize>,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    response_format: Option<String>,
    #[serde(default)]
    output_format: Option<String>,
    #[serde(default)]
    quality: Option<String>,
    #[serde(default)]
    background: Option<String>,
    #[serde(default)]
    moderation: Option<String>,
    #[serde(default)]
    stream: Option<bool>,
    /// Who asks; it changes nothing.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted, since clients send it")]
    user: Option<String>,
    #[serde(default)]
    negative: String,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    steps: Option<usize>,
    #[serde(default)]
    guidance: Option<f64>,
    #[serde(default)]
    sampler: Option<String>,
}

/// What is offered.
pub(crate) async fn models(State(app): State<App>) -> Response {
    let data: Vec<Value> = app
        .models
        .iter()
        .map(|about| json!({ "id": about.card.name, "object": "model", "created": 0, "owned_by": "add" }))
        .collect();
    answer::fine(&json!({ "object": "list", "data": data }))
}

/// Makes pictures.
pub(crate) async fn generations(State(app): State<App>, request: Request) -> Response {
    made(&app, request).await.unwrap_or_else(|error| {
        let kind = if error.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let body =
            json!({ "message": error.sentence(), "type": kind, "param": error.field, "code": Value::Null });
        error.with_body(&json!({ "error": body }))
    })
}

async fn made(app: &App, request: Request) -> Result<Response, ApiError> {
    let Fields { fields, held } = fields(app, request).await?;
    let asked: Generations = serde_json::from_value(Value::Object(fields)).map_err(unreadable)?;
    drop(held);
    let as_address = asked.check()?;
    let order = asked.wanted()?.order(app).await?;
    let wishes = order.wishes.clone();
    let pictures = app.engine.make(order, Handle::default()).await?.pictures;
    let data: Vec<Value> = pictures
        .iter()
        .zip(&wishes)
        .map(|(png, wish)| {
            let base64 = STANDARD.encode(png);
            let seeds = json!({ "seed": wish.seed, "index": wish.index });
            if as_address {
                return json!({ "url": format!("data:image/png;base64,{base64}"), "add": seeds });
            }
            json!({ "b64_json": base64, "add": seeds })
        })
        .collect();
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Ok(answer::fine(&json!({ "created": created, "data": data })).into_response())
}

impl Generations {
    /// Refuses values that ask for what is not done here. Whether the pictures are wanted as addresses.
    fn check(&self) -> Result<bool, ApiError> {
        let known = |name: &str, value: &Option<String>, known: &[&str]| match value {
            Some(value) if !known.contains(&value.as_str()) => Err(ApiError::field(
                name,
                format!("expected {}, got {:?}", known.join(" or "), crate::wanted::shown(value)),
            )),
            _ => Ok(()),
        };
        known("response_format", &self.response_format, &["b64_json", "url"])?;
        known("output_format", &self.output_format, &["png"])?;
        known("quality", &self.quality, &["auto", "standard"])?;
        known("background", &self.background, &["auto", "opaque"])?;
        known("moderation", &self.moderation, &["auto", "low"])?;
        if self.stream == Some(true) {
            return Err(ApiError::field("stream", "expected false; /api/stream is a stream of pictures"));
        }
        Ok(self.response_format.as_deref() == Some("url"))
    }

    fn wanted(self) -> Result<Wanted, ApiError> {
        let size = match self.size.as_deref() {
            None | Some("auto") => None,
            Some(text) => {
                let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
                let got = crate::wanted::shown(text);
                Some(sides.ok_or_else(|| {
                    ApiError::field("size", format!("expected auto or WIDTHxHEIGHT, got {got:?}"))
                })?)
            }
        };
        Ok(Wanted {
            model: self.model,
            negative: self.negative,
            seed: self.seed.unwrap_or_else(seed::random),
            count: self.n.unwrap_or(1),
            steps: self.steps,
            guidance: self.guidance,
            sampler: self.sampler,
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            ..Wanted::of(self.prompt)
        })
    }
}
