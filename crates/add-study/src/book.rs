//! `votes.jsonl`: one object a line, only ever added to. A line is on the disk before it is acknowledged, so a process or a
//! machine that stops loses nothing that a voter was told is kept.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{Ballots, Study, StudyError, ballots::Verdict, vote::Line};

/// The file of votes in the folder of a study.
pub const VOTES: &str = "votes.jsonl";
/// Most bytes of votes: some millions.
const MAX_VOTES: u64 = 1 << 30;

/// The votes of a study, open for more. No other process can open them at the same time.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    ballots: Ballots,
    /// Why nothing more can be written, if so.
    broken: Option<String>,
}

/// What became of a line that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It is on the disk.
    Kept,
    /// It was there before.
    Known,
}

/// Why a line was not added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not fit what was voted before.
    Conflict(String),
    /// It cannot be written.
    Unwritten(String),
}

impl Book {
    /// Opens the votes of a study. A last line that a crash cut off is removed, and the second value says so; it was never
    /// acknowledged.
    ///
    /// # Errors
    /// When another process has them open, they cannot be read, or a line is no vote of this study.
    pub fn open(study: &Study, folder: &Path) -> Result<(Self, Option<String>), StudyError> {
        let path = folder.join(VOTES);
        let io = |source| StudyError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io)?;
        file.try_lock().map_err(|_| StudyError::File {
            path: path.clone(),
            problem: "another process writes to it; end that server first".to_owned(),
        })?;
        let bytes = read_all(&mut file).map_err(io)?;
        let Parsed { ballots, whole, last } = parse(study, &path, &bytes)?;
        let (length, said) = match last {
            Last::Whole => (whole, None),
            Last::Unended => {
                file.write_all(b"\n").map_err(io)?;
                (whole + 1, Some("its last line did not end; the line break was added".to_owned()))
            }
            Last::Torn => {
                file.set_len(whole).map_err(io)?;
                let cut = bytes.len() as u64 - whole;
                (
                    whole,
                    Some(format!(
                        "its last line was cut off by a crash; its {cut} bytes, never acknowledged, were removed"
                    )),
                )
            }
        };
        file.sync_all().and_then(|()| add_files::sync(folder)).map_err(io)?;
        let said = said.map(|said| format!("{}: {said}", path.display()));
        Ok((Self { path, file, length, ballots, broken: None }, said))
    }

    /// What has been voted.
    pub fn ballots(&self) -> &Ballots {
        &self.ballots
    }

    /// Adds a line, and returns when it is on the disk.
    pub(crate) fn add(&mut self, study: &Study, line: &Line) -> Result<Receipt, Refusal> {
        match self.ballots.judge(study, line) {
            Verdict::Counts => {}
            Verdict::Known => return Ok(Receipt::Known),
            Verdict::Contradicts => {
                let problem = "this comparison has a vote of yours; take it back first";
                return Err(Refusal::Conflict(problem.to_owned()));
            }
            Verdict::Baseless => {
                return Err(Refusal::Conflict("there is no such vote of yours to take back".to_owned()));
            }
        }
        let text = serde_json::to_string(line).map_err(|error| Refusal::Unwritten(error.to_string()))? + "\n";
        self.append(text.as_bytes()).map_err(|problem| {
            tracing::error!("{}: a vote was not kept: {problem}", self.path.display());
            Refusal::Unwritten(problem)
        })?;
        self.ballots.take(study, line);
        Ok(Receipt::Kept)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some(problem) = &self.broken {
            return Err(problem.clone());
        }
        if self.length + bytes.len() as u64 > MAX_VOTES {
            return Err(format!("the file has {} bytes and takes no more than {MAX_VOTES}", self.length));
        }
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What may be there of the line must not stand before the next one.
            let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
            if let Err(second) = cut {
                self.broken = Some(format!("{error}; then {second}; start the server again"));
            }
            return Err(error.to_string());
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// The votes in the folder of a study, also while a server adds to them; a line that is not yet whole is left out.
///
/// # Errors
/// When there is no file, or a line is no vote of this study.
pub fn read_votes(study: &Study, folder: &Path) -> Result<Ballots, StudyError> {
    let path = folder.join(VOTES);
    match add_files::read(&path, MAX_VOTES) {
        Ok(bytes) => Ok(parse(study, &path, &bytes)?.ballots),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let problem = "there are no votes yet; `add study serve` collects them".to_owned();
            Err(StudyError::File { path, problem })
        }
        Err(source) => Err(StudyError::Io { path, source }),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Read::take(file, MAX_VOTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_VOTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_VOTES} bytes")));
    }
    Ok(bytes)
}

/// How a file ends.
enum Last {
    /// With a line break, or it is empty.
    Whole,
    /// With a line that lacks only its break.
    Unended,
    /// With a part of a line.
    Torn,
}

struct Parsed {
    ballots: Ballots,
    /// Bytes of lines that are whole, but for the break of the last one where it is unended.
    whole: u64,
    last: Last,
}

