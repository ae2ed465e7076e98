//! The server of a study under requests that are malformed, too large or not meant for it: none is a vote and none ends it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    peak_resident,
    server::{noise, said},
};
use crate::{
    serving::{ask, get, post},
    study::{Served, cast, lines, make},
};

/// How many requests are sent.
const REQUESTS: usize = 1000;
/// Clients at once.
const CLIENTS: usize = 16;
/// Most memory that they may take, in bytes.
const MOST_MEMORY: u64 = 48 << 20;

#[test]
fn a_thousand_malformed_requests_are_no_votes() {
    let root = tempfile::tempdir().unwrap();
    let study = make(root.path(), 2, 3);
    let mut served = Served::start(&study, &["--port", "0"]);
    let address = served.address;
    let good = cast(address, "voter-aa", "vote-0001");
    let before = peak_resident(served.child.id());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let good = &good;
            scope.spawn(move || (client..REQUESTS).step_by(CLIENTS).for_each(|i| hostile(address, i, good)));
        }
    });
    assert!(served.child.try_wait().unwrap().is_none(), "the server has ended: {}", served.said());
    assert_eq!(lines(&study), Vec::<Value>::new(), "nothing of it was a vote");
    assert_eq!(post(address, "/api/vote", &good).status, 200);
    assert_eq!(lines(&study).len(), 1);
    if let (Some(before), Some(after)) = (before, peak_resident(served.child.id())) {
        let took = after.saturating_sub(before);
        assert!(took < MOST_MEMORY, "{REQUESTS} requests took {} MiB", took >> 20);
    }
    served.kill();
}

/// One request, of one of many kinds.
fn hostile(address: SocketAddr, i: usize, good: &Value) {
    let body = |path: &str, body: &str| {
        refused(address, "POST", path, &[("Content-Type", "application/json")], body.as_bytes());
    };
    let changed = |field: &str, value: Value| {
        let mut vote = good.clone();
        vote[field] = value;
        body("/api/vote", &vote.to_string());
    };
    match i % 30 {
        0 => said(address, &noise(i)),
        1 => said(address, b"POST /api/vote HTTP/1.1\r\n\r\n"),
        2 => said(address, b"POST /api/vote HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n"),
        3 => said(
            address,
            b"POST /api/vote HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
              Content-Length: 100\r\n\r\n{\"voter\":",
        ),
        4 => said(
            address,
            format!("GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "a".repeat(100_000)).as_bytes(),
        ),
        5 => body("/api/vote", "{"),
        6 => body("/api/vote", "[]"),
        7 => body("/api/vote", "{}"),
        8 => body("/api/vote", &"[".repeat(10_000)),
        9 => body("/api/vote", &json!({ "voter": "a".repeat(20_000) }).to_string()),
        10 => changed("task", json!(6)),
        11 => changed("task", json!(u64::MAX)),
        12 => changed("task", json!(-1)),
        13 => changed("task", json!("0")),
        14 => changed("voter", json!("../../../etc")),
        15 => changed("voter", json!("")),
        16 => changed("vote", json!("vote\n{}")),
        17 => changed("vote", json!(7)),
        18 => changed("prompt", json!("both")),
        19 => changed("quality", Value::Null),
        20 => changed("name", json!("a\u{0}b")),
        21 => changed("name", json!("n".repeat(81))),
        22 => changed("model", json!("model-0")),
        23 => body("/api/undo", &json!({ "voter": "voter-aa", "undo": "vote-9999" }).to_string()),
        24 => body("/api/state", &json!({ "voter": "voter-aa", "more": 1 }).to_string()),
        25 => refused(
            address,
            "POST",
            "/api/vote",
            &[("Content-Type", "text/plain")],
            good.to_string().as_bytes(),
        ),
        26 => {
            let headers = [("Content-Type", "application/json"), ("Origin", "http://evil.example")];
            refused(address, "POST", "/api/vote", &headers, good.to_string().as_bytes());
        }
        27 => {
            let headers = [("Content-Type", "application/json"), ("Host", "evil.example")];
            refused(address, "POST", "/api/vote", &headers, good.to_string().as_bytes());
        }
        28 => {
            let paths = [
                "/pictures/..%2fstudy.json",
                "/pictures/%2e%2e/votes.jsonl",
                "/study.json",
                "/pictures/999999.png",
            ];
            for path in paths {
                assert_eq!(get(address, path).status, 404, "{path}");
            }
        }
        _ => refused(address, ["PUT", "DELETE", "GET"][i % 3], "/api/vote", &[], b""),
    }
}

#[track_caller]
fn refused(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
    let answer = ask(address, method, path, headers, body);
    assert!((400..500).contains(&answer.status), "{method} {path}: {}: {}", answer.status, answer.text());
}
