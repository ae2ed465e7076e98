//! The page of `add serve` in a real browser: what a person types, draws and watches.
//!
//! Chromium is driven by [`chromium`]; where there is none, each test says so and passes. Screenshots are kept in
//! `target/browser`. The server is the release binary with the shipped student and its teacher.

mod chromium;
mod latency;
mod study;

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use chromium::Browser;
use serde_json::Value;

use crate::{binary::command, root};

/// A server with the runs of a folder, killed when it goes out of scope.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Listens on `port`, or on a free one where it is 0.
    fn start(runs: &Path, port: &str) -> Self {
        let runs = runs.to_str().unwrap();
        let mut serve = command(&["serve", "configs/emoji.ron", "--port", port, "--runs", runs]);
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut said, mut from) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
        while !said.contains("serving on http://") {
            assert_ne!(from.read_line(&mut said).unwrap(), 0, "the server did not start: {said}");
        }
        // What else it says is let through, so that it never waits for a reader.
        thread::spawn(move || io::copy(&mut from, &mut io::stderr()));
        let url = said[said.find("http://").unwrap()..].split_whitespace().next().unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server, a browser that shows its page, and the folders that both keep.
struct Page {
    browser: Browser,
    server: Server,
    folder: tempfile::TempDir,
}

impl Page {
    fn open() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("runs")).unwrap();
        let mut browser = Browser::open(&folder.path().join("profile"))?;
        let server = Server::start(&folder.path().join("runs"), "0");
        browser.go(&server.url);
        browser.until("document.querySelector('#connection').dataset.state === 'open'");
        Some(Self { browser, server, folder })
    }

    /// Empties the prompt and types another one, key by key.
    fn prompt(&mut self, text: &str) {
        self.browser.click("#clear");
        self.browser.js("document.querySelector('#prompt').focus()");
        self.browser.type_keys(text, Duration::from_millis(15));
        self.settled();
    }

    /// Waits until nothing is under way.
    fn settled(&mut self) {
        self.browser.until("document.documentElement.dataset.waiting === '0'");
    }

    /// What the figure of a lane shows: bytes of its PNG in text.
    fn picture(&mut self, lane: &str) -> String {
        self.settled();
        let canvas = format!("document.querySelector('[data-lane=\"{lane}\"] canvas').toDataURL()");
        self.browser.js(&canvas).as_str().unwrap().to_owned()
    }

    /// Mean red, green and blue of a lane's picture.
    fn colour(&mut self, lane: &str) -> [f64; 3] {
        self.settled();
        // Read off a copy: the browser warns of reading a canvas that it keeps on a graphics card.
        let mean = format!(
            "(() => {{ const c = document.querySelector('[data-lane=\"{lane}\"] canvas'); \
             const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', {{ willReadFrequently: true }}); \
             copy.drawImage(c, 0, 0); const d = copy.getImageData(0, 0, c.width, c.height).data; const s = [0, 0, 0]; \
             for (let i = 0; i < d.length; i++) if (i % 4 < 3) s[i % 4] += d[i] / (d.length / 4); return s; }})()"
        );
        serde_json::from_value(self.browser.js(&mean)).unwrap()
    }

    fn no_complaints(&mut self) {
        assert_eq!(self.browser.complaints(), Vec::<String>::new());
    }
}

const HEART: &str = "red heart, noto emoji";

