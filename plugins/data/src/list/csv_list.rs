//! A table of text whose first line names the columns.

use std::{
    cell::Cell,
    io::{self, BufReader, Read},
    rc::Rc,
};

use add_store::Store;
use csv::{Error, ErrorKind, ReaderBuilder, StringRecord};

use super::{Fields, Refusal, Row, SPLIT, opened};
use crate::captions::MAX_CAPTIONS;

/// What may stand between two columns.
const DELIMITERS: [u8; 3] = [b',', b'\t', b';'];
/// Bytes that the reader takes ahead of a line.
const AHEAD: u64 = 64 << 10;

pub(super) fn read(
    store: &Store,
    name: &str,
    fields: &Fields,
    each: &mut dyn FnMut(usize, Row) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut head = Vec::new();
    let beginning = opened(store, name)?.take(AHEAD).read_to_end(&mut head);
    beginning.map_err(|error| Refusal::Line(1, error.to_string()))?;
    let budget = Rc::new(Cell::new(MAX_CAPTIONS + AHEAD));
    let bounded = Bounded { inner: opened(store, name)?, left: Rc::clone(&budget) };
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter(&head, fields)).from_reader(BufReader::new(bounded));
    let names = reader.headers().map_err(|error| at_line(&error, 1))?.clone();
    let names: Vec<&str> = names.iter().map(|name| name.trim_matches(['\u{FEFF}', ' '])).collect();
    let (file, captions) = fields.choose(&names).map_err(|problem| Refusal::Line(1, problem))?;
    let place = |wanted: &str| names.iter().position(|name| *name == wanted);
    let (file, split) = (place(file).unwrap_or_default(), place(SPLIT));
    let captions: Vec<usize> = captions.into_iter().filter_map(place).collect();
    let mut record = StringRecord::new();
    loop {
        budget.set(MAX_CAPTIONS + AHEAD);
        let number = reader.position().line() as usize;
        if !reader.read_record(&mut record).map_err(|error| at_line(&error, number))? {
            return Ok(());
        }
        let number = record.position().map_or(number, |position| position.line() as usize);
        let get = |column: usize| record.get(column).unwrap_or_default().to_owned();
        let captions = Ok(captions.iter().map(|&column| get(column)).collect());
        each(number, Row { file: get(file), captions, split: split.map(get) })?;
    }
}

/// The one that makes the columns that are wanted.
fn delimiter(head: &[u8], fields: &Fields) -> u8 {
    let makes = |delimiter: u8| {
        let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(head);
        reader.headers().is_ok_and(|names| fields.choose(&names.iter().collect::<Vec<_>>()).is_ok())
    };
    DELIMITERS.into_iter().find(|&delimiter| makes(delimiter)).unwrap_or(DELIMITERS[0])
}

fn at_line(error: &Error, number: usize) -> Refusal {
    let line = error.position().map_or(number, |position| position.line() as usize);
    let problem = match error.kind() {
        ErrorKind::Utf8 { err, .. } => format!("not UTF-8: {err}"),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} columns, found {len}")
        }
        ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    };
    Refusal::Line(line.max(1), problem)
}

/// A reader that refuses a line without an end.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        let Some(left) = self.left.get().checked_sub(count as u64) else {
            return Err(io::Error::other(format!("longer than {MAX_CAPTIONS} bytes")));
        };
        self.left.set(left);
        Ok(count)
    }
}
