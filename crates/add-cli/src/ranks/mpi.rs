//! Ranks over the host's MPI library. Tensors pass through the host's memory, so every device will do.

use std::rc::Rc;

use add_core::error::CoreError;
use add_train::ranks::Collective;
use mpi::{
    Count, Rank, Threading,
    datatype::PartitionMut,
    environment::Universe,
    topology::SimpleCommunicator,
    traits::{Communicator, CommunicatorCollectives, Root},
};

use super::Ranks;

/// Largest message, in bytes: MPI counts in 32 bits.
const MESSAGE: usize = 1 << 30;

/// The world of a launcher.
struct World {
    rank: usize,
    size: usize,
    communicator: SimpleCommunicator,
    /// Leaves the others in good order when it is dropped.
    _universe: Universe,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

/// Meets the other processes of the launcher, which says that there are `expected`.
pub(super) fn join(expected: usize) -> Result<Ranks, CoreError> {
    let request = |text: String| CoreError::Request(text);
    let (universe, threading) = mpi::initialize_with_threading(Threading::Funneled)
        .ok_or_else(|| request("MPI was initialised twice".to_owned()))?;
    let communicator = universe.world();
    let (rank, size) = (communicator.rank() as usize, communicator.size() as usize);
    if threading < Threading::Funneled {
        return Err(request(
            "this MPI library does not allow threads; use one that offers MPI_THREAD_FUNNELED".to_owned(),
        ));
    }
    if size != expected {
        return Err(request(format!(
            "the launcher started {expected} processes, and MPI finds {size}: launcher and library do not fit; with srun \
             add `--mpi=pmix` or what `srun --mpi=list` offers, or start with the library's own mpirun"
        )));
    }
    let world = Rc::new(World { rank, size, communicator, _universe: universe });
    let collective = Rc::clone(&world);
    Ok(Ranks { collective, end: Box::new(move |code| world.communicator.abort(code.into())) })
}

impl Collective for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lengths = vec![0_u64; self.size];
        self.communicator.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let counts: Vec<Count> =
            lengths.iter().map(|&n| Count::try_from(n).expect("reports and names are small")).collect();
        let starts: Vec<Count> = counts
            .iter()
            .scan(0, |end, count| {
                let start = *end;
                *end += count;
                Some(start)
            })
            .collect();
        let mut all = vec![0_u8; lengths.iter().sum::<u64>() as usize];
        self.communicator
            .all_gather_varcount_into(bytes, &mut PartitionMut::new(&mut all[..], &counts[..], &starts[..]));
        let slice =
            |(&start, &count): (&Count, &Count)| all[start as usize..(start + count) as usize].to_vec();
        starts.iter().zip(&counts).map(slice).collect()
    }

    fn broadcast(&self, from: usize, mut bytes: Vec<u8>) -> Vec<u8> {
        let from = self.communicator.process_at_rank(from as Rank);
        let mut length = bytes.len() as u64;
        from.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        bytes.chunks_mut(MESSAGE).for_each(|chunk| from.broadcast_into(chunk));
        bytes
    }

    fn exchange(&self, values: &[f32]) -> Vec<f32> {
        let mut received = vec![0.0; values.len()];
        self.communicator.all_to_all_into(values, &mut received[..]);
        received
    }

    fn join(&self, values: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; values.len() * self.size];
        self.communicator.all_gather_into(values, &mut all[..]);
        all
    }
}
