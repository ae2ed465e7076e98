//! The page: files that are part of the binary.

use add_serve::{
    ApiError,
    web::{Asset, file},
};
use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

const INDEX: Asset = Asset {
    name: "index.html",
    kind: "text/html; charset=utf-8",
    bytes: include_bytes!("../../page/index.html"),
};

const CSS: &str = "text/css; charset=utf-8";

/// What lies under `/assets/`.
const ASSETS: [Asset; 3] = [
    Asset { name: "palette.css", kind: CSS, bytes: add_charts::PALETTE.as_bytes() },
    Asset { name: "study.css", kind: CSS, bytes: include_bytes!("../../page/study.css") },
    Asset {
        name: "study.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../page/study.js"),
    },
];

/// The page itself.
pub(super) async fn index(headers: HeaderMap) -> Response {
    file(&INDEX, &headers)
}

/// A file that the page loads.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => file(asset, &headers),
        None => ApiError::new(StatusCode::NOT_FOUND, "no such file").into_response(),
    }
}
