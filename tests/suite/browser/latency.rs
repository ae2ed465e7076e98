//! From the key to the picture, measured in the browser.
//!
//! `cargo test --release -p add-tests --test suite browser::latency -- --ignored` measures on a quiet machine and writes
//! `crates/add-serve/latency.json`; CI holds the median to a bound that a busy machine keeps too.

use std::{
    fs,
    io::{self, Write as _},
    time::Duration,
};

use serde_json::json;

use super::Page;
use crate::root;

const PROMPTS: [&str; 4] =
    ["red heart, noto emoji", "pizza, glossy 3d emoji", "dog face, fluent flat emoji", "rocket, blob emoji"];

/// Milliseconds from each key's event until its picture is on the canvas, in rising order; `None` without a browser.
fn measured(rounds: usize, pause: Duration) -> Option<Vec<f64>> {
    let mut page = Page::open()?;
    page.prompt(PROMPTS[0]);
    page.browser.js("performance.clearMeasures()");
    for prompt in PROMPTS.iter().cycle().take(rounds) {
        page.browser.click("#clear");
        page.browser.type_keys(prompt, pause);
        page.settled();
    }
    let durations = "performance.getEntriesByName('keystroke-to-picture').map((e) => e.duration)";
    let mut durations: Vec<f64> = serde_json::from_value(page.browser.js(durations)).unwrap();
    durations.sort_by(f64::total_cmp);
    page.no_complaints();
    Some(durations)
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

#[test]
fn a_key_has_its_picture_at_once() {
    let Some(durations) = measured(2, Duration::from_millis(60)) else { return };
    // Keys that come faster than pictures are passed over, not kept waiting.
    assert!(durations.len() > 10, "{durations:?}");
    let median = quantile(&durations, 0.5);
    assert!(median < 1000.0, "median {median} ms");
}

#[test]
#[ignore = "measures; wants a quiet machine"]
fn measure() {
    let Some(durations) = measured(16, Duration::from_millis(120)) else { return };
    let round = |ms: f64| (ms * 10.0).round() / 10.0;
    let result = json!({
        "what": "milliseconds from a key's input event to its picture on the canvas, one step, shipped student, loopback",
        "keys": durations.len(),
        "p50": round(quantile(&durations, 0.5)),
        "p95": round(quantile(&durations, 0.95)),
        "largest": round(quantile(&durations, 1.0)),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
    });
    let text = serde_json::to_string_pretty(&result).unwrap();
    writeln!(io::stderr(), "{text}").unwrap();
    fs::write(root().join("crates/add-serve/latency.json"), text + "\n").unwrap();
}
