//! The page of a study: a person who prefers the first of any two models clicks through twenty pairs, takes an answer back,
//! leaves and comes back, and sits out a server that is killed.

use std::{collections::HashMap, fs, path::Path};

use serde_json::{Value, json};

use super::chromium::Browser;
use crate::study::{Served, lines, make, report};

/// A pair on the page, ready to be judged, after so many others.
fn ready(browser: &mut Browser, done: usize) {
    browser.until(&format!(
        "document.body.dataset.ready === 'true' && document.body.dataset.view === 'pair' && \
         document.querySelector('#count').textContent === '{done} of 20'"
    ));
}

fn key(browser: &mut Browser, key: &str) {
    for kind in ["keyDown", "keyUp"] {
        browser.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key }));
    }
}

/// Which side shows the model that comes first in the study.
fn preferred(browser: &mut Browser, model_of: &HashMap<String, usize>) -> &'static str {
    let mut model = |side: &str| {
        let src = browser.js(&format!("document.querySelector('#{side} img').src"));
        model_of[src.as_str().unwrap().rsplit('/').next().unwrap()]
    };
    if model("left") < model("right") { "left" } else { "right" }
}

/// Answers both questions in one of the ways that the page offers.
fn judge(browser: &mut Browser, way: usize, side: &str) {
    let arrow = if side == "left" { "ArrowLeft" } else { "ArrowRight" };
    let button = |question: &str, choice: &str| format!("[data-question={question}] [data-choice={choice}]");
    match way % 4 {
        0 => [arrow, arrow].map(|arrow| key(browser, arrow)),
        1 => ["quality", "prompt"].map(|question| browser.click(&button(question, side))),
        2 => ["", " img"].map(|part| browser.click(&format!("#{side}{part}"))),
        _ => [arrow, "ArrowDown"].map(|arrow| key(browser, arrow)),
    };
}

/// Whose picture a file is.
fn model_of(study: &Path) -> HashMap<String, usize> {
    let text = fs::read_to_string(study.join("study.json")).unwrap();
    let study: Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<Vec<String>> = serde_json::from_value(study["pictures"].clone()).unwrap();
    rows.into_iter().flat_map(|row| row.into_iter().enumerate().map(|(model, name)| (name, model))).collect()
}

#[test]
fn twenty_pairs_are_clicked_through() {
    let root = tempfile::tempdir().unwrap();
    let study = make(root.path(), 3, 10);
    let model_of = model_of(&study);
    let Some(mut browser) = Browser::open(&root.path().join("profile")) else { return };
    let browser = &mut browser;
    let mut served = Served::start(&study, &["--port", "0", "--pairs", "20"]);
    let url = format!("http://{}/", served.address);
    browser.go(&url);
    browser.until("document.body.dataset.view === 'intro'");
    browser.screenshot("study-intro");
    browser.js("document.querySelector('#name').value = 'Anna'");
    browser.click("#begin button");
    for done in 0..20 {
        ready(browser, done);
        let side = preferred(browser, &model_of);
        match done {
            0 => {
                let caption = browser.js("document.querySelector('#caption').innerHTML");
                assert!(caption.as_str().unwrap().ends_with("&lt;b&gt;slanted&lt;/b&gt;"), "{caption}");
                let loaded = "performance.getEntriesByType('resource').filter((e) => e.name.includes('/pictures/')).length";
                browser.until(&format!("{loaded} > 2"));
                browser.screenshot("study-pair");
            }
            5 => {
                // Taken back within a pair, and then the pair before.
                let shown = browser.js("document.querySelector('#left img').src");
                key(browser, "ArrowLeft");
                key(browser, "u");
                key(browser, "u");
                ready(browser, 4);
                assert_ne!(browser.js("document.querySelector('#left img').src"), shown);
                let side = preferred(browser, &model_of);
                judge(browser, 0, side);
                ready(browser, 5);
            }
            8 => {
                browser.go(&url);
                ready(browser, 8);
            }
            12 => {
                browser.resize(390, 844, false);
                let size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]";
                assert_eq!(browser.js(size), json!([390, 844]));
                browser.screenshot("study-narrow");
                browser.resize(1280, 900, true);
                key(browser, "ArrowLeft");
                browser.screenshot("study-dark");
                key(browser, "u");
                assert_eq!(browser.js(size), json!([1280, 900]));
            }
            14 => {
                assert_eq!(browser.complaints(), Vec::<String>::new());
                let port = served.address.port().to_string();
                served.kill();
                judge(browser, done, side);
                browser.until("document.querySelector('#trouble').textContent.includes('Trying again')");
                served = Served::start(&study, &["--port", &port, "--pairs", "20"]);
                ready(browser, 15);
                assert_eq!(browser.js("document.querySelector('#trouble').hidden"), true);
                continue;
            }
            _ => {}
        }
        let side = preferred(browser, &model_of);
        judge(browser, done, side);
    }
    browser.until("document.body.dataset.view === 'done'");
    browser.screenshot("study-done");

    let names = "performance.getEntriesByType('resource').map((e) => e.name)";
    let names: Vec<String> = serde_json::from_value(browser.js(names)).unwrap();
    assert!(names.len() > 5 && names.iter().all(|name| name.starts_with(&url)), "{names:?}");
    let seen = "fetch('/api/state', { method: 'POST', headers: { 'Content-Type': 'application/json' }, \
                body: JSON.stringify({ voter: 'voter-bb' }) }).then((answer) => answer.text())";
    let seen = browser.js(seen);
    assert!(seen.as_str().unwrap().contains("/pictures/") && !seen.to_string().contains("model-"), "{seen}");

    assert_eq!(lines(&study).len(), 22, "twenty votes, one more that was taken back, and that line");
    let report = report(&study);
    assert_eq!((&report["votes"], &report["by_voter"][0]["voter"]), (&json!(20), &json!("Anna")));
    for pair in report["pairs"].as_array().unwrap() {
        assert_eq!(pair["prompt"]["losses"], 0, "{pair}");
        assert_eq!(pair["quality"]["losses"], 0, "{pair}");
        assert_eq!(pair["prompt"]["ties"], 0, "{pair}");
        assert!(pair["prompt"]["wins"].as_u64().unwrap() > 0, "{pair}");
    }
    let ties = |pair: &Value| pair["quality"]["ties"].as_u64().unwrap();
    assert_eq!(report["pairs"].as_array().unwrap().iter().map(ties).sum::<u64>(), 5);

    browser.go(&format!("file://{}", study.join("report.html").display()));
    for (width, dark) in [(1280, false), (1280, true), (390, false)] {
        browser.resize(width, 1900, dark);
        assert_eq!(browser.js("document.documentElement.scrollWidth"), width);
        browser.screenshot(&format!("study-report-{width}{}", if dark { "-dark" } else { "" }));
    }
}
