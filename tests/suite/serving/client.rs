//! A client that says what it is told to say, right or wrong.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// How long an answer may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a field of the head.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Opens a connection.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends a request on a connection of its own, and waits for the answer.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    answer(sent(address, method, path, headers, body)).expect("an answer")
}

/// Sends a request on a connection of its own.
pub(crate) fn sent(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut stream = connect(address);
    let mut lines = vec![format!("{method} {path} HTTP/1.1"), "Connection: close".to_owned()];
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        lines.push(format!("Host: {address}"));
    }
    if !body.is_empty() {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let head = lines.join("\r\n");
    // A server may refuse before it has read everything.
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n\r\n", body].concat());
    stream
}

/// What comes back on a connection; `None` where it ends without an answer.
pub(crate) fn answer(stream: TcpStream) -> Option<Answer> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 && !head.ends_with("\r\n\r\n") {}
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, head, body: Vec::new() };
    match answer.header("content-length").map(|length| length.parse::<u64>().unwrap()) {
        Some(length) => drop(reader.take(length).read_to_end(&mut answer.body).ok()?),
        None => drop(reader.read_to_end(&mut answer.body).ok()?),
    }
    Some(answer)
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[], &[])
}

/// Posts JSON.
pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Answer {
    ask(address, "POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
}

/// A WebSocket, as a browser has it.
pub(crate) struct Socket(BufReader<TcpStream>);

/// A message of a server.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Text(Value),
    Binary(Vec<u8>),
    Closed,
}

impl Socket {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut stream = connect(address);
        let key = STANDARD.encode([7; 16]);
        let head = format!(
            "GET /api/stream HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).unwrap() > 2 {}
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // What RFC 6455 makes of that key.
        assert!(head.to_lowercase().contains("sec-websocket-accept: "), "{head}");
        Self(reader)
    }

    /// Sends a text.
    pub(crate) fn send(&mut self, message: &Value) {
        self.send_frame(0x81, message.to_string().as_bytes());
    }

    /// Sends a frame that begins with this byte.
    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            middle @ 126..65536 => {
                frame.push(0x80 | 0x7E);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 0x7F);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let _ = self.0.get_mut().write_all(&frame);
    }

    /// The next message, without pings.
    pub(crate) fn next(&mut self) -> Message {
        loop {
            let mut head = [0; 2];
            if self.0.read_exact(&mut head).is_err() {
                return Message::Closed;
            }
            let length = match head[1] & 0x7F {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).unwrap();
            match head[0] & 0x0F {
                1 => return Message::Text(serde_json::from_slice(&payload).unwrap()),
                2 => return Message::Binary(payload),
                8 => return Message::Closed,
                _ => {}
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next text.
    pub(crate) fn header(&mut self) -> Value {
        match self.next() {
            Message::Text(header) => header,
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// The next picture.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        match self.next() {
            Message::Binary(picture) => picture,
            other => panic!("expected a picture, got {other:?}"),
        }
    }
}
