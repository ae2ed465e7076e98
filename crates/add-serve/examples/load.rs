//! Measures a running server from the same machine: how long one picture takes, and how many a number of clients get.
//!
//!     add serve configs/emoji.ron &
//!     cargo run --release -p add-serve --example load -- --pid $! --sample-rate RATE --out crates/add-serve/benchmarks/load.json
//!
//! Each client asks for one picture of one step at a time, over a connection that it keeps. `--sample-rate` is what
//! `add sample --prompts` makes a second, for comparison; `--pid` is the server's process, whose memory is watched.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> = arguments
        .chunks(2)
        .filter_map(|pair| Some((pair.first()?.as_str(), pair.get(1)?.as_str())))
        .collect();
    let known = ["--address", "--clients", "--seconds", "--requests", "--pid", "--sample-rate", "--out"];
    if arguments.len() % 2 == 1 || given.keys().any(|name| !known.contains(name)) {
        return Err(format!("expected {} with a value each", known.join(", ")).into());
    }
    let number = |name: &str, default: f64| given.get(name).map_or(Ok(default), |text| text.parse::<f64>());
    let address = given.get("--address").copied().unwrap_or("127.0.0.1:7860");
    let (clients, seconds) = (number("--clients", 32.0)? as u64, number("--seconds", 60.0)?);
    let pid = given.get("--pid").copied();

    let alone = alone(address, number("--requests", 500.0)? as u64)?;
    // The first full batches are not counted: they pay for memory that is kept.
    many(address, clients, Duration::from_secs(3));
    let before = resident(pid);
    let (times, errors, elapsed) = many(address, clients, Duration::from_secs_f64(seconds));
    let after = resident(pid);

    let rate = times.len() as f64 / elapsed;
    let mut result = json!({
        "machine": machine(),
        "one_client": quantiles(&alone),
        "clients": clients,
        "seconds": round(elapsed),
        "pictures": times.len(),
        "errors": errors,
        "pictures_per_second": round(rate),
        "many_clients": quantiles(&times),
    });
    if let (Some(before), Some(after)) = (before, after) {
        result["resident_mib"] = json!({ "before": before >> 20, "after": after >> 20 });
        result["growth"] = json!(round(after as f64 / before as f64 - 1.0));
    }
    if let Some(sample) = given.get("--sample-rate") {
        let sample: f64 = sample.parse()?;
        result["sample_pictures_per_second"] = json!(sample);
        result["of_sample"] = json!(round(rate / sample));
    }
    let text = serde_json::to_string_pretty(&result)?;
    println!("{text}");
    if let Some(path) = given.get("--out") {
        fs::write(path, text + "\n")?;
    }
    Ok(())
}

/// Milliseconds of each of so many requests, one after the other, after a few that are not counted.
fn alone(address: &str, requests: u64) -> io::Result<Vec<f64>> {
    let mut client = Client::connect(address)?;
    (0..20).try_for_each(|i| client.picture(i).map(drop))?;
    (0..requests).map(|i| client.picture(i)).collect()
}

/// Milliseconds of the requests of several clients for so long, how many failed, and how long it took.
fn many(address: &str, clients: u64, time: Duration) -> (Vec<f64>, usize, f64) {
    let began = Instant::now();
    let client = |number: u64| {
        let (mut times, mut errors) = (Vec::new(), 0);
        let mut connection = Client::connect(address);
        let mut i = number << 32;
        while began.elapsed() < time {
            i += 1;
            if let Ok(time) =
                connection.as_mut().map_err(|_| ()).and_then(|client| client.picture(i).map_err(drop))
            {
                times.push(time);
            } else {
                errors += 1;
                thread::sleep(Duration::from_millis(10));
                connection = Client::connect(address);
            }
        }
        (times, errors)
    };
    let all: Vec<(Vec<f64>, usize)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let elapsed = began.elapsed().as_secs_f64();
    let errors = all.iter().map(|(_, errors)| errors).sum();
    (all.into_iter().flat_map(|(times, _)| times).collect(), errors, elapsed)
}

/// A connection that is kept.
struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_owned() })
    }

    /// Asks for a picture; how long it took until its last byte, in milliseconds.
    fn picture(&mut self, seed: u64) -> io::Result<f64> {
        let began = Instant::now();
        let body = json!({ "prompt": "red heart, noto emoji", "seed": seed, "steps": 1 }).to_string();
        let request = format!(
            "POST /api/generate HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut head = String::new();
        while self.stream.read_line(&mut head)? > 2 {}
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
        });
        let mut picture = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        self.stream.read_exact(&mut picture)?;
        if !head.starts_with("HTTP/1.1 200") || !picture.starts_with(b"\x89PNG") {
            return Err(io::Error::other(String::from_utf8_lossy(&picture).into_owned()));
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}

/// Quantiles of times.
fn quantiles(times: &[f64]) -> Value {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at =
        |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
    let all = [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99), ("most_ms", 1.0)];
    let values = all.map(|(name, share)| (name.to_owned(), json!(at(share).map(round))));
    Value::Object(values.into_iter().collect())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Memory of a process that is not on disk, in bytes.
fn resident(pid: Option<&str>) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

/// The processor, and how many of its cores there are here.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!("{} ({cores} cores)", name.unwrap_or("a processor without a name"))
}
