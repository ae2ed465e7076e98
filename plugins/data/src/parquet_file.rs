//! A Parquet file in a store: its columns by name, and the values of any row.
//!
//! A row's value is found by the headers of the pages before it; the page that holds it is unpacked as a whole. Where a
//! writer put a group's pictures into one page, a picture costs the unpacking of that page.

mod pages;

use std::{
    io::{self, Read},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use add_store::{Stat, Store, StoreError};
use bytes::Bytes;
use parquet::{
    basic::Type,
    column::reader::{ColumnReader, get_column_reader},
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataReader},
        reader::{ChunkReader, Length},
    },
};

use self::pages::{Packing, Pages};
use crate::sample::Trouble;

/// Bytes that are fetched together while headers are read.
const BLOCK: u64 = 16 << 10;
/// Most values of one row, such as captions in a list.
const MOST_VALUES: usize = 10_000;

/// An opened file.
pub(crate) struct ParquetFile {
    chunks: Arc<Chunks>,
    metadata: ParquetMetaData,
}

impl ParquetFile {
    /// Reads the description at the end of the file `name`.
    pub(crate) fn open(store: &Arc<Store>, name: &str) -> Result<Self, Trouble> {
        let stat = store.stat(name)?;
        let length = stat.length;
        let chunks = Arc::new(Chunks { store: store.clone(), name: name.to_owned(), stat });
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&*chunks).map_err(trouble)?;
        let file = Self { chunks, metadata };
        let groups = file.metadata.row_groups();
        // Each row has a name or a picture, which takes a byte at least: a file that claims more is made to do damage.
        let fits = groups.iter().try_fold(0_u64, |sum, group| {
            let rows = u64::try_from(group.num_rows()).ok()?;
            sum.checked_add(rows).filter(|sum| *sum <= length)
        });
        fits.map(|_| file)
            .ok_or_else(|| Trouble::Bad(format!("it claims more rows than it has bytes ({length})")))
    }

    /// The names of its columns.
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.metadata.file_metadata().schema().get_fields().iter().map(|field| field.name()).collect()
    }

    /// Groups of rows.
    pub(crate) fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// Rows of a group.
    pub(crate) fn rows(&self, group: usize) -> usize {
        self.metadata.row_group(group).num_rows() as usize
    }

    /// The number of the column `name` of texts or bytes, or of the part of it that `parts` names (`bytes` of an image).
    ///
    /// # Errors
    /// When it holds something else.
    pub(crate) fn column(&self, name: &str, parts: &[&str]) -> Result<usize, String> {
        let columns = self.metadata.file_metadata().schema_descr_ptr();
        let fits = |column: &usize| {
            let column = columns.column(*column);
            let path = column.path().parts();
            let of_name = path.first().is_some_and(|first| first == name);
            // A list has one or two levels of its own below its name.
            let of_part = path.len() == 1
                || parts.iter().any(|part| path[1..] == [(*part).to_owned()])
                || parts.is_empty() && column.max_rep_level() == 1;
            of_name && of_part && column.physical_type() == Type::BYTE_ARRAY
        };
        (0..columns.num_columns()).find(fits).ok_or_else(|| {
            let found: Vec<String> = columns
                .columns()
                .iter()
                .filter(|column| column.path().parts().first().is_some_and(|first| first == name))
                .map(|column| {
                    format!("{} of {}", column.path().string().escape_debug(), column.physical_type())
                })
                .collect();
            format!("column `{}`: expected texts or bytes, found {}", name.escape_debug(), found.join(", "))
        })
    }

    /// The values of `rows` of a group in a column: none for a row without one, several where it is a list.
    pub(crate) fn read(
        &self,
        column: usize,
        group: usize,
        rows: Range<usize>,
    ) -> Result<Vec<Vec<Vec<u8>>>, Trouble> {
        // The crate's decoders panic on some damage to a page's values.
        let read = AssertUnwindSafe(|| self.values(column, group, rows));
        catch_unwind(read).unwrap_or_else(|_| Err(Trouble::Bad(damaged("a page cannot be decoded"))))
    }

    fn values(&self, column: usize, group: usize, rows: Range<usize>) -> Result<Vec<Vec<Vec<u8>>>, Trouble> {
        let all = self.rows(group);
        let column = self.metadata.row_group(group).column(column);
        let described = column.column_descr_ptr();
        let packing = Packing::of(column.compression()).map_err(|how| Trouble::Bad(not_unpacked(&how)))?;
        let pages = Pages::new(&self.chunks, column, all, packing).map_err(trouble)?;
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            get_column_reader(described.clone(), Box::new(pages))
        else {
            return Err(Trouble::Bad("expected a column of texts or bytes".to_owned()));
        };
        let fewer = || Trouble::Bad("it has fewer rows than it claims".to_owned());
        if reader.skip_records(rows.start).map_err(trouble)? != rows.start {
            return Err(fewer());
        }
        let full = described.max_def_level();
        let mut found: Vec<Vec<Vec<u8>>> = Vec::new();
        while found.len() < rows.len() {
            let (mut values, mut filled, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
            let (records, _, levels) = reader
                .read_records(rows.len() - found.len(), Some(&mut filled), Some(&mut repeated), &mut values)
                .map_err(trouble)?;
            if records == 0 {
                return Err(fewer());
            }
            let (before, mut values) = (found.len(), values.into_iter());
            for level in 0..levels {
                if repeated.get(level).is_none_or(|&repeated| repeated == 0) {
                    found.push(Vec::new());
                }
                // Only of as many levels as the row has is there a value.
                if filled.get(level).is_none_or(|&filled| filled == full)
                    && let (Some(value), Some(row)) = (values.next(), found.last_mut())
                    && row.len() < MOST_VALUES
                {
                    row.push(value.data().to_vec());
                }
            }
            if found.len() == before {
                return Err(fewer());
            }
        }
        Ok(found)
    }
}

