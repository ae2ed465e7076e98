//! Who may ask: other sites' pages, other names, and requests without the token are refused; the page is served whole.

use add_serve::Limits;
use serde_json::json;

use super::{Server, ask, get, post};
use crate::binary::refuses;

#[test]
fn pages_elsewhere_and_names_that_point_here_are_refused() {
    let server = Server::start();
    let address = server.address;
    let own = format!("http://{address}");
    let json = ("Content-Type", "application/json");
    let body = br#"{ "prompt": "a" }"#;
    let from = |headers: &[(&str, &str)]| {
        ask(address, "POST", "/api/generate", &[headers, &[json]].concat(), body).status
    };
    assert_eq!(from(&[]), 200);
    assert_eq!(from(&[("Origin", &own)]), 200);
    assert_eq!(from(&[("Origin", "http://evil.example")]), 403);
    assert_eq!(from(&[("Origin", "null")]), 403);
    assert_eq!(from(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(from(&[("Host", "rebound.example")]), 421);
    assert_eq!(ask(address, "GET", "/api/models", &[("Host", "rebound.example:80")], &[]).status, 421);
    // What a form of another page can send without asking first.
    let form = ("Content-Type", "text/plain");
    assert_eq!(ask(address, "POST", "/api/generate", &[form], body).status, 415);
    let key = ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), key];
    let socket = |origin| {
        ask(address, "GET", "/api/stream", &[&upgrade[..], &[("Origin", origin)]].concat(), &[]).status
    };
    assert_eq!(socket("http://evil.example"), 403);
    assert_eq!(get(address, "/api/stream").status, 426);
}

#[test]
fn files_beside_the_page_are_out_of_reach() {
    let server = Server::start();
    let address = server.address;
    assert_eq!(get(address, "/").header("content-type"), Some("text/html; charset=utf-8"));
    for path in [
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/../../../../etc/passwd",
        "/assets//etc/passwd",
        "/assets/..\\..\\Cargo.toml",
        "/assets/app.js%00.css",
    ] {
        let answer = get(address, path);
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
    }
}

#[test]
fn the_page_loads_from_here_alone_and_once() {
    let server = Server::start();
    let answer = get(server.address, "/");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text();
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    for file in page.split(['"', '\'']).filter(|word| word.starts_with("/assets/")) {
        let first = get(server.address, file);
        assert_eq!(first.status, 200, "{file}");
        let tag = first.header("etag").unwrap();
        assert_eq!(ask(server.address, "GET", file, &[("If-None-Match", tag)], &[]).status, 304, "{file}");
    }
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let server = Server::with(Some("a-long-secret"), Limits::default());
    let address = server.address;
    for path in ["/", "/api/models", "/metrics", "/openapi.json", "/api/stream", "/sdapi/v1/options"] {
        assert_eq!(get(address, path).status, 401, "{path}");
    }
    assert_eq!(post(address, "/api/generate", &json!({ "prompt": "a" })).status, 401);
    assert_eq!(get(address, "/health").status, 200);
    let bearer = ("Authorization", "Bearer a-long-secret");
    assert_eq!(ask(address, "GET", "/api/models", &[bearer], &[]).status, 200);
    let entered = get(address, "/?token=a-long-secret");
    assert_eq!((entered.status, entered.header("location")), (303, Some("/")));
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(ask(address, "GET", "/", &[("Cookie", cookie)], &[]).status, 200);
    assert_eq!(get(address, "/?token=wrong").status, 401);
}

#[test]
fn the_command_refuses_what_would_let_everybody_in() {
    let serve = ["serve", "configs/emoji.ron", "--port", "0"];
    refuses(&[&serve[..], &["--bind", "0.0.0.0"]].concat(), 2, &["0.0.0.0", "--token"]);
    refuses(&[&serve[..], &["--bind", "::", "--token", "short"]].concat(), 2, &["--token", "8 characters"]);
    refuses(&["serve", "configs/nowhere.ron"], 2, &["nowhere.ron"]);
    refuses(
        &["serve", "configs/emoji.ron", "configs/emoji.ron", "--port", "0"],
        2,
        &["two models are called emoji"],
    );
    refuses(&["serve", "configs/emoji.ron", "--device", "Cuda(0)"], 2, &["cuda"]);
    refuses(&["serve", "configs/sd-turbo.ron"], 1, &["sd-turbo", "hf download"]);
}
