//! What the web UI lists: models, samplers, styles, and what there is none of here.

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use crate::{App, answer};

/// Names of the web UI for samplers that there are here.
const ALIASES: [(&str, &str); 7] = [
    ("Euler a", "EulerAncestral"),
    ("Euler", "Euler"),
    ("DDIM", "Ddim"),
    ("DPM++ 2M", "DpmSolver2M"),
    ("DPM++ 2M Karras", "DpmSolver2M"),
    ("LCM", "Lcm"),
    ("k_euler_a", "EulerAncestral"),
];

/// Lists of parts that this server has none of.
pub(crate) const ABSENT: [&str; 8] = [
    "/sdapi/v1/upscalers",
    "/sdapi/v1/latent-upscale-modes",
    "/sdapi/v1/sd-vae",
    "/sdapi/v1/loras",
    "/sdapi/v1/hypernetworks",
    "/sdapi/v1/face-restorers",
    "/sdapi/v1/realesrgan-models",
    "/sdapi/v1/extensions",
];

/// The name here of a sampler of the web UI.
pub(super) fn sampler_here(name: &str) -> &str {
    ALIASES.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name)).map_or(name, |(_, ours)| ours)
}

/// An empty list.
pub(crate) async fn none() -> Response {
    answer::fine(&json!([]))
}

/// The models as checkpoints.
pub(crate) async fn sd_models(State(app): State<App>) -> Response {
    let models: Vec<Value> = app
        .models
        .iter()
        .map(|about| {
            let name = &about.card.name;
            json!({
                "title": name, "model_name": name, "hash": Value::Null, "sha256": Value::Null,
                "filename": about.recipe.path.display().to_string(), "config": Value::Null,
            })
        })
        .collect();
    answer::fine(&json!(models))
}

/// The samplers of the chosen model, with the web UI's names for them.
pub(crate) async fn samplers(State(app): State<App>) -> Response {
    let (_, about) = super::chosen(&app);
    let samplers: Vec<Value> = about
        .card
        .samplers
        .iter()
        .map(|name| {
            let aliases: Vec<&str> =
                ALIASES.iter().filter(|(_, ours)| ours == name).map(|(theirs, _)| *theirs).collect();
            json!({ "name": name, "aliases": aliases, "options": {} })
        })
        .collect();
    answer::fine(&json!(samplers))
}

/// Timesteps follow from the sampler.
pub(crate) async fn schedulers() -> Response {
    let automatic = json!({
        "name": "automatic", "label": "Automatic", "aliases": [], "default_rho": -1.0, "need_inner_model": false,
    });
    answer::fine(&json!([automatic]))
}

/// The styles of the chosen model.
pub(crate) async fn prompt_styles(State(app): State<App>) -> Response {
    let (_, about) = super::chosen(&app);
    let styles = about.card.styles.iter();
    let styles: Vec<Value> = styles
        .map(
            |style| json!({ "name": style, "prompt": format!("{{prompt}}, {style}"), "negative_prompt": "" }),
        )
        .collect();
    answer::fine(&json!(styles))
}

/// No scripts.
pub(crate) async fn scripts() -> Response {
    answer::fine(&json!({ "txt2img": [], "img2img": [] }))
}

/// No flags.
pub(crate) async fn cmd_flags() -> Response {
    answer::fine(&json!({}))
}

/// No embeddings.
pub(crate) async fn embeddings() -> Response {
    answer::fine(&json!({ "loaded": {}, "skipped": {} }))
}

/// The models stay as they are.
pub(crate) async fn refreshed() -> Response {
    answer::fine(&Value::Null)
}
