//! Ranks that are threads of one process: what a test can start without a launcher.

use std::sync::{Arc, Barrier, Mutex};

use super::Collective;

/// One rank of several in this process.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    size: usize,
    board: Arc<Board>,
}

/// Where ranks leave what the others shall see.
#[derive(Debug)]
struct Board {
    barrier: Barrier,
    entries: Mutex<Vec<Vec<u8>>>,
}

impl Threads {
    /// `size` ranks, one for each thread.
    pub fn new(size: usize) -> Vec<Self> {
        let entries = Mutex::new(vec![Vec::new(); size]);
        let board = Arc::new(Board { barrier: Barrier::new(size), entries });
        (0..size).map(|rank| Self { rank, size, board: Arc::clone(&board) }).collect()
    }

    /// Every rank's `value`.
    fn all(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        const LOCKED: &str = "no rank panics while it holds the board";
        self.board.entries.lock().expect(LOCKED)[self.rank] = bytes.to_vec();
        self.board.barrier.wait();
        let entries = self.board.entries.lock().expect(LOCKED).clone();
        // Nobody writes again before everybody has read.
        self.board.barrier.wait();
        entries
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.all(bytes)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.all(&bytes).swap_remove(0)
    }

    fn exchange(&self, values: &[f32]) -> Vec<f32> {
        let block = values.len() / self.size;
        let own = |from: &[u8]| floats(from)[self.rank * block..(self.rank + 1) * block].to_vec();
        self.all(&bytes(values)).iter().flat_map(|from| own(from)).collect()
    }

    fn join(&self, values: &[f32]) -> Vec<f32> {
        self.all(&bytes(values)).iter().flat_map(|from| floats(from)).collect()
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_ne_bytes([four[0], four[1], four[2], four[3]])).collect()
}
