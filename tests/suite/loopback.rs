//! A web server and an S3-compatible store on this machine, over files in memory, which fails as often as it is told.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How many of a hundred answers fail, and how.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Answered with 503.
    pub(crate) unavailable: u64,
    /// Cut in the middle of their bytes.
    pub(crate) cut: u64,
}

/// What the server has done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// Files by path, such as `bucket/a.tar`.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Serves until it is dropped.
pub(crate) struct Loopback {
    address: String,
    pub(crate) counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    pub(crate) fn serve(files: Files, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::new(files), counts.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let (files, counts, stop) = shared;
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (files, counts) = (files.clone(), counts.clone());
                thread::spawn(move || answer(&stream, &files, faults, &counts));
            }
        });
        Self { address, counts, stop, thread: Some(thread) }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it up.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request and hangs up.
fn answer(mut stream: &TcpStream, files: &Files, faults: Faults, counts: &Counts) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // Fibonacci hashing: every hundred requests hold the stated numbers, in no pattern that a client could meet.
    let number = counts.requests.fetch_add(1, Ordering::Relaxed);
    let dice = ((number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) * 100) >> 32;
    if dice < faults.unavailable {
        counts.unavailable.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let (head, body) = reply(method, path.trim_start_matches('/'), query, headers.get("range"), files);
    let mut sent = if method == "HEAD" { &[] } else { &*body };
    if sent.len() > 1 && dice < faults.unavailable + faults.cut {
        counts.cut.fetch_add(1, Ordering::Relaxed);
        sent = &sent[..sent.len() / 2];
    }
    let date = "Last-Modified: Wed, 25 Nov 2026 10:00:00 GMT";
    let head = format!("{head}\r\n{date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// The answer's first lines and its bytes.
fn reply(method: &str, path: &str, query: &str, range: Option<&String>, files: &Files) -> (String, Vec<u8>) {
    if query.contains("list-type=2") {
        return ("HTTP/1.1 200 OK\r\nContent-Type: application/xml".to_owned(), listing(path, query, files));
    }
    let (Some(bytes), "GET" | "HEAD") = (files.get(path), method) else {
        return ("HTTP/1.1 404 Not Found".to_owned(), Vec::new());
    };
    let tag = bytes
        .iter()
        .fold(bytes.len() as u64, |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()));
    let wanted = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = wanted else {
        return (format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\""), bytes.clone());
    };
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let last = last.min(bytes.len() - 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"{tag}\"\r\nContent-Range: bytes {first}-{last}/{}",
        bytes.len()
    );
    (head, bytes[first..=last].to_vec())
}

/// What S3 says of the keys with a prefix; three at a time, so that a client has to ask again.
fn listing(bucket: &str, query: &str, files: &Files) -> Vec<u8> {
    let value = |name: &str| {
        let fields = query.split('&').filter_map(|field| field.split_once('='));
        let value = fields.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%2F", "/")).next();
        value.unwrap_or_default()
    };
    let (bucket, prefix, after) =
        (bucket.trim_end_matches('/'), value("prefix"), value("continuation-token"));
    let keys = files.keys().filter_map(|path| path.strip_prefix(bucket)?.strip_prefix('/'));
    let rest: Vec<&str> = keys.filter(|key| key.starts_with(&prefix) && **key > *after).collect();
    let some = &rest[..rest.len().min(3)];
    let contents: Vec<String> = some
        .iter()
        .map(|key| {
            let size = files[&format!("{bucket}/{key}")].len();
            format!(
                "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>\"x\"</ETag>\
                 <LastModified>2026-11-25T10:00:00.000Z</LastModified></Contents>"
            )
        })
        .collect();
    let more = match some.last() {
        Some(last) if rest.len() > some.len() => {
            format!("<NextContinuationToken>{last}</NextContinuationToken>")
        }
        _ => String::new(),
    };
    format!("<?xml version=\"1.0\"?><ListBucketResult>{}{more}</ListBucketResult>", contents.concat())
        .into_bytes()
}