#[test]
fn typing_shows_pictures_in_every_view() {
    let Some(mut page) = Page::open() else { return };
    page.prompt(HEART);
    let heart = page.picture("one");
    let [red, green, blue] = page.colour("one");
    assert!(red > green + 30.0 && red > blue + 30.0, "a red heart on white: {red} {green} {blue}");
    page.browser.screenshot("one");
    page.prompt("evergreen tree, noto emoji");
    let [red, green, blue] = page.colour("one");
    assert!(green > red && green > blue, "a green tree on white: {red} {green} {blue}");
    assert_ne!(page.picture("one"), heart);
    page.prompt(HEART);
    assert_eq!(page.picture("one"), heart, "the same prompt and seed give the same picture");

    // A style, a number of steps and a seed change the picture.
    page.browser.click("#styles [data-style='blob emoji']");
    page.settled();
    assert_eq!(page.browser.js("document.querySelector('#prompt').value"), "red heart, blob emoji");
    assert_ne!(page.picture("one"), heart);
    page.prompt(HEART);
    for control in ["#steps [data-steps='4']", "#random"] {
        let before = page.picture("one");
        page.browser.click(control);
        assert_ne!(page.picture("one"), before, "{control}");
    }

    page.browser.click("[data-mode=grid]");
    let noises: std::collections::BTreeSet<String> =
        (0..16).map(|noise| page.picture(&format!("noise-{noise}"))).collect();
    assert_eq!(noises.len(), 16);
    page.browser.screenshot("grid");

    page.browser.click("[data-mode=compare]");
    let [student, teacher] = ["student", "teacher"].map(|lane| page.picture(lane));
    assert_ne!(student, teacher);
    let times = "[...document.querySelectorAll('.stage .times')].map((t) => t.textContent)";
    let times: Vec<String> = serde_json::from_value(page.browser.js(times)).unwrap();
    assert!(times.len() == 2 && times.iter().all(|time| time.ends_with('s')), "{times:?}");
    page.browser.screenshot("compare");

    page.browser.click("[data-mode=draw]");
    let before = page.picture("drawn");
    page.browser.draw(".drawing", &[(0.3, 0.3), (0.7, 0.7), (0.3, 0.7), (0.7, 0.3)]);
    assert_ne!(page.picture("drawn"), before, "a stroke changes the picture");
    page.browser.screenshot("draw");

    page.browser.click("[data-mode=mix]");
    let [first, last, middle] = ["mix-0", "mix-8", "mixed"].map(|lane| page.picture(lane));
    assert!(first != last && first != middle && last != middle);
    page.browser.screenshot("mix");

    page.browser.resize(390, 844, false);
    for mode in ["one", "draw"] {
        page.browser.click(&format!("[data-mode={mode}]"));
        page.settled();
        assert_eq!(page.browser.js("document.documentElement.scrollWidth"), 390, "{mode}");
        page.browser.screenshot(&format!("{mode}-narrow"));
    }
    page.browser.resize(1280, 900, true);
    page.browser.screenshot("one-dark");
    page.no_complaints();
}

#[test]
fn the_history_outlives_a_reload_and_a_killed_server() {
    let Some(mut page) = Page::open() else { return };
    for prompt in [HEART, "pizza, twemoji flat emoji"] {
        page.prompt(prompt);
        page.browser.click("#keep");
    }
    let kept = "[...document.querySelectorAll('.entry span')].map((e) => e.textContent).join('|')";
    let both = format!("({kept}).endsWith('pizza, twemoji flat emoji|{HEART}')");
    page.browser.until(&both);
    page.no_complaints();
    // SIGKILL, and another server in its place: the page connects again by itself.
    let port = page.server.url.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    drop(page.server.child.kill());
    page.browser.until("document.querySelector('#connection').dataset.state === 'closed'");
    page.server = Server::start(&page.folder.path().join("runs"), &port);
    page.browser.until("document.querySelector('#connection').dataset.state === 'open'");
    page.prompt("rocket, blob emoji");
    let rocket = page.picture("one");

    let url = page.server.url.clone();
    page.browser.go(&url);
    page.browser.until(&both);
    page.settled();
    assert_eq!(page.picture("one"), rocket, "the page goes on where it was");
    page.browser.js("[...document.querySelectorAll('.entry')].at(-1).querySelector('button').click()");
    assert_eq!(page.browser.js("document.querySelector('#prompt').value"), HEART);
    page.settled();
    page.browser.screenshot("history");
}

