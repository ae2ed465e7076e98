//! `add study`: which of several models' pictures people prefer.

use std::path::PathBuf;

use add_core::error::CoreError;
use add_data::DataError;
use add_study::{Make, Site, Study as Folder, StudyError, make, read_votes, report, serve};
use clap::{Args, Subcommand};

use super::{
    access::{AccessArgs, say_bound, stop},
    print,
};
use crate::{Outcome, progress::Counter, signals::Signals, terminal::say};

/// What to do with a study.
#[derive(Debug, Subcommand)]
pub(crate) enum Study {
    /// Make a study out of folders of pictures, one a model, of the same captions.
    Make(MakeArgs),
    /// Show pairs of pictures to voters and keep their votes.
    Serve(ServeArgs),
    /// Turn votes into shares, Elo ratings and Bradley-Terry strengths.
    Report(ReportArgs),
}

/// Arguments of `study make`.
#[derive(Debug, Args)]
pub(crate) struct MakeArgs {
    /// A folder of pictures for each model: as many in each, in the order of their names.
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// The captions: .txt, .jsonl or .csv, in the order of the pictures' names or with the names.
    #[arg(long, value_name = "FILE")]
    captions: PathBuf,
    /// Where the study goes: a new or empty folder.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The models' names, separated by commas [default: those of the folders].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    names: Vec<String>,
    /// Seconds that a model takes from a caption to a picture, for the report's plot; may be repeated.
    #[arg(long, value_name = "NAME=SECONDS", value_parser = latency)]
    latency: Vec<(String, f64)>,
    /// Resize the central square of every picture to this side, in pixels, so that size does not tell a model.
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// Decides the pictures' names, and each voter's order and sides.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Arguments of `study serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder that `study make` made.
    study: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
    /// Most pairs that one voter is asked about [default: all].
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
}

/// Arguments of `study report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The folder that `study make` made.
    study: PathBuf,
    /// Folder for study-report.json and report.html [default: that of the study].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Study {
    pub(crate) fn run(&self) -> Outcome {
        match self {
            Self::Make(make) => make.run(),
            Self::Serve(serve) => serve.run(),
            Self::Report(report) => report.run(),
        }
    }
}

impl MakeArgs {
    fn run(&self) -> Outcome {
        let request = Make {
            folders: self.folders.clone(),
            names: self.names.clone(),
            latencies: self.latency.clone(),
            captions: self.captions.clone(),
            out: self.out.clone(),
            size: self.size,
            seed: self.seed,
        };
        let mut counter = Counter::new();
        let mut progress = |done, total| counter.show("pictures", done as u64, total as u64);
        let (study, notes) = make(&request, &mut progress).map_err(as_core)?;
        for note in notes {
            say(&format!("warning: {note}"));
        }
        say(&format!(
            "{}: {} models, {} captions, {} pairs; `add study serve {0}` shows them",
            self.out.display(),
            study.models.len(),
            study.captions.len(),
            study.comparisons()
        ));
        Ok(0)
    }
}

impl ServeArgs {
    fn run(&self) -> Outcome {
        let access = self.access.checked()?;
        let (site, repaired) = Site::open(&self.study, self.pairs).map_err(as_core)?;
        if let Some(repaired) = repaired {
            say(&repaired);
        }
        let (pairs, votes) = (site.study().comparisons(), site.votes());
        say(&format!("{}: {pairs} pairs, {votes} votes so far", self.study.display()));
        let signals = Signals::listen()?;
        serve(site, &access, say_bound, stop(&signals)).map_err(CoreError::io(access.address.to_string()))?;
        Ok(signals.exit_code())
    }
}

impl ReportArgs {
    fn run(&self) -> Outcome {
        let study = Folder::read(&self.study).map_err(as_core)?;
        let ballots = read_votes(&study, &self.study).map_err(as_core)?;
        let report = report::report(&study, &ballots).map_err(as_core)?;
        let out = self.out.as_ref().unwrap_or(&self.study);
        report.write(&study, out).map_err(as_core)?;
        print(&report.to_markdown());
        say(&format!("report: {}", out.join("report.html").display()));
        Ok(0)
    }
}

/// A model's name and its seconds.
fn latency(text: &str) -> Result<(String, f64), String> {
    // A name may hold an equals sign; a number does not.
    let (name, seconds) = text.rsplit_once('=').ok_or("expected NAME=SECONDS")?;
    let seconds = seconds.parse().map_err(|_| format!("expected seconds, got {seconds:?}"))?;
    Ok((name.to_owned(), seconds))
}

/// An error of a study in the words of the command line.
fn as_core(error: StudyError) -> CoreError {
    match error {
        StudyError::Io { path, source } | StudyError::Data(DataError::Read { path, source }) => {
            CoreError::Io { path, source }
        }
        error => CoreError::Request(error.to_string()),
    }
}
