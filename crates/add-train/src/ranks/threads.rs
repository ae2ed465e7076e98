//! Ranks that are threads of one process: the GPUs of one machine, and what a test can start without a launcher.

use std::sync::{Arc, Barrier, Mutex};

use burn::tensor::Device;

use super::Collective;

/// One rank of several in this process.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    size: usize,
    board: Arc<Board>,
    devices: Option<Vec<Device>>,
}

/// Where ranks leave what the others shall see.
#[derive(Debug)]
struct Board {
    barrier: Barrier,
    entries: Mutex<Vec<Arc<Vec<u8>>>>,
}

impl Threads {
    /// `size` ranks, one for each thread.
    pub fn new(size: usize) -> Vec<Self> {
        Self::new_with(size, None)
    }

    /// A rank for each of `devices`, which can add up among themselves what lies on them.
    pub fn on(devices: Vec<Device>) -> Vec<Self> {
        Self::new_with(devices.len(), Some(devices))
    }

    fn new_with(size: usize, devices: Option<Vec<Device>>) -> Vec<Self> {
        let entries = Mutex::new(vec![Arc::default(); size]);
        let board = Arc::new(Board { barrier: Barrier::new(size), entries });
        let rank = |rank| Self { rank, size, board: Arc::clone(&board), devices: devices.clone() };
        (0..size).map(rank).collect()
    }

    /// Every rank's `bytes`.
    fn all(&self, bytes: Vec<u8>) -> Vec<Arc<Vec<u8>>> {
        const LOCKED: &str = "no rank panics while it holds the board";
        self.board.entries.lock().expect(LOCKED)[self.rank] = Arc::new(bytes);
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
        self.all(bytes.to_vec()).iter().map(|bytes| bytes.to_vec()).collect()
    }

    fn broadcast(&self, from: usize, bytes: Vec<u8>) -> Vec<u8> {
        self.all(bytes)[from].to_vec()
    }

    fn exchange(&self, values: &[f32]) -> Vec<f32> {
        let block = values.len() / self.size;
        let own = self.rank * block * 4..(self.rank + 1) * block * 4;
        self.all(bytes(values)).iter().flat_map(|from| floats(&from[own.clone()])).collect()
    }

    fn join(&self, values: &[f32]) -> Vec<f32> {
        self.all(bytes(values)).iter().flat_map(|from| floats(from)).collect()
    }

    fn devices(&self) -> Option<&[Device]> {
        self.devices.as_deref()
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|four| f32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}