#[test]
fn the_page_is_small_and_asks_nobody_else() {
    let Some(mut page) = Page::open() else { return };
    page.prompt(HEART);
    page.browser.go(&format!("{}#runs", page.server.url.clone()));
    let loaded = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]\
                  .map((e) => [e.name, e.decodedBodySize])";
    let loaded: Vec<(String, u64)> = serde_json::from_value(page.browser.js(loaded)).unwrap();
    assert!(
        loaded.len() > 5 && loaded.iter().all(|(name, _)| name.starts_with(&page.server.url)),
        "{loaded:?}"
    );
    let bytes: u64 = loaded.iter().filter(|(name, _)| !name.contains("/api/")).map(|(_, bytes)| bytes).sum();
    assert!((20_000..300_000).contains(&bytes), "{bytes} bytes: {loaded:?}");
    page.browser.click("#help-open");
    assert_eq!(page.browser.js("document.querySelector('#help').open"), true);
    page.no_complaints();
}

#[test]
fn a_run_is_watched_while_it_grows() {
    let Some(mut page) = Page::open() else { return };
    let run = page.folder.path().join("runs/emoji");
    fs::create_dir_all(run.join("samples")).unwrap();
    let whole = fs::read_to_string(root().join("configs/weights/emoji-student.metrics.jsonl")).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    fs::write(run.join("metrics.jsonl"), lines[..200].concat()).unwrap();
    fs::copy(root().join("configs/emoji.ron"), run.join("recipe.ron")).unwrap();
    let grid = root().join("configs/weights/emoji-student.png");
    fs::copy(&grid, run.join("samples/step-0000000.png")).unwrap();
    let url = format!("{}#runs/emoji", page.server.url.clone());
    page.browser.go(&url);
    page.browser.until("document.querySelectorAll('#charts .chart').length > 6");
    let fact = "document.querySelector('#run-head dd')?.textContent";
    let last = |line: &str| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap();
    page.browser.until(&format!("({fact}).startsWith('{} of 1,500')", last(lines[199])));
    page.browser.until("document.querySelectorAll('#run-heads tbody tr').length === 4");

    // It grows: lines, a grid and an evaluation.
    fs::write(run.join("metrics.jsonl"), &whole).unwrap();
    fs::copy(&grid, run.join("samples/step-0000300.png")).unwrap();
    fs::copy(root().join("configs/weights/emoji-student.evaluation.json"), run.join("evaluation.json"))
        .unwrap();
    page.browser.until(&format!("({fact}).startsWith('3,500 of')"));
    page.browser.until("document.querySelector('#run-grids img').src.includes('samples/300')");
    page.browser.until("document.querySelector('#run-grids img').naturalWidth > 100");
    page.browser.until("document.querySelectorAll('table.evaluation tbody tr').length > 2");
    page.browser.screenshot("run");

    // It is rewound, as a resumed run is.
    fs::write(run.join("new"), lines[..100].concat()).unwrap();
    fs::rename(run.join("new"), run.join("metrics.jsonl")).unwrap();
    page.browser.until(&format!("({fact}).startsWith('{} of')", last(lines[99])));

    // Another one is laid over it; the filter leaves charts by name.
    let other = page.folder.path().join("runs/other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("metrics.jsonl"), &whole).unwrap();
    page.browser.js("location.hash = 'runs/emoji+other'");
    page.browser.until(
        "[...document.querySelectorAll('.legend li')].some((l) => l.textContent.includes('other · '))",
    );
    page.browser.screenshot("runs");
    page.browser.js("document.querySelector('#chart-filter').value = 'learning rate'; document.querySelector('#chart-filter').dispatchEvent(new Event('input'))");
    page.browser.until("document.querySelectorAll('#charts .chart').length === 1");
    page.browser.resize(390, 844, true);
    assert_eq!(page.browser.js("document.documentElement.scrollWidth"), 390);
    page.browser.screenshot("runs-narrow-dark");
    page.no_complaints();
}
