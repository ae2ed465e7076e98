//! Who may ask: the name under which the server was called, the page that a browser asks from, and the token.
//!
//! A page elsewhere can send a browser's requests here, and under a name of its own that resolves to this machine (DNS
//! rebinding) it could read the answers. So the `Host` must be an address, `localhost` or a name that was allowed; a request
//! with an `Origin` must come from that host.

use std::net::IpAddr;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use crate::{Access, ApiError, App, metrics::Metrics};

/// The cookie that holds the token for the page.
const COOKIE: &str = "add_token";

/// What the page may load and send to: this server alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whom the server answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    /// What every request must bring, where it is set.
    pub(crate) token: Option<String>,
    /// Names beside `localhost` and addresses under which the server may be called.
    pub(crate) hosts: Vec<String>,
}

/// Lets a request through, or answers it.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    app.guard.answer(&app.metrics, request, next).await
}

/// Headers that every answer has.
fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What becomes of a request that is in order.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// It is answered.
    Through,
    /// It has the token in its address: the browser is given it as a cookie.
    Enter,
}

impl Guard {
    /// Answers whom `access` says.
    pub(crate) fn of(access: &Access) -> Self {
        Self { token: access.token.clone(), hosts: access.hosts.clone() }
    }

    /// Lets a request through, or answers it.
    pub(crate) async fn answer(&self, metrics: &Metrics, request: Request, next: Next) -> Response {
        with_headers(match self.check(&request) {
            Ok(Pass::Through) => next.run(request).await,
            Ok(Pass::Enter) => enter(&request),
            Err(error) => {
                metrics.refused();
                error.into_response()
            }
        })
    }

    fn check(&self, request: &Request<Body>) -> Result<Pass, ApiError> {
        let headers = request.headers();
        let host = self.host(request)?;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let from = origin.split_once("://").map(|(_, authority)| authority);
            if !from.is_some_and(|from| from.eq_ignore_ascii_case(&host)) {
                return Err(ApiError::new(
                    StatusCode::FORBIDDEN,
                    format!("Origin: expected a page of {host}, got {origin:?}"),
                ));
            }
        }
        if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
            && !(request.method() == Method::GET && request.uri().path() == "/")
        {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "another site's page may not ask this server"));
        }
        let Some(token) = &self.token else { return Ok(Pass::Through) };
        if request.uri().path() == "/health" || bears(headers, token) {
            return Ok(Pass::Through);
        }
        if request.method() == Method::GET && query_token(request).is_some_and(|given| same(&given, token)) {
            return Ok(Pass::Enter);
        }
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "expected the server's token as `Authorization: Bearer TOKEN`; a browser opens /?token=TOKEN",
        ))
    }

    /// The host of a request with its port, if it is one of ours.
    fn host(&self, request: &Request<Body>) -> Result<String, ApiError> {
        let mut given = request.headers().get_all(header::HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let named = name_of(&host).is_some_and(|name| {
            name.eq_ignore_ascii_case("localhost")
                || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
                || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
        });
        // A request in the form of a proxy's must not name another host in its first line.
        let agrees = request.uri().authority().is_none_or(|authority| authority.as_str() == host);
        if named && agrees {
            return Ok(host);
        }
        Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "Host: expected localhost or an address, got {:?}; `--allow-host NAME` allows a name",
                host.chars().take(100).collect::<String>()
            ),
        ))
    }
}

/// A host without its port.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(':') {
        Some(at) if !host.ends_with(']') => (&host[..at], &host[at + 1..]),
        _ => (host, "0"),
    };
    (port.parse::<u16>().is_ok() && !name.is_empty()).then_some(name)
}

