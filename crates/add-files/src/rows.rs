//! Rows of values of one width, of which only the newest are in memory: a million rows take the room of a few hundred.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

/// Most values of the newest rows, which are in memory until more of them come: 1 MiB.
const HELD: usize = 1 << 18;
/// Bytes of a value.
const VALUE: usize = size_of::<f32>();

/// Gathers rows. What is written to the disk lies in a temporary file without a name, which ends with the process however
/// that ends.
#[derive(Debug, Default)]
pub struct RowsWriter {
    width: usize,
    /// Rows in the file.
    filed: usize,
    file: Option<Arc<Mutex<File>>>,
    /// The rows that follow.
    newest: Vec<f32>,
}

impl RowsWriter {
    /// Adds rows `[n, width]`, row-major.
    ///
    /// # Errors
    /// When their width differs from that of the rows before, or the disk refuses.
    pub fn push(&mut self, width: usize, values: &[f32]) -> io::Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        if width == 0 || !values.len().is_multiple_of(width) || (!self.is_empty() && width != self.width) {
            let problem = format!(
                "expected rows of {} values, got {} values in rows of {width}",
                self.width,
                values.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        self.width = width;
        self.newest.extend_from_slice(values);
        if self.newest.len() > HELD { self.file_newest() } else { Ok(()) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.filed + self.newest.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows so far; those that are added later are not among them.
    pub fn rows(&self) -> Rows {
        Rows {
            width: self.width,
            filed: self.filed,
            offset: 0,
            file: self.file.clone(),
            newest: self.newest.clone(),
        }
    }

    fn file_newest(&mut self) -> io::Result<()> {
        let temporary = || {
            tempfile::tempfile().map_err(|error| {
                let folder = std::env::temp_dir();
                let advice = "set TMPDIR to a folder that can be written";
                io::Error::new(
                    error.kind(),
                    format!("a temporary file in {}: {error}; {advice}", folder.display()),
                )
            })
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new(Mutex::new(temporary()?))),
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start((self.filed * self.width * VALUE) as u64))?;
        file.write_all(&bytes_of(&self.newest))?;
        self.filed += self.newest.len() / self.width;
        self.newest.clear();
        Ok(())
    }
}

/// Gathered rows, to be read a few at a time. A clone shares the file.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    width: usize,
    /// Rows in the file.
    filed: usize,
    /// Where in the file they begin, in bytes.
    offset: u64,
    file: Option<Arc<Mutex<File>>>,
    /// The rows that follow.
    newest: Vec<f32>,
}

impl Rows {
    /// The rows of `width` values that fill `file` from the byte `offset` on, as [`bytes_of`] writes them.
    pub(crate) fn of_file(file: File, offset: u64, width: usize, rows: usize) -> Self {
        Self { width, filed: rows, offset, file: Some(Arc::new(Mutex::new(file))), newest: Vec::new() }
    }

    /// Values of a row; 0 where there are no rows.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.filed + self.newest.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of `count` rows from row `first` on, `[count, width]` row-major.
    ///
    /// # Errors
    /// When there are not so many, or the disk refuses.
    pub fn read(&self, first: usize, count: usize) -> io::Result<Vec<f32>> {
        let end = first.checked_add(count).filter(|&end| end <= self.len()).ok_or_else(|| {
            let problem = format!("expected rows below {}, got {count} from {first} on", self.len());
            io::Error::new(io::ErrorKind::InvalidInput, problem)
        })?;
        let mut values = Vec::with_capacity(count * self.width);
        let filed = self.filed.saturating_sub(first).min(count);
        if let Some(file) = self.file.as_ref().filter(|_| filed > 0) {
            let mut bytes = vec![0; filed * self.width * VALUE];
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.offset + (first * self.width * VALUE) as u64))?;
            file.read_exact(&mut bytes)?;
            drop(file);
            values.extend(bytes.as_chunks::<VALUE>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        let [first, end] = [first, end].map(|row| row.saturating_sub(self.filed) * self.width);
        values.extend_from_slice(&self.newest[first..end]);
        Ok(values)
    }

    /// All values a few rows at a time, in order.
    ///
    /// # Errors
    /// Those of `take`, and when the disk refuses.
    pub fn each_block<E: From<io::Error>>(
        &self,
        mut take: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = (HELD / self.width.max(1)).max(1);
        for first in (0..self.len()).step_by(step) {
            take(&self.read(first, step.min(self.len() - first))?)?;
        }
        Ok(())
    }
}

/// Values as they stand in files.
pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 1,000 values, each its own number.
    fn row(number: usize) -> Vec<f32> {
        (0..1000).map(|at| (number * 1000 + at) as f32).collect()
    }

    #[test]
    fn rows_come_back_from_the_file_and_from_memory() {
        let mut writer = RowsWriter::default();
        let early = writer.rows();
        for number in 0..2500 {
            writer.push(1000, &row(number)).expect("written");
        }
        let middle = writer.rows();
        for number in 2500..2600 {
            writer.push(1000, &row(number)).expect("written");
        }
        let rows = writer.rows();
        assert_eq!((early.len(), middle.len(), rows.len(), rows.width()), (0, 2500, 2600, 1000));
        assert!(rows.filed > 2000 && writer.newest.len() <= HELD, "most of them are on the disk");
        for rows in [&middle, &rows] {
            for first in [0, 261, 262, 263, 2096, 2498] {
                assert_eq!(
                    rows.read(first, 2).expect("there"),
                    [row(first), row(first + 1)].concat(),
                    "{first}"
                );
            }
        }
        let across = rows.read(0, 2600).expect("all of them");
        assert!(across.chunks(1000).enumerate().all(|(number, values)| values == row(number)));
        let mut blocks = Vec::new();
        rows.each_block(|block| {
            blocks.extend_from_slice(block);
            Ok::<_, io::Error>(())
        })
        .expect("read");
        assert_eq!(blocks, across);
    }

    #[test]
    fn rows_that_are_not_there_and_other_widths_are_refused() {
        let mut writer = RowsWriter::default();
        writer.push(2, &[1.0, 2.0]).expect("kept");
        writer.push(7, &[]).expect("nothing to keep");
        for (width, values) in [(3, &[0.0; 3][..]), (2, &[0.0; 3]), (0, &[0.0])] {
            assert!(writer.push(width, values).is_err(), "{width}");
        }
        assert!(writer.rows().read(0, 2).is_err() && writer.rows().read(usize::MAX, 2).is_err());
        assert_eq!(writer.rows().read(1, 0).expect("none"), Vec::<f32>::new());
        assert_eq!(Rows::default().read(0, 0).expect("none"), Vec::<f32>::new());
    }
}
