//! `add study` from folders of pictures to its report, and a server of votes that is killed.

mod kill;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use add_data::write_png;
use serde_json::{Value, json};

use crate::{
    binary::{add, command, refuses},
    serving::post,
};

/// A study of small pictures: red tells the model, green the caption.
pub(crate) fn make(root: &Path, models: usize, captions: usize) -> PathBuf {
    let mut arguments: Vec<String> = ["study", "make"].map(str::to_owned).into();
    for model in 0..models {
        let folder = root.join(format!("model-{model}"));
        fs::create_dir(&folder).unwrap();
        for caption in 0..captions {
            let side = 256;
            let picture = image::RgbImage::from_fn(side, side, |x, y| {
                let stripe = ((x + y * caption as u32) / 16 % 2) as u8;
                image::Rgb([80 * model as u8 + 20, (200 * caption / captions) as u8, 90 * stripe])
            });
            write_png(&folder.join(format!("{caption:03}.png")), &picture, &[]).unwrap();
        }
        arguments.push(folder.display().to_string());
        arguments.push(format!("--latency=model-{model}={}", 0.1 * 4f64.powi(model as i32)));
    }
    let list = root.join("captions.txt");
    let lines: Vec<String> = (0..captions).map(|i| format!("caption {i}: stripes, <b>slanted</b>")).collect();
    fs::write(&list, lines.join("\n")).unwrap();
    let study = root.join("study");
    for (option, value) in [("--captions", &list), ("--out", &study)] {
        arguments.extend([option.to_owned(), value.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = add(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("pictures: {}", models * captions)), "{said}");
    study
}

/// `add study serve` in a process of its own.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start(study: &Path, more: &[&str]) -> Self {
        let arguments = [&["study", "serve", study.to_str().unwrap()], more].concat();
        let mut child = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut before = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {before}"));
            before += &(line.clone() + "\n");
            if let Some(address) = line.strip_prefix("serving on http://") {
                break address.split('/').next().unwrap().parse().unwrap();
            }
        };
        let said = Arc::new(Mutex::new(before));
        let more = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines {
                more.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, address, said, reader: Some(reader) }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        assert!(!self.said().contains("panicked"), "{}", self.said());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A voter's next comparison, and an answer to it.
pub(crate) fn cast(address: SocketAddr, voter: &str, vote: &str) -> Value {
    let state = post(address, "/api/state", &json!({ "voter": voter })).json();
    json!({ "voter": voter, "vote": vote, "task": state["next"][0]["task"], "prompt": "left", "quality": "none" })
}

/// The lines of a study's votes.
pub(crate) fn lines(study: &Path) -> Vec<Value> {
    let text = fs::read_to_string(study.join("votes.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `study report` counts.
pub(crate) fn report(study: &Path) -> Value {
    let output = add(&["study", "report", study.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&fs::read_to_string(study.join("study-report.json")).unwrap()).unwrap()
}

#[test]
fn from_folders_to_the_report() {
    let root = tempfile::tempdir().unwrap();
    let study = make(root.path(), 3, 4);
    let shown = study.to_str().unwrap();
    refuses(&["study", "report", shown], 2, &["no votes yet", "add study serve"]);
    refuses(&["study", "serve", "no/such"], 1, &["study.json"]);
    refuses(&["study", "serve", shown, "--bind", "0.0.0.0"], 2, &["--token"]);
    refuses(&["study", "serve", shown, "--pairs", "0"], 2, &["--pairs"]);

    let served = Served::start(&study, &["--port", "0", "--pairs", "3"]);
    let vote = cast(served.address, "voter-aa", "vote-0001");
    let first = post(served.address, "/api/vote", &vote);
    assert_eq!((first.status, &first.json()["done"]), (200, &json!(1)));
    let again = post(served.address, "/api/vote", &vote);
    assert_eq!((again.status, again.json()), (200, first.json()), "a vote that is sent twice counts once");
    let mut other = vote.clone();
    other["vote"] = "vote-0002".into();
    assert_eq!(post(served.address, "/api/vote", &other).status, 409);
    let undo = json!({ "voter": "voter-aa", "undo": "vote-0001" });
    let undone = post(served.address, "/api/undo", &undo);
    assert_eq!((undone.status, &undone.json()["done"]), (200, &json!(0)));
    assert_eq!(post(served.address, "/api/undo", &undo).status, 200, "said twice, done once");
    assert_eq!(post(served.address, "/api/vote", &other).json()["done"], 1);
    for id in ["vote-0003", "vote-0004"] {
        let vote = cast(served.address, "voter-aa", id);
        assert_eq!(post(served.address, "/api/vote", &vote).status, 200);
    }
    let done = post(served.address, "/api/state", &json!({ "voter": "voter-aa" })).json();
    assert_eq!((&done["done"], &done["of"], &done["next"]), (&json!(3), &json!(3), &json!([])));
    refuses(&["study", "serve", shown, "--port", "0"], 2, &["another process"]);

    // While it serves, the report can be read.
    let report = report(&study);
    assert_eq!((&report["votes"], &report["voters"]), (&json!(3), &json!(1)));
    assert_eq!(lines(&study).len(), 5, "four votes, one of them taken back");
    let html = fs::read_to_string(study.join("report.html")).unwrap();
    assert!(html.contains("model-2") && html.contains("<circle") && !html.contains("http"), "{html:.300}");
}
