//! Every route: the one list from which the router is built and to which `openapi.json` is held.

use std::time::Instant;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{MethodRouter, get, post},
};

use crate::{ApiError, App, a1111, api, guard::guard, nothing_there, openai, page, watch};

/// A path with what answers it.
type Route = (&'static str, &'static [&'static str], MethodRouter<App>);

/// Every route with its methods, in small letters.
fn routes() -> Vec<Route> {
    let mut all: Vec<Route> = vec![
        ("/", &["get"], get(page::index)),
        ("/assets/{file}", &["get"], get(page::asset)),
        ("/health", &["get"], get(api::health)),
        ("/metrics", &["get"], get(api::metrics)),
        ("/openapi.json", &["get"], get(api::openapi)),
        ("/api/models", &["get"], get(api::models)),
        ("/api/generate", &["post"], post(api::generate)),
        ("/api/stream", &["get"], get(api::stream)),
        ("/api/runs", &["get"], get(watch::list)),
        ("/api/runs/{name}/metrics", &["get"], get(watch::metrics)),
        ("/api/runs/{name}/events", &["get"], get(watch::events)),
        ("/api/runs/{name}/samples/{step}", &["get"], get(watch::sample)),
        ("/api/runs/{name}/compared", &["get"], get(watch::compared)),
        ("/v1/models", &["get"], get(openai::models)),
        ("/v1/images/generations", &["post"], post(openai::generations)),
        ("/sdapi/v1/txt2img", &["post"], post(a1111::txt2img)),
        ("/sdapi/v1/img2img", &["post"], post(a1111::img2img)),
        ("/sdapi/v1/options", &["get", "post"], get(a1111::options).post(a1111::set_options)),
        ("/sdapi/v1/progress", &["get"], get(a1111::progress)),
        ("/sdapi/v1/interrupt", &["post"], post(a1111::interrupt)),
        ("/sdapi/v1/skip", &["post"], post(a1111::interrupt)),
        ("/sdapi/v1/png-info", &["post"], post(a1111::png_info)),
        ("/sdapi/v1/sd-models", &["get"], get(a1111::sd_models)),
        ("/sdapi/v1/samplers", &["get"], get(a1111::samplers)),
        ("/sdapi/v1/schedulers", &["get"], get(a1111::schedulers)),
        ("/sdapi/v1/prompt-styles", &["get"], get(a1111::prompt_styles)),
        ("/sdapi/v1/scripts", &["get"], get(a1111::scripts)),
        ("/sdapi/v1/cmd-flags", &["get"], get(a1111::cmd_flags)),
        ("/sdapi/v1/embeddings", &["get"], get(a1111::embeddings)),
        ("/sdapi/v1/refresh-checkpoints", &["post"], post(a1111::refreshed)),
    ];
    all.extend(a1111::ABSENT.map(|path| -> Route { (path, &["get"], get(a1111::none)) }));
    all
}

/// The router, with the guard in front.
pub(crate) fn router(app: &App) -> Router {
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, (path, _, answer)| router.route(path, answer.fallback(wrong_method)));
    router
        .fallback(nothing_there)
        .layer(from_fn_with_state(app.clone(), guard))
        .layer(from_fn_with_state(app.clone(), counted))
        .with_state(app.clone())
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path answers another method; /openapi.json lists them",
    )
}

/// Counts answers by route.
async fn counted(
    State(app): State<App>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    // Paths that there are not would be labels without end.
    let route = path.as_ref().map_or("other", MatchedPath::as_str);
    app.metrics.answered(route, response.status().as_u16(), began.elapsed().as_secs_f64() * 1e3);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let described: Value = serde_json::from_str(crate::OPENAPI).expect("JSON");
        assert!(described["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        let paths = described["paths"].as_object().expect("paths");
        let described: BTreeSet<(&str, &str)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().expect("methods").keys().map(move |m| (path.as_str(), m.as_str()))
            })
            .collect();
        let all = routes();
        let routed: BTreeSet<(&str, &str)> =
            all.iter().flat_map(|(path, methods, _)| methods.iter().map(move |m| (*path, *m))).collect();
        assert_eq!(described, routed);
    }
}
