//! Chromium without a window, driven by the DevTools protocol over a pair of pipes, so that no client library takes part.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::root;

/// How long anything may take; a shared machine is slow at times.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// What the page has complained of: errors of the console, exceptions, refused and failed requests.
    complaints: Vec<String>,
}

/// Where the browser is, if there is one.
pub(crate) fn find() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

impl Browser {
    /// Starts the browser with its memory in `profile`; `None`, with a word, where there is no browser.
    pub(crate) fn open(profile: &Path) -> Option<Self> {
        let Some(program) = find() else {
            let words = "skipped: there is no chromium on the PATH; `apt-get install chromium` brings it";
            let _ = writeln!(std::io::stderr(), "{words}");
            return None;
        };
        // The protocol's pipes are the file descriptors 3 and 4. The sandbox wants rights that a container does not give,
        // and the only page that is opened is ours.
        let script = "exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$0\" \"$@\"";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .args([
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-background-networking",
                "--mute-audio",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, from) = channel();
        thread::spawn(move || {
            let messages = BufReader::new(output).split(0).map_while(Result::ok);
            let parsed = messages.filter_map(|message| serde_json::from_slice::<Value>(&message).ok());
            for message in parsed {
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self { child, to, from, next: 1, session: None, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(1280, 900, false);
        Some(browser)
    }

    /// Calls a method of the protocol and waits for its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(message.to_string().as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        loop {
            let message = self.from.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{method}: {e}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.complaints.extend(complaint(&message));
        }
    }

    /// Opens an address.
    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.until("document.readyState === 'complete'");
    }

    /// The value of an expression in the page.
    pub(crate) fn js(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.js(&format!("!!({expression})")) != true {
            assert!(begun.elapsed() < PATIENCE, "never came true: {expression}; {:?}", self.complaints);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types into what has the focus, key by key.
    pub(crate) fn type_keys(&mut self, text: &str, pause: Duration) {
        for key in text.chars() {
            self.call("Input.dispatchKeyEvent", json!({ "type": "char", "text": key.to_string() }));
            thread::sleep(pause);
        }
    }

    /// Clicks in the middle of an element.
    pub(crate) fn click(&mut self, selector: &str) {
        self.js(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Draws with the mouse over an element: points in shares of its width and height.
    pub(crate) fn draw(&mut self, selector: &str, points: &[(f64, f64)]) {
        let corner = format!(
            "(() => {{ const b = document.querySelector({selector:?}).getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; }})()"
        );
        let corner: Vec<f64> = serde_json::from_value(self.js(&corner)).unwrap();
        let at = |(x, y): (f64, f64)| (corner[0] + x * corner[2], corner[1] + y * corner[3]);
        let mut mouse = |kind: &str, point| {
            let (x, y) = at(point);
            let params =
                json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params);
        };
        mouse("mousePressed", points[0]);
        for &point in points {
            mouse("mouseMoved", point);
        }
        mouse("mouseReleased", points[points.len() - 1]);
    }

    /// Sets the size of the page in pixels, and whether the system prefers dark pages.
    pub(crate) fn resize(&mut self, width: u32, height: u32, dark: bool) {
        let mobile = width < 500;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Keeps a picture of the page in `target/browser`.
    pub(crate) fn screenshot(&mut self, name: &str) {
        // Two frames, so that what was just changed is painted.
        self.js(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        );
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let png = STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        let folder = root().join("target/browser");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// What the page has complained of.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What was already sent is read with the answer to this.
        self.js("0");
        self.complaints.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = json!({ "id": 0, "method": "Browser.close" }).to_string();
        let _ = self.to.write_all(close.as_bytes()).and_then(|()| self.to.write_all(&[0]));
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What an event of the protocol complains of.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if ["error", "warning", "assert"].contains(&params["type"].as_str()?) => {
            Some(params["args"].to_string())
        }
        "Log.entryAdded" if ["error", "warning"].contains(&params["entry"]["level"].as_str()?) => {
            Some(params["entry"].to_string())
        }
        _ => None,
    }
}
