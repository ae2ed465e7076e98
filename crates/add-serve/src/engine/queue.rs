//! The orders that wait for a device, oldest first.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use add_core::loaded::pass_of;

use super::{Job, Progress, Reply};
use crate::ApiError;

/// A queue with a bound.
pub(super) struct Queue {
    most: usize,
    state: Mutex<State>,
    came: Condvar,
    progress: Mutex<Option<Progress>>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Orders that were given up since they were last counted.
    given_up: usize,
    closed: bool,
}

/// What a device does next.
pub(super) struct Next {
    /// Orders that can be computed together; there is at least one.
    pub(super) jobs: Vec<Job>,
    /// Orders that were given up before they were begun.
    pub(super) given_up: usize,
}

impl Queue {
    pub(super) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), came: Condvar::new(), progress: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, job: Job) -> Result<(), ApiError> {
        let mut state = self.state();
        if state.closed {
            return Err(ApiError::busy("the server is about to end"));
        }
        state.clean();
        if state.jobs.len() >= self.most {
            return Err(ApiError::busy(format!(
                "{} requests are waiting already; try again later",
                self.most
            )));
        }
        state.jobs.push_back(job);
        self.came.notify_one();
        Ok(())
    }

    /// Waits for orders; `None` once the queue is closed.
    pub(super) fn next(&self) -> Option<Next> {
        let mut state = self.state();
        loop {
            state.clean();
            if state.closed {
                return None;
            }
            if let Some(first) = state.jobs.pop_front() {
                let jobs = state.together(first);
                return Some(Next { jobs, given_up: std::mem::take(&mut state.given_up) });
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().jobs.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for job in state.jobs.drain(..) {
            job.reply(Reply::Failed(ApiError::busy("the server is about to end")));
        }
        self.came.notify_all();
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_progress(&self, progress: Option<Progress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

impl State {
    /// Drops the orders that nobody waits for any more.
    fn clean(&mut self) {
        let before = self.jobs.len();
        self.jobs.retain(|job| {
            let drop = job.is_given_up() || job.handle.skip.load(Ordering::Relaxed);
            if drop {
                job.reply(Reply::Cancelled);
            }
            !drop
        });
        self.given_up += before - self.jobs.len();
    }

    /// The first order and those behind it that can be computed with it, as many as one pass takes.
    fn together(&mut self, first: Job) -> Vec<Job> {
        let most = pass_of(first.order.size);
        let mut rows = first.order.wishes.len();
        let mut taken = vec![first];
        let mut at = 0;
        while at < self.jobs.len() && rows < most {
            let order = &self.jobs[at].order;
            if order.alike(&taken[0].order) && rows + order.wishes.len() <= most {
                rows += order.wishes.len();
                taken.extend(self.jobs.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}
