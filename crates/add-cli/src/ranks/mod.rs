//! The ranks of one run: processes that a launcher, mpirun or srun, started together, or threads of this one.

#[cfg(feature = "mpi")]
mod mpi;

use std::{
    panic::{self, AssertUnwindSafe},
    process,
    rc::Rc,
    sync::Mutex,
    thread::{self, ScopedJoinHandle},
};

use add_core::{device, error::CoreError, recipe::DeviceChoice};
use add_train::ranks::{Alone, Collective, Threads};

use crate::{Outcome, terminal::say};

/// Where launchers say how many processes they started: Open MPI, MPICH and Slurm's PMI-2, Slurm itself.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// Does the `work` of a rank, with its device, on each of `threads` threads, or else as the one that the launcher started this
/// process for. All must succeed: the first that does not says so, and all end.
///
/// # Errors
/// When the ranks cannot be had; and what `work` says, for a process that is alone.
pub(crate) fn on_each(
    threads: usize,
    device: DeviceChoice,
    work: impl Fn(&Rc<dyn Collective>, DeviceChoice) -> Outcome + Sync,
) -> Outcome {
    let started = SIZES.iter().filter_map(|name| std::env::var(name).ok()?.parse().ok()).max().unwrap_or(1);
    match (started, threads) {
        (1, 1) => work(&(Rc::new(Alone) as Rc<dyn Collective>), device),
        (1, _) => {
            let (work, device) = (&work, device::resolve(device));
            let ranks = device::ranks(device, threads)?;
            thread::scope(|scope| {
                let start = |rank: Threads| {
                    let device = device.of_rank(rank.rank());
                    scope.spawn(move || Ranks::of_threads(rank).all_or_none(|ranks| work(ranks, device)))
                };
                let threads: Vec<_> = ranks.into_iter().map(start).collect();
                let codes = threads.into_iter().map(ScopedJoinHandle::join).collect::<Result<Vec<u8>, _>>();
                Ok(codes.unwrap_or_else(|panic| panic::resume_unwind(panic))[0])
            })
        }
        (_, 1) => Ok(Ranks::of(started)?.all_or_none(|ranks| work(ranks, device))),
        _ => Err(CoreError::Request(format!(
            "this is one of {started} processes that were started together, and --ranks is for threads of a single one; \
             leave one of both out"
        ))),
    }
}

/// This rank among the others.
struct Ranks {
    collective: Rc<dyn Collective>,
    /// Ends all ranks with an exit code.
    end: Box<dyn Fn(u8)>,
}

impl Ranks {
    fn of_threads(rank: Threads) -> Self {
        Self { collective: Rc::new(rank), end: Box::new(|code| process::exit(code.into())) }
    }

    #[cfg(feature = "mpi")]
    fn of(size: usize) -> Result<Self, CoreError> {
        mpi::join(size)
    }

    #[cfg(not(feature = "mpi"))]
    fn of(size: usize) -> Result<Self, CoreError> {
        Err(CoreError::Request(format!(
            "this is one of {size} processes that were started together, and this binary was built without the feature \
             `mpi`; build it with `cargo build --release -p add-cli --features mpi`, or start one process"
        )))
    }

    /// The exit code of `work`, unless it fails: the others wait for this rank and must end too.
    fn all_or_none(self, work: impl Fn(&Rc<dyn Collective>) -> Outcome) -> u8 {
        // Threads often fail together, and of the same.
        static FAILED: Mutex<()> = Mutex::new(());
        let worked = panic::catch_unwind(AssertUnwindSafe(|| work(&self.collective)));
        let failed = match worked {
            Ok(Ok(code)) => return code,
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let _first = FAILED.lock();
        let rank = format!("rank {} of {}", self.collective.rank(), self.collective.size());
        let code = failed.as_ref().map_or(1, crate::code);
        match failed {
            Some(error) => {
                crate::fail(&miette::Report::new(error).wrap_err(format!("{rank} failed")), code);
            }
            None => say(&format!("{rank} panicked; all end")),
        }
        (self.end)(code);
        code
    }
}