/// Whether a request brings the token, as bearer, as the password of basic authorization, or in the page's cookie.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = match text(header::AUTHORIZATION).split_once(' ') {
        Some(("Bearer", given)) => Some(given.to_owned()),
        Some(("Basic", given)) => STANDARD
            .decode(given)
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok())
            .and_then(|pair| Some(pair.split_once(':')?.1.to_owned())),
        _ => {
            let mut cookies = text(header::COOKIE).split("; ").filter_map(|cookie| cookie.split_once('='));
            cookies.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
        }
    };
    given.is_some_and(|given| same(&given, token))
}

/// Compares without telling by its time how much of it is right.
fn same(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

fn query_token(request: &Request<Body>) -> Option<String> {
    let query = request.uri().query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, value)| value.into_owned())
}

/// Gives the token to the browser as a cookie and takes it out of the address.
fn enter(request: &Request<Body>) -> Response {
    let token = query_token(request).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let path = HeaderValue::from_str(request.uri().path());
    response.headers_mut().insert(header::LOCATION, path.unwrap_or(HeaderValue::from_static("/")));
    if let Ok(cookie) = HeaderValue::from_str(&format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(guard: &Guard, target: &str, headers: &[(&str, &str)]) -> Result<Pass, StatusCode> {
        let builder = Request::builder().method("POST").uri(target);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        guard.check(&builder.body(Body::empty()).expect("a request")).map_err(|error| error.status)
    }

    #[test]
    fn a_name_that_was_not_allowed_is_refused_whatever_it_resolves_to() {
        let guard = Guard { hosts: vec!["pictures.example".to_owned()], ..Guard::default() };
        for host in
            ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:80", "10.0.0.7", "pictures.example:443"]
        {
            assert_eq!(asked(&guard, "/", &[("host", host)]), Ok(Pass::Through), "{host}");
        }
        let wrong = Err(StatusCode::MISDIRECTED_REQUEST);
        for host in
            ["rebound.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", ":80", "a:b"]
        {
            assert_eq!(asked(&guard, "/", &[("host", host)]), wrong, "{host}");
        }
        assert_eq!(asked(&guard, "/", &[]), wrong);
        assert_eq!(asked(&guard, "/", &[("host", "localhost"), ("host", "localhost")]), wrong);
        assert_eq!(asked(&guard, "http://evil.example/", &[("host", "localhost")]), wrong);
    }

    #[test]
    fn a_page_elsewhere_may_not_ask() {
        let guard = Guard::default();
        let from = |origin| asked(&guard, "/api/generate", &[("host", "localhost:80"), ("origin", origin)]);
        assert_eq!(from("http://localhost:80"), Ok(Pass::Through));
        for origin in ["http://evil.example", "null", "http://localhost:81", "http://localhost", ""] {
            assert_eq!(from(origin), Err(StatusCode::FORBIDDEN), "{origin}");
        }
        let cross = [("host", "localhost"), ("sec-fetch-site", "cross-site")];
        assert_eq!(asked(&guard, "/api/generate", &cross), Err(StatusCode::FORBIDDEN));
    }

    #[test]
    fn a_token_is_asked_for_everywhere_but_for_health() {
        let guard = Guard { token: Some("s3cret".to_owned()), ..Guard::default() };
        let with = |value| asked(&guard, "/api/models", &[("host", "localhost"), ("authorization", value)]);
        assert_eq!(with("Bearer s3cret"), Ok(Pass::Through));
        // `anybody:s3cret`
        assert_eq!(with("Basic YW55Ym9keTpzM2NyZXQ="), Ok(Pass::Through));
        for wrong in ["Bearer s3cre", "Bearer s3cret ", "s3cret", "Basic czNjcmV0", "Basic ?"] {
            assert_eq!(with(wrong), Err(StatusCode::UNAUTHORIZED), "{wrong}");
        }
        let cookie = |value| asked(&guard, "/api/models", &[("host", "localhost"), ("cookie", value)]);
        assert_eq!(cookie("a=b; add_token=s3cret"), Ok(Pass::Through));
        assert_eq!(cookie("add_token=wrong"), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(asked(&guard, "/health", &[("host", "localhost")]), Ok(Pass::Through));
    }
}