fn parse(study: &Study, path: &Path, bytes: &[u8]) -> Result<Parsed, StudyError> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut ballots = Ballots::default();
    let failed = |at: usize, problem: &str| StudyError::File {
        path: path.to_owned(),
        problem: format!("line {}: {problem}; mend or remove the line", at + 1),
    };
    let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
    let mut count = 0;
    for (at, text) in lines.enumerate() {
        count = at + 1;
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line = line(study, text).map_err(|problem| failed(at, &problem))?;
        match ballots.take(study, &line) {
            Verdict::Counts | Verdict::Known => {}
            Verdict::Contradicts => return Err(failed(at, "its voter has another vote on this comparison")),
            Verdict::Baseless => return Err(failed(at, "it takes back no vote of its voter")),
        }
    }
    let rest = &bytes[whole..];
    if rest.is_empty() {
        return Ok(Parsed { ballots, whole: whole as u64, last: Last::Whole });
    }
    match line(study, rest) {
        Ok(line) if matches!(ballots.judge(study, &line), Verdict::Counts | Verdict::Known) => {
            ballots.take(study, &line);
            Ok(Parsed { ballots, whole: bytes.len() as u64, last: Last::Unended })
        }
        Ok(_) => Err(failed(count, "it does not fit the votes before it")),
        Err(_) => Ok(Parsed { ballots, whole: whole as u64, last: Last::Torn }),
    }
}

fn line(study: &Study, text: &[u8]) -> Result<Line, String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| format!("expected a vote: {error}"))?;
    match &line {
        Line::Vote(vote) => vote.check(study)?,
        Line::Undo(undo) => undo.check()?,
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        folder::tests::study,
        vote::{Undo, tests::vote},
    };

    fn cast(book: &mut Book, study: &Study, id: usize) -> Result<Receipt, Refusal> {
        book.add(study, &Line::Vote(vote(id, "voter-aa", id, (0, 1))))
    }

    #[test]
    fn votes_outlive_the_book_and_a_second_one_waits() {
        let (study, folder) = (study(2, 9), tempfile::tempdir().expect("a folder"));
        assert!(read_votes(&study, folder.path()).unwrap_err().to_string().contains("no votes yet"));
        let (mut book, said) = Book::open(&study, folder.path()).expect("new");
        assert_eq!(said, None);
        assert_eq!(cast(&mut book, &study, 1), Ok(Receipt::Kept));
        assert_eq!(cast(&mut book, &study, 1), Ok(Receipt::Known));
        let undo = Undo { vote: "vote-0001".into(), time: 1, voter: "voter-aa".into() };
        assert_eq!(book.add(&study, &Line::Undo(undo.clone())), Ok(Receipt::Kept));
        assert_eq!(book.add(&study, &Line::Undo(undo)), Ok(Receipt::Known));
        assert_eq!(cast(&mut book, &study, 2), Ok(Receipt::Kept));
        assert!(Book::open(&study, folder.path()).unwrap_err().to_string().contains("another process"));
        drop(book);
        let lines = fs::read_to_string(folder.path().join(VOTES)).expect("text").lines().count();
        assert_eq!(lines, 3, "one line each, and none for repetitions");
        let (book, _) = Book::open(&study, folder.path()).expect("again");
        assert_eq!(book.ballots().standing().map(|vote| vote.caption).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_removed_at_every_byte() {
        let (study, folder) = (study(2, 9), tempfile::tempdir().expect("a folder"));
        let path = folder.path().join(VOTES);
        let (mut book, _) = Book::open(&study, folder.path()).expect("new");
        cast(&mut book, &study, 1).expect("kept");
        let one = fs::read(&path).expect("there");
        cast(&mut book, &study, 2).expect("kept");
        drop(book);
        let two = fs::read(&path).expect("there");
        for length in one.len() + 1..two.len() {
            fs::write(&path, &two[..length]).expect("written");
            let unended = length == two.len() - 1;
            let standing =
                read_votes(&study, folder.path()).expect("read beside a server").standing().count();
            assert_eq!(standing, if unended { 2 } else { 1 });
            let (mut book, said) = Book::open(&study, folder.path()).expect("repaired");
            let said = said.expect("it says so");
            assert!(said.contains(if unended { "line break was added" } else { "were removed" }), "{said}");
            assert_eq!(cast(&mut book, &study, 2), Ok(if unended { Receipt::Known } else { Receipt::Kept }));
            drop(book);
            assert_eq!(fs::read(&path).expect("there"), two, "at {length}");
        }
    }

    #[test]
    fn a_line_that_is_no_vote_is_named() {
        let (study, folder) = (study(2, 2), tempfile::tempdir().expect("a folder"));
        let whole = |id, caption, sides| {
            serde_json::to_string(&Line::Vote(vote(id, "voter-aa", caption, sides))).expect("JSON")
        };
        for (second, part) in [
            ("{\"event\":\"vote\"}".to_owned(), "line 2: expected a vote: missing field `vote`"),
            ("{\"event\":\"votes\"}".to_owned(), "unknown variant"),
            ("\0\0\0".to_owned(), "line 2: expected a vote"),
            (whole(2, 5, (0, 1)), "expected 0 to 1, got 5"),
            (whole(2, 0, (1, 0)), "another vote on this comparison"),
            (
                "{\"event\":\"undo\",\"vote\":\"vote-0009\",\"time\":1,\"voter\":\"voter-aa\"}".into(),
                "takes back no vote",
            ),
        ] {
            fs::write(folder.path().join(VOTES), format!("{}\n{second}\n", whole(1, 0, (0, 1))))
                .expect("written");
            let error = Book::open(&study, folder.path()).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("votes.jsonl"), "{error}");
        }
    }
}
