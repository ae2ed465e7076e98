//! The page: files that are part of the binary.

use add_charts::PALETTE;
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{ApiError, answer};

/// A file of a page, part of the binary.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its name under `/assets/`.
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// What it holds.
    pub bytes: &'static [u8],
}

const INDEX: Asset = Asset {
    name: "index.html",
    kind: "text/html; charset=utf-8",
    bytes: include_bytes!("../page/index.html"),
};

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const DRAWING: &str = "image/svg+xml";

/// What lies under `/assets/`.
const ASSETS: [Asset; 12] = [
    // The report's colours, so that both look alike.
    Asset { name: "palette.css", kind: CSS, bytes: PALETTE.as_bytes() },
    Asset { name: "app.css", kind: CSS, bytes: include_bytes!("../page/app.css") },
    Asset { name: "app.js", kind: SCRIPT, bytes: include_bytes!("../page/app.js") },
    Asset { name: "chart.js", kind: SCRIPT, bytes: include_bytes!("../page/chart.js") },
    Asset { name: "draw.js", kind: SCRIPT, bytes: include_bytes!("../page/draw.js") },
    Asset { name: "history.js", kind: SCRIPT, bytes: include_bytes!("../page/history.js") },
    Asset { name: "icon.svg", kind: DRAWING, bytes: include_bytes!("../page/icon.svg") },
    Asset { name: "live.js", kind: SCRIPT, bytes: include_bytes!("../page/live.js") },
    Asset { name: "picture.js", kind: SCRIPT, bytes: include_bytes!("../page/picture.js") },
    Asset { name: "runs.js", kind: SCRIPT, bytes: include_bytes!("../page/runs.js") },
    Asset { name: "stream.js", kind: SCRIPT, bytes: include_bytes!("../page/stream.js") },
    Asset { name: "util.js", kind: SCRIPT, bytes: include_bytes!("../page/util.js") },
];

/// The page itself.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    file(&INDEX, &headers)
}

/// A file that the page loads.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => file(asset, &headers),
        None => ApiError::new(StatusCode::NOT_FOUND, "no such file").into_response(),
    }
}

/// Answers with a file, or with nothing where the browser has it already.
pub fn file(asset: &Asset, headers: &HeaderMap) -> Response {
    // The files change with the binary alone.
    let tag = format!("\"{}\"", sha1_smol::Sha1::from(asset.bytes).digest());
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    let (status, bytes) =
        if known { (StatusCode::NOT_MODIFIED, &[][..]) } else { (StatusCode::OK, asset.bytes) };
    let mut response = answer::bytes(status, asset.kind, bytes);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
