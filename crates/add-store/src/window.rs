//! A far file as a reader: blocks of it are fetched when they are wanted, one is kept.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    rc::Rc,
};

use crate::StoreError;

/// Bytes that are fetched together: many headers of small members, few bytes of large ones.
const BLOCK: u64 = 128 << 10;

/// Gives the bytes of a range.
pub(crate) type Fetch<'a> = Box<dyn Fn(Range<u64>) -> Result<Vec<u8>, StoreError> + 'a>;

/// Reads `length` bytes through `fetch`, no more than `budget` between two settings of it.
pub(crate) struct Window<'a> {
    fetch: Fetch<'a>,
    length: u64,
    budget: Rc<Cell<u64>>,
    position: u64,
    block: Vec<u8>,
    block_at: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(fetch: Fetch<'a>, length: u64, budget: Rc<Cell<u64>>) -> Self {
        Self { fetch, length, budget, position: 0, block: Vec::new(), block_at: 0 }
    }

    /// What the kept block has from the current position on.
    fn kept(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.block_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.block.get(skip..)).unwrap_or(&[])
    }
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.length || into.is_empty() {
            return Ok(0);
        }
        if self.kept().is_empty() {
            let end = (self.position + BLOCK).min(self.length);
            self.block = (self.fetch)(self.position..end).map_err(io::Error::other)?;
            self.block_at = self.position;
        }
        let count = self.kept().len().min(into.len());
        let Some(left) = self.budget.get().checked_sub(count as u64) else {
            return Err(io::Error::other("expected a header of a few blocks, found a much longer one"));
        };
        self.budget.set(left);
        into[..count].copy_from_slice(&self.kept()[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::other("expected a position inside the file"))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_from_its_place_and_the_budget_holds() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let fetched = Cell::new(0);
        let fetch = |range: Range<u64>| {
            fetched.set(fetched.get() + 1);
            Ok(bytes[range.start as usize..range.end as usize].to_vec())
        };
        let budget = Rc::new(Cell::new(u64::MAX));
        let mut window = Window::new(Box::new(fetch), bytes.len() as u64, budget.clone());
        let mut all = Vec::new();
        window.read_to_end(&mut all).expect("whole");
        assert!(all == bytes && fetched.get() == 3);
        window.seek(SeekFrom::Start(299_999)).expect("inside");
        assert_eq!(window.read(&mut [0; 9]).expect("the last"), 1);
        assert_eq!(window.seek(SeekFrom::Current(i64::MAX)).expect("far"), 300_000 + i64::MAX as u64);
        assert_eq!(window.read(&mut [0; 9]).expect("beyond"), 0);
        budget.set(10);
        window.seek(SeekFrom::Start(0)).expect("inside");
        assert!(window.read(&mut [0; 11]).is_err());
    }
}