/// The values of a row as texts.
pub(crate) fn texts(values: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let text =
        |value: &Vec<u8>| String::from_utf8(value.clone()).map_err(|_| "a text is not UTF-8".to_owned());
    values.iter().map(text).collect()
}

/// What is wrong with the file, or with the store under it.
fn trouble(error: ParquetError) -> Trouble {
    let ParquetError::External(error) = error else { return Trouble::Bad(damaged(&error.to_string())) };
    let problem = damaged(&error.to_string());
    // A store that fails while a header is read comes inside of a reader's error.
    let inner = match error.downcast::<io::Error>() {
        Ok(error) => error.into_inner(),
        Err(error) => Some(error),
    };
    let Some(inner) = inner else { return Trouble::Bad(problem) };
    inner.downcast::<StoreError>().map_or(Trouble::Bad(problem), |error| Trouble::from(*error))
}

fn not_unpacked(how: &str) -> String {
    format!(
        "its pages are packed with {how}, which is not read: write it with Snappy, zstd, gzip or uncompressed"
    )
}

fn damaged(problem: &str) -> String {
    format!("no sound Parquet file: {}", problem.escape_debug())
}

/// A file's bytes, for the `parquet` crate.
struct Chunks {
    store: Arc<Store>,
    name: String,
    stat: Stat,
}

impl Chunks {
    fn range(&self, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.store.range(&self.name, &self.stat, range)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.stat.length
    }
}

impl ChunkReader for Chunks {
    type T = Blocks;

    fn get_read(&self, start: u64) -> Result<Blocks, ParquetError> {
        let Self { store, name, stat } = self;
        let chunks = Self { store: store.clone(), name: name.clone(), stat: stat.clone() };
        Ok(Blocks { chunks, at: start, block: Vec::new(), used: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.stat.length);
        let end =
            end.ok_or_else(|| ParquetError::EOF("a page leads beyond the end of the file".to_owned()))?;
        let bytes = self.range(start..end).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(bytes.into())
    }
}

/// Reads on from a position, a block at a time.
struct Blocks {
    chunks: Chunks,
    at: u64,
    block: Vec<u8>,
    used: usize,
}

impl Read for Blocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            let end = self.at.saturating_add(BLOCK).min(self.chunks.stat.length);
            if self.at >= end {
                return Ok(0);
            }
            self.block = self.chunks.range(self.at..end).map_err(io::Error::other)?;
            (self.at, self.used) = (end, 0);
        }
        let count = (self.block.len() - self.used).min(into.len());
        into[..count].copy_from_slice(&self.block[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
