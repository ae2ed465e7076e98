//! Clients that are slow, greedy or gone: each is held to its limit, and the next one is served.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use add_serve::Limits;
use serde_json::json;

use super::{
    Server, Socket,
    client::{Answer, Message, answer, connect, sent},
    get, post,
};

fn short() -> Limits {
    Limits {
        body: 4096,
        head_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        stall: Duration::from_millis(300),
        connections: 4,
        sockets: 1,
        message: 2048,
        queue: 3,
        ..Limits::default()
    }
}

/// Whether the server ends a connection on which this was said, and what it says before; it must do so soon.
fn ended(server: &Server, said: &str) -> String {
    let mut stream = connect(server.address);
    stream.write_all(said.replace("HERE", &server.address.to_string()).as_bytes()).unwrap();
    let (began, mut heard) = (Instant::now(), String::new());
    let _ = stream.read_to_string(&mut heard);
    assert!(began.elapsed() < Duration::from_secs(20), "{said:?} held its connection");
    heard
}

#[test]
fn slow_heads_bodies_and_idle_connections_are_ended() {
    let server = Server::with(None, short());
    ended(&server, "");
    ended(&server, "GET /health HTTP/1.1\r\nHost: HERE\r\nX-Slow: ");
    let idle = ended(&server, "GET /health HTTP/1.1\r\nHost: HERE\r\n\r\n");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    let head = "POST /api/generate HTTP/1.1\r\nHost: HERE\r\nContent-Type: application/json\r\n";
    let body = ended(&server, &format!("{head}Content-Length: 100\r\n\r\n{{"));
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    let large = ended(&server, &format!("{head}Content-Length: 100000\r\n\r\n"));
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x2000));
    let chunked = ended(&server, &chunked);
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    let long = ended(&server, &format!("GET / HTTP/1.1\r\nHost: HERE\r\nX: {}\r\n\r\n", "x".repeat(100_000)));
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long}");
    assert_eq!(get(server.address, "/health").status, 200);
}

#[test]
fn more_connections_than_there_may_be_wait_until_one_ends() {
    let server = Server::with(None, short());
    let held: Vec<_> = (0..4).map(|_| connect(server.address)).collect();
    let answer = get(server.address, "/health");
    assert_eq!(answer.status, 200, "the silent ones were ended");
    drop(held);
}

#[test]
fn streams_are_counted_and_their_messages_measured() {
    let server = Server::with(None, short());
    let mut first = Socket::open(server.address);
    let request = format!(
        "GET /api/stream HTTP/1.1\r\nHost: {}\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
         13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        server.address
    );
    let second = || {
        let mut stream = connect(server.address);
        stream.write_all(request.as_bytes()).unwrap();
        answer(stream).map(|answer| answer.status)
    };
    assert_eq!(second(), Some(503));
    first.send_frame(0x81, &[b' '; 4096]);
    assert_eq!(first.next(), Message::Closed);
    let again = || get(server.address, "/metrics").text().contains("add_websockets 0\n");
    assert!((0..200).any(|_| again() || {
        std::thread::sleep(Duration::from_millis(10));
        false
    }));
    Socket::open(server.address).send(&json!({ "prompt": "a" }));
}

#[test]
fn a_full_queue_says_so_and_what_nobody_waits_for_is_not_made() {
    let server = Server::with(None, Limits { connections: 32, ..short() });
    let mut socket = Socket::open(server.address);
    let long = json!({ "model": "emoji-teacher", "steps": 150, "count": 16, "prompt": "a" });
    for lane in 0..8 {
        let mut message = long.clone();
        (message["id"], message["lane"]) = (json!(lane), json!(lane));
        socket.send(&message);
    }
    let refused = socket.header();
    assert!(refused["error"].as_str().unwrap().contains("3 requests are waiting"), "{refused}");
    // What is refused is answered at once; the others wait, and are let go with their connections.
    let asked: Vec<TcpStream> = (0..8)
        .map(|_| {
            let body = long.to_string();
            let json = [("Content-Type", "application/json")];
            sent(server.address, "POST", "/api/generate", &json, body.as_bytes())
        })
        .collect();
    let answers = asked.iter().filter_map(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        answer(stream.try_clone().unwrap())
    });
    let refused: Vec<Answer> = answers.collect();
    assert!(refused.len() >= 4, "{refused:?}");
    for busy in &refused {
        assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
    }
    // All of it would take minutes.
    drop((socket, asked));
    let began = Instant::now();
    let mut answers = (0..500).map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        post(server.address, "/api/generate", &json!({ "prompt": "a" })).status
    });
    assert!(answers.any(|status| status == 200));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let metrics = get(server.address, "/metrics").text();
    let cancelled = metrics.lines().find_map(|line| line.strip_prefix("add_cancelled_total ")).unwrap();
    assert!(cancelled.parse::<u64>().unwrap() >= 3, "{cancelled}");
}

#[test]
fn a_server_that_stops_finishes_what_is_under_way() {
    let server = Server::start();
    let address = server.address;
    let wanted = json!({ "prompt": "a", "model": "emoji-teacher", "steps": 25, "count": 4 });
    let asked = std::thread::spawn(move || post(address, "/api/generate", &wanted).status);
    while get(address, "/sdapi/v1/progress").json()["state"]["job_count"] == json!(0) && !asked.is_finished()
    {
    }
    drop(server);
    assert_eq!(asked.join().unwrap(), 200);
    assert!(std::net::TcpStream::connect(address).is_err());
}
