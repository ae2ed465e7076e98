//! `report.html`: one page about a run, readable years later and without a network.
//!
//! It is made from what the run folder holds and nothing else: `recipe.ron`, `metrics.jsonl` (one JSON object a
//! line), `samples/step-N.png` and, where there are some, `evaluation.json` and `evaluation.png`. Pictures go in as data URIs, curves as
//! SVG. Every number found in the metrics is drawn, known or not. What is missing or damaged is said in the page:
//! a report on a run that died is the one most needed.

mod evaluation;
mod groups;
mod log;
mod page;
mod samples;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::evaluation::{Table, table};
pub use self::groups::{ChartRule, Items, LaidOut, Layout, Presentation, Source, layout};
use self::log::MetricsLog;
use self::page::Page;
use self::samples::Samples;

/// The style sheet of the report's text, tables and charts; [`add_charts::PALETTE`] comes before it.
pub const STYLE: &str = include_str!("report.css");

/// Largest file of a run that is read whole, in bytes: the metrics of some millions of steps.
const MAX_FILE: u64 = 1 << 30;

/// The report cannot be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The path is not a folder.
    #[error("expected a run folder, got `{0}`")]
    NotAFolder(PathBuf),
    /// A file of the run cannot be read, or the report not be written.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A chart could not be drawn.
    #[error(transparent)]
    Chart(#[from] add_charts::ChartError),
    /// The page could not be put together.
    #[error("page template: {0}")]
    Template(#[from] minijinja::Error),
}

/// Writes `report.html` into the run folder and returns its path.
///
/// # Errors
/// When the folder does not exist, one of its files cannot be read, or the page cannot be written.
pub fn write_report(run: &Path, presentation: &Presentation) -> Result<PathBuf, ReportError> {
    let html = render(run, presentation)?;
    let path = run.join("report.html");
    // A reader never sees half a page.
    add_files::replace(&path, |file| file.write_all(html.as_bytes())).map_err(at(&path))?;
    Ok(path)
}

/// The page of a run folder as text.
///
/// # Errors
/// When the folder does not exist or one of its files cannot be read. A file that is absent or malformed is no
/// error: the page says so.
pub fn render(run: &Path, presentation: &Presentation) -> Result<String, ReportError> {
    if !run.is_dir() {
        return Err(ReportError::NotAFolder(run.to_path_buf()));
    }
    let log = match read(&run.join("metrics.jsonl"))? {
        Some(bytes) => MetricsLog::parse(&bytes),
        None => MetricsLog::default(),
    };
    let recipe = read(&run.join("recipe.ron"))?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let evaluation =
        read(&run.join("evaluation.json"))?.map(|bytes| crate::read_json(&String::from_utf8_lossy(&bytes)));
    let samples = Samples::read(&run.join("samples"), &run.join("evaluation.png"))?;
    Page::new(&name_of(run), presentation, &log, &samples, evaluation, recipe)?.to_html()
}

/// The folder's own name, also for `.` or a path ending in `..`.
fn name_of(run: &Path) -> String {
    let whole = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    whole.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The bytes of a file, or `None` where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ReportError> {
    match add_files::read(path, MAX_FILE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ReportError {
    let path = path.to_path_buf();
    move |source| ReportError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SHOWN: Presentation = Presentation {
        title: "A method",
        headline: &["loss_g", "loss_d"],
        charts: &[
            ChartRule::new("Student loss", "", &["loss_g", "loss_adv"]),
            ChartRule::new("Discriminator loss", "", &["loss_d"]),
            ChartRule::new("Logits, mean over heads", "", &["logits_real", "logits_fake"])
                .with(Items::WithMean("head")),
            ChartRule::new("Gradient norms at the picture", "", &["grad_norm_adv"]),
        ],
    };
    use crate::{Row, to_json};
    use std::fmt::Write as _;

    fn row(model: &str, metric: &str, value: f64) -> Row {
        Row {
            model: model.to_owned(),
            steps: 1,
            sampler: "add".to_owned(),
            guidance: 1.0,
            split: "val".to_owned(),
            metric: metric.to_owned(),
            value,
            n: 500,
            seconds_per_image: Some(0.0074),
            ..Row::default()
        }
    }

    /// A run with `lines` logged steps, three grids, a recipe and an evaluation.
    fn run_folder(lines: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = String::new();
        for step in 0..lines {
            let wave = (step as f64 / 9.0).sin();
            let object = format!(
                r#"{{"step":{step},"loss_d":{},"loss_g":{wave},"logits_real":[{wave},2.5],"logits_fake":[0.1,0.2],"grad_norm_adv":{},"mystery":{wave},"note":"text"}}"#,
                1.5 + wave,
                10f64.powf(wave * 3.0)
            );
            writeln!(metrics, "{object}").unwrap();
        }
        fs::write(folder.path().join("metrics.jsonl"), metrics).unwrap();
        fs::write(
            folder.path().join("recipe.ron"),
            "Add(\n    lambda: 2.5, // <script>alert(1)</script>\n)\n",
        )
        .unwrap();
        fs::create_dir(folder.path().join("samples")).unwrap();
        for step in [0, 500, 1000] {
            let png = samples::tests::png(96, 96, step as u8);
            fs::write(folder.path().join(format!("samples/step-{step:07}.png")), png).unwrap();
        }
        let rows = [row("student", "fd-mobilenet", 4.83), row("teacher", "fd-mobilenet", 4.55)];
        fs::write(folder.path().join("evaluation.json"), to_json(&rows).unwrap()).unwrap();
        folder
    }

    #[test]
    fn the_page_holds_everything_and_reaches_for_nothing() {
        let folder = run_folder(200);
        let path = write_report(folder.path(), &SHOWN).unwrap();
        let html = fs::read_to_string(path).unwrap();
        for part in ["Student loss", "Discriminator loss", "Gradient norms", "mystery", "fd-mobilenet", "2.5"]
        {
            assert!(html.contains(part), "{part} is missing");
        }
        assert_eq!(html.matches("src=\"data:image/png;base64,").count(), 3);
        assert_eq!(html.matches("src=").count(), 3);
        for reach in ["http:", "https:", "<script", "<link", "url(", "@import"] {
            assert!(!html.contains(reach), "{reach} in the page");
        }
        assert!(!folder.path().join("report.html.tmp").exists());
        assert_eq!(html, render(folder.path(), &SHOWN).unwrap(), "the same folder gives the same page");
    }

    #[test]
    fn what_a_user_wrote_is_text_not_markup() {
        let html = render(run_folder(3).path(), &SHOWN).unwrap();
        assert!(html.contains("&lt;script&gt;alert(1)"));
        let folder = tempfile::tempdir().unwrap();
        let line = r#"{"step":1,"<b onclick='x'>":2,"<i>":[1,2]}"#;
        fs::write(folder.path().join("metrics.jsonl"), line).unwrap();
        let html = render(folder.path(), &SHOWN).unwrap();
        assert!(!html.contains("<b onclick") && !html.contains("<i>"));
        assert!(html.contains("&lt;i&gt;"));
    }

    #[test]
    fn malformed_lines_are_counted_in_the_page() {
        let folder = run_folder(50);
        let path = folder.path().join("metrics.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(
            b"not json\n{\"loss_d\":1}\n[1,2]\n\xff\xfe\n{\"step\":51,\"loss_g\":null}\n{\"step\":52,\"lo",
        );
        fs::write(&path, bytes).unwrap();
        let html = render(folder.path(), &SHOWN).unwrap();
        assert!(html.contains("5 of 56 lines of <code>metrics.jsonl</code>"), "{html}");
        assert!(html.contains("1 value was not finite"));
        assert!(
            !render(run_folder(50).path(), &SHOWN).unwrap().contains("lines of <code>metrics.jsonl</code>")
        );
    }

    #[test]
    fn an_empty_folder_gives_a_page_that_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let html = render(folder.path(), &SHOWN).unwrap();
        for part in ["no <code>recipe.ron</code>", "no <code>metrics.jsonl</code>", "no sample grids"] {
            assert!(html.contains(part), "{part}");
        }
        let error = render(&folder.path().join("absent"), &SHOWN).unwrap_err();
        assert!(matches!(error, ReportError::NotAFolder(_)));
    }

    #[test]
    fn a_broken_evaluation_is_named_and_the_rest_is_shown() {
        let folder = run_folder(20);
        fs::write(folder.path().join("evaluation.json"), "{\"rows\": 3").unwrap();
        let html = render(folder.path(), &SHOWN).unwrap();
        assert!(
            html.contains("<code>evaluation.json</code> could not be read") && html.contains("Student loss")
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]

        #[test]
        fn no_metrics_file_makes_it_panic(
            lines in proptest::collection::vec(
                (proptest::num::u64::ANY, proptest::num::f64::ANY, proptest::num::f64::ANY), 0..40),
            junk in proptest::collection::vec(proptest::num::u8::ANY, 0..80)
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = Vec::new();
            for (step, a, b) in lines {
                bytes.extend(format!("{{\"step\":{step},\"loss\":{a:e},\"x\":[{b:e},{a:e}]}}\n").bytes());
            }
            bytes.extend(junk);
            fs::write(folder.path().join("metrics.jsonl"), bytes).unwrap();
            let html = render(folder.path(), &SHOWN).unwrap();
            proptest::prop_assert!(!html.contains("NaN") && !html.contains("inf,"));
        }
    }
}
