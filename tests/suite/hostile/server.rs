//! A server under requests that are malformed, too large, slow or broken off: none ends it, holds its engine or takes much
//! memory. `ADD_HOSTILE_REQUESTS` says how many there are.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use add_data::encode_png;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{emoji, peak_resident};
use crate::{
    binary::command,
    serving::{Answer, ask, get, post},
};

/// Requests, unless the environment says otherwise.
const REQUESTS: usize = 300;
/// Clients at once.
const CLIENTS: usize = 24;
/// Most memory that they may take, in bytes.
const MOST_MEMORY: u64 = 64 << 20;

/// `add serve` in a process of its own.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start() -> Self {
        let mut command = command(&["serve", &emoji(), "--port", "0", "--without-teacher"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let told =
            lines.find_map(|line| line.strip_prefix("serving on http://")?.split('/').next()?.parse().ok());
        std::thread::spawn(move || lines.for_each(|line| assert!(!line.contains("panicked"), "{line}")));
        Self { child, address: told.expect("it says where it serves") }
    }

    fn picture(&self) -> Vec<u8> {
        let wanted = json!({ "prompt": "red heart, noto emoji", "seed": 1 });
        let answer = post(self.address, "/api/generate", &wanted);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn hostile_requests_end_nothing_hold_nothing_and_take_little() {
    let requests =
        std::env::var("ADD_HOSTILE_REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(REQUESTS);
    let mut served = Served::start();
    let address = served.address;
    let before = served.picture();
    // What the engine needs for a full batch is not the requests' doing.
    let full = json!({ "prompt": "a", "count": 64, "steps": 2 });
    assert_eq!(post(address, "/api/generate", &full).status, 200);
    let memory = peak_resident(served.child.id());
    let bomb = bomb();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let bomb = &bomb;
            scope.spawn(move || (client..requests).step_by(CLIENTS).for_each(|i| hostile(address, i, bomb)));
        }
    });
    assert!(served.child.try_wait().unwrap().is_none(), "the server has ended");
    let began = Instant::now();
    assert_eq!(served.picture(), before, "the picture is another one");
    assert!(began.elapsed() < Duration::from_secs(10), "the engine was held for {:?}", began.elapsed());
    if let (Some(before), Some(after)) = (memory, peak_resident(served.child.id())) {
        let took = after.saturating_sub(before);
        assert!(took < MOST_MEMORY, "{requests} requests took {} MiB", took >> 20);
        if requests > REQUESTS {
            // What a person who raised the number wants to know.
            let _ = writeln!(std::io::stderr(), "{requests} requests took {} KiB", took >> 10);
        }
    }
    let metrics = get(address, "/metrics").text();
    assert!(metrics.contains("add_errors_total 0\n"), "{metrics}");
    assert!(metrics.contains("add_queue_length 0\n"), "{metrics}");
}

#[test]
fn a_signal_ends_the_server_with_its_code() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut served = Served::start();
        served.picture();
        let id = served.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        assert_eq!(served.child.wait().unwrap().code(), Some(code));
    }
}

/// A small file with many pixels, in base64.
fn bomb() -> String {
    STANDARD.encode(encode_png(&image::RgbImage::new(1536, 1536), &[]).unwrap())
}

/// One request, of one of many kinds.
fn hostile(address: SocketAddr, i: usize, bomb: &str) {
    let generate = "POST /api/generate HTTP/1.1\r\nContent-Type: application/json\r\nHost: 127.0.0.1\r\n";
    let json = |body: &str| {
        let headers = [("Content-Type", "application/json")];
        refused(&ask(address, "POST", "/api/generate", &headers, body.as_bytes()));
    };
    match i % 25 {
        0 => said(address, &noise(i)),
        1 => said(address, b"GET / HTTP/9.9\r\n\r\n"),
        2 => said(address, b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        3 => said(
            address,
            [b"GET / HTTP/1.1\r\n".as_slice(), &b"X: y\r\n".repeat(5000), b"\r\n"].concat().as_slice(),
        ),
        4 => said(
            address,
            format!("GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "a".repeat(100_000)).as_bytes(),
        ),
        5 => said(address, format!("{generate}Content-Length: 99999999999999999999\r\n\r\n").as_bytes()),
        6 => said(
            address,
            format!("{generate}Content-Length: 9000000\r\n\r\n{}", " ".repeat(100_000)).as_bytes(),
        ),
        7 => said(address, format!("{generate}Content-Length: -1\r\n\r\n").as_bytes()),
        8 => said(address, format!("{generate}Transfer-Encoding: chunked\r\n\r\nZZ\r\n").as_bytes()),
        9 => said(
            address,
            format!("{generate}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                .as_bytes(),
        ),
        10 => slow(address, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "),
        11 => slow(address, format!("{generate}Content-Length: 8000000\r\n\r\n{{").as_bytes()),
        // Broken off before the answer: nobody waits for this picture.
        12 => broken_off(
            address,
            format!("{generate}Content-Length: 17\r\n\r\n{{ \"prompt\": \"a\" }}").as_bytes(),
        ),
        13 => broken_off(address, format!("{generate}Content-Length: 17\r\n\r\n{{ \"pro").as_bytes()),
        14 => json("{"),
        15 => json(&"[".repeat(100_000)),
        16 => json(&format!("{{ \"prompt\": {} }}", "{\"a\":".repeat(1000))),
        17 => json(r#"{ "prompt": "a", "steps": 1e400 }"#),
        18 => json(r#"{ "prompt": "a", "count": -1, "seed": 1.5 }"#),
        19 => json(&json!({ "prompt": "a".repeat(1 << 20) }).to_string()),
        20 => json("{ \"prompt\": \"\\ud800\" }"),
        21 => json(&json!({ "prompt": "a", "init": &bomb[..bomb.len() / 2] }).to_string()),
        22 => {
            // A picture within the limits, which is large while it is decoded.
            let answer = post(address, "/api/generate", &json!({ "prompt": "a", "init": bomb }));
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
        }
        23 => said(
            address,
            &[
                socket_head().as_bytes(),
                &[0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
                &noise(i),
            ]
            .concat(),
        ),
        _ => said(address, &[socket_head().as_bytes(), &noise(i)].concat()),
    }
}

/// The request of a WebSocket.
fn socket_head() -> String {
    "GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
     13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        .to_owned()
}

fn refused(answer: &Answer) {
    assert!(
        (400..500).contains(&answer.status) || answer.status == 503,
        "{}: {}",
        answer.status,
        answer.text()
    );
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    stream
}

/// Bytes without meaning, others for each `i`.
pub(super) fn noise(i: usize) -> Vec<u8> {
    (0..2000_u32).map(|k| (k.wrapping_mul(2_654_435_761 + i as u32) >> 11) as u8).collect()
}

/// Says this and listens for a moment; the server may answer or hang up.
pub(super) fn said(address: SocketAddr, bytes: &[u8]) {
    let mut stream = connected(address);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 4096]);
}

/// Says this, and then a byte now and then.
fn slow(address: SocketAddr, bytes: &[u8]) {
    let mut stream = connected(address);
    let _ = stream.write_all(bytes);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(100));
        let _ = stream.write_all(b" ");
    }
}

/// Says this and goes away.
fn broken_off(address: SocketAddr, bytes: &[u8]) {
    let _ = connected(address).write_all(bytes);
}
