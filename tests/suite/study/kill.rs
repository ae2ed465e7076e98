//! A server of votes under `kill -9`: what it acknowledged is there.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Served, lines, make, report};
use crate::serving::answer;

/// Times that the server is killed.
const ROUNDS: usize = 4;
/// People who vote at once.
const VOTERS: usize = 8;
/// Acknowledged votes of a round before the server is killed.
const BEFORE: usize = 60;

/// Sends a request; `None` where the server is gone.
fn tried(address: SocketAddr, path: &str, body: &Value) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).ok()?;
    let answer = answer(stream)?;
    Some((answer.status, serde_json::from_slice(&answer.body).ok()?))
}

/// Votes until the server is gone, and notes every vote that it acknowledged.
fn vote_on(address: SocketAddr, round: usize, voter: usize, kept: &Mutex<Vec<String>>, count: &AtomicUsize) {
    let id = format!("voter-{voter:02}");
    for at in 0.. {
        let Some((_, state)) = tried(address, "/api/state", &json!({ "voter": id })) else { return };
        let vote = format!("vote-{round}-{voter:02}-{at:05}");
        let choice = ["left", "right", "none"][at % 3];
        let body = json!({
            "voter": id, "vote": vote, "task": state["next"][0]["task"], "prompt": choice, "quality": choice,
        });
        match tried(address, "/api/vote", &body) {
            Some((200, _)) => {
                kept.lock().unwrap().push(vote);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Some((status, problem)) => panic!("{status}: {problem}"),
            None => return,
        }
    }
}

#[test]
fn no_acknowledged_vote_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let study = make(root.path(), 4, 50);
    let kept = Mutex::new(Vec::new());
    for round in 0..ROUNDS {
        let mut served = Served::start(&study, &["--port", "0"]);
        let (address, count) = (served.address, AtomicUsize::new(0));
        thread::scope(|scope| {
            for voter in 0..VOTERS {
                let (kept, count) = (&kept, &count);
                scope.spawn(move || vote_on(address, round, voter, kept, count));
            }
            while count.load(Ordering::Relaxed) < BEFORE {
                thread::sleep(Duration::from_millis(1));
            }
            served.kill();
        });
        // What a crash of the machine may leave of a line that was being written.
        if round % 2 == 0 {
            let mut file = OpenOptions::new().append(true).open(study.join("votes.jsonl")).unwrap();
            file.write_all(b"{\"event\":\"vote\",\"vote\":\"to").unwrap();
        }
    }
    let mut served = Served::start(&study, &["--port", "0"]);
    served.kill();
    let mut served = Served::start(&study, &["--port", "0"]);
    assert!(!served.said().contains("cut off"), "it was repaired once: {}", served.said());
    served.kill();

    let kept = kept.into_inner().unwrap();
    assert!(kept.len() >= ROUNDS * BEFORE, "{}", kept.len());
    let there = lines(&study);
    let there: Vec<&str> = there.iter().filter_map(|line| line["vote"].as_str()).collect();
    let lost: Vec<&String> = kept.iter().filter(|vote| !there.contains(&vote.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged votes are lost: {lost:?}", lost.len(), kept.len());
    assert_eq!(report(&study)["votes"], there.len());
}

#[test]
fn a_line_that_was_cut_off_is_told() {
    let root = tempfile::tempdir().unwrap();
    let study = make(root.path(), 2, 2);
    fs::write(study.join("votes.jsonl"), "{\"event\":\"vo").unwrap();
    let served = Served::start(&study, &["--port", "0"]);
    let said = served.said();
    assert!(said.contains("votes.jsonl: its last line was cut off by a crash; its 12 bytes"), "{said}");
    assert_eq!(fs::read(study.join("votes.jsonl")).unwrap(), b"");
}
