//! The processes that a launcher, mpirun or srun, started together: ranks of one run.

#[cfg(feature = "mpi")]
mod mpi;

use std::{process, rc::Rc};

use add_core::error::CoreError;
use add_train::ranks::{Alone, Collective};

use crate::Outcome;

/// Where launchers say how many processes they started: Open MPI, MPICH and Slurm's PMI-2, Slurm itself.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// This process among the others.
pub(crate) struct Ranks {
    collective: Rc<dyn Collective>,
    /// Ends all processes with an exit code.
    end: Box<dyn Fn(u8)>,
}

impl Ranks {
    /// Meets the processes that were started with this one; there may be none.
    ///
    /// # Errors
    /// When there are some and this binary cannot speak to them.
    pub(crate) fn join() -> Result<Self, CoreError> {
        let size = SIZES.iter().filter_map(|name| std::env::var(name).ok()?.parse().ok()).max().unwrap_or(1);
        if size > 1 { Self::of(size) } else { Ok(Self::alone()) }
    }

    fn alone() -> Self {
        Self { collective: Rc::new(Alone), end: Box::new(|code| process::exit(code.into())) }
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

    /// How the processes speak to each other.
    pub(crate) fn collective(&self) -> &Rc<dyn Collective> {
        &self.collective
    }

    /// `outcome`, unless it is a failure among several processes: the others wait for this one and must end too.
    pub(crate) fn all_or_none(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Err(error) if self.collective.size() > 1 => {
                let code = crate::code(&error);
                let said = format!("rank {} of {} failed", self.collective.rank(), self.collective.size());
                crate::fail(&miette::Report::new(error).wrap_err(said), code);
                (self.end)(code);
                Ok(code)
            }
            outcome => outcome,
        }
    }
}
