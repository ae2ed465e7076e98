//! Server-sent events of a run: `run` (what it is), `charts` (which figures share one), `lines` (rows of metrics as they are
//! written), and `reset` before the first and whenever the run was rewound.
//!
//! The event `lines` carries the place in `metrics.jsonl` behind them as its id. A browser that lost the connection sends it
//! back, and goes on from there.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use add_eval::report::layout;
use axum::body::Body;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;

use super::{
    about::{About, about},
    folders::{RunPath, Runs},
    lines::{Place, name_figures, read_on},
};
use crate::App;

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_millis(400);
/// Looks between two at what the run is beside its metrics.
const ABOUT: u32 = 4;
/// A comment is sent at every so many looks if nothing else is, so that a closed connection is noticed.
const SILENCE: u32 = 25;

/// The events of `run` as the body of an answer; `last` is the id of the last event that a browser has seen.
pub(super) fn stream(app: App, run: RunPath, last: Option<String>) -> Body {
    let begin = Follower::new(Arc::clone(&app.runs), run, last.as_deref());
    Body::from_stream(stream::unfold((begin, app), |(mut follower, app)| async move {
        // A server that stops does not wait for its watchers.
        while !app.stopping.load(Ordering::Relaxed) {
            // Files are read away from the threads that serve connections.
            let looked = tokio::task::spawn_blocking(move || {
                let events = follower.look();
                (follower, events)
            });
            let (back, events) = looked.await.ok()?;
            follower = back;
            if !events.is_empty() {
                return Some((Ok::<_, Infallible>(events), (follower, app)));
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }))
}

/// What has been told of a run.
struct Follower {
    runs: Arc<Runs>,
    run: RunPath,
    place: Place,
    /// Lines told, of this file.
    lines: usize,
    figures: BTreeSet<(String, Option<usize>)>,
    about: Option<About>,
    /// Where a browser had been before it lost the connection.
    resumed: Option<Place>,
    /// Looks at the folder.
    looks: u32,
}

impl Follower {
    fn new(runs: Arc<Runs>, run: RunPath, last: Option<&str>) -> Self {
        let place = last.and_then(|id| {
            let (file, offset) = id.split_once('-')?;
            Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
        });
        Self {
            runs,
            run,
            resumed: place,
            place: Place::default(),
            lines: 0,
            figures: BTreeSet::new(),
            about: None,
            looks: 0,
        }
    }

    /// Goes to `to` without telling what comes before it. A place in another file, or within a line, is left alone: everything is
    /// then told from the beginning.
    fn pass(&mut self, to: Place) {
        let Some(path) = self.runs.file(&self.run, "metrics.jsonl") else { return };
        let mut at = Place { file: to.file, offset: 0 };
        let (mut lines, mut figures) = (0, BTreeSet::new());
        while at.offset < to.offset {
            match read_on(&path, &mut at, to.offset) {
                Ok(read) if !read.anew && read.lines > 0 => {
                    lines += read.lines;
                    read.rows.iter().for_each(|row| name_figures(row, &mut figures));
                }
                _ => return,
            }
        }
        (self.place, self.lines, self.figures) = (at, lines, figures);
    }

    /// What is new, as events in text.
    fn look(&mut self) -> String {
        let mut events = String::new();
        if let Some(place) = self.resumed.take() {
            self.pass(place);
        }
        if self.looks.is_multiple_of(ABOUT) {
            self.look_about(&mut events);
        }
        let path = self.runs.file(&self.run, "metrics.jsonl");
        if let Some(read) = path.and_then(|path| read_on(&path, &mut self.place, u64::MAX).ok()) {
            if read.anew {
                self.lines = 0;
                self.figures.clear();
                event(&mut events, "reset", &json!({}), None);
            }
            let known = self.figures.len();
            read.rows.iter().for_each(|row| name_figures(row, &mut self.figures));
            if let Some(about) = self.about.as_ref().filter(|_| self.figures.len() != known) {
                event(&mut events, "charts", &layout(&self.figures, about.charts), None);
            }
            if !read.rows.is_empty() {
                event(
                    &mut events,
                    "lines",
                    &json!({ "from": self.lines, "rows": read.rows }),
                    Some(self.place),
                );
            }
            self.lines += read.lines;
        }
        self.looks = self.looks.wrapping_add(1);
        if events.is_empty() && self.looks.is_multiple_of(SILENCE) {
            events.push_str(": still here\n\n");
        }
        events
    }

    fn look_about(&mut self, events: &mut String) {
        let about = about(&self.runs, &self.run);
        if self.about.as_ref() == Some(&about) {
            return;
        }
        event(events, "run", &about, None);
        if self.about.is_none() && !self.figures.is_empty() {
            event(events, "charts", &layout(&self.figures, about.charts), None);
        }
        self.about = Some(about);
    }
}

fn event(to: &mut String, name: &str, data: &impl Serialize, place: Option<Place>) {
    let data = serde_json::to_string(data).expect("plain data is JSON");
    let id = place.map_or_else(String::new, |place| format!("id: {}-{}\n", place.file, place.offset));
    write!(to, "{id}event: {name}\ndata: {data}\n\n").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::Path};

    use super::*;

    fn follower(root: &Path, last: Option<&str>) -> Follower {
        let runs = Arc::new(Runs::new(root.to_path_buf()));
        let run = runs.run("a").unwrap();
        Follower::new(runs, run, last)
    }

    /// The names of the events, and the id of the last.
    fn names(events: &str) -> (Vec<&str>, String) {
        let names = events.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let id = events.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default();
        (names, id.to_owned())
    }

    #[test]
    fn a_run_is_followed_over_growth_a_lost_connection_and_a_rewind() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/metrics.jsonl");
        fs::create_dir(root.path().join("a")).unwrap();
        let mut one = follower(root.path(), None);
        assert_eq!(names(&one.look()).0, ["run"]);
        fs::write(&path, "{\"step\":1,\"loss\":2.0}\n").unwrap();
        let events = one.look();
        let (told, id) = names(&events);
        assert_eq!(told, ["reset", "charts", "lines"]);
        assert!(
            events.contains(r#""title":"Loss""#) && events.contains(r#""rows":[{"loss":2.0,"step":1}]"#),
            "{events}"
        );
        assert_eq!(one.look(), "");

        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"step\":2,\"loss\":1.0}\n").unwrap();
        let events = one.look();
        assert_eq!(names(&events).0, ["lines"]);
        assert!(events.contains(r#""from":1"#), "{events}");

        // Connected again with the id of the first line: the second one alone is told.
        let events = follower(root.path(), Some(&id)).look();
        assert_eq!(names(&events).0, ["run", "charts", "lines"]);
        assert!(!events.contains(r#""step":1"#) && events.contains(r#""step":2"#), "{events}");

        let new = root.path().join("new");
        fs::write(&new, "{\"step\":1,\"loss\":2.0}\n").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(names(&one.look()).0, ["reset", "charts", "lines"]);
        assert_eq!(names(&follower(root.path(), Some(&id)).look()).0, ["run", "reset", "charts", "lines"]);
        for id in ["", "1", "x-y", "18446744073709551615-18446744073709551615"] {
            assert_eq!(
                names(&follower(root.path(), Some(id)).look()).0,
                ["run", "reset", "charts", "lines"],
                "{id}"
            );
        }
    }
}
