//! The engine: a thread per device that owns its models, and the requests that wait for it.
//!
//! What waits is computed together where it asks for the same way of sampling. A picture depends on its own request alone, so
//! it is the same to the byte whatever it was computed with.

mod queue;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use add_core::{
    loaded::{LoadedModel, Wish},
    recipe::DeviceChoice,
};
use tokio::sync::mpsc;

use self::queue::Queue;
use crate::{ApiError, metrics::Metrics, models::About};

/// A checked request.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The model's place on the list of what is offered.
    pub(crate) model: usize,
    pub(crate) about: Arc<About>,
    /// The sampler's place on the model's list.
    pub(crate) sampler: usize,
    pub(crate) steps: usize,
    pub(crate) guidance: f64,
    /// Height and width.
    pub(crate) size: [usize; 2],
    /// Stated where every wish has a picture to begin with.
    pub(crate) strength: Option<f64>,
    pub(crate) wishes: Vec<Wish>,
    /// Whether intermediate pictures are wanted.
    pub(crate) previews: bool,
}

impl Order {
    /// Whether two orders can be computed together.
    fn alike(&self, other: &Self) -> bool {
        let key = |order: &Self| {
            (
                order.model,
                order.sampler,
                order.steps,
                order.size,
                order.guidance.to_bits(),
                order.strength.map(f64::to_bits),
            )
        };
        key(self) == key(other)
    }
}

/// What becomes of an order.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A picture as it is estimated after a step.
    Preview {
        /// Which of the order's pictures.
        picture: usize,
        /// Steps that are done, and all.
        step: usize,
        of: usize,
        png: Vec<u8>,
    },
    /// All pictures.
    Done(Made),
    /// It was given up for a newer one.
    Cancelled,
    /// It cannot be done.
    Failed(ApiError),
}

/// What the engine made of an order.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Each as PNG.
    pub(crate) pictures: Vec<Vec<u8>>,
    /// From the order's arrival to the beginning of its computation.
    pub(crate) ms_queue: f64,
    /// The computation, of everything that was computed together.
    pub(crate) ms_compute: f64,
    /// Denoiser calls that were made for each picture.
    pub(crate) calls: usize,
    /// Pictures that were computed together.
    pub(crate) together: usize,
}

/// An order on its way.
struct Job {
    order: Order,
    since: Instant,
    replies: mpsc::UnboundedSender<Reply>,
    handle: Handle,
}

impl Job {
    /// Whether nobody waits for it any more.
    fn is_given_up(&self) -> bool {
        self.replies.is_closed() || self.handle.stop.load(Ordering::Relaxed)
    }

    fn reply(&self, reply: Reply) {
        // Who has gone away needs none.
        let _ = self.replies.send(reply);
    }
}

/// Cancels an order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handle {
    /// Not to be begun any more.
    skip: Arc<AtomicBool>,
    /// Not to be begun, and not to be finished.
    stop: Arc<AtomicBool>,
}

impl Handle {
    /// Gives the order up unless it is computed already.
    pub(crate) fn skip(&self) {
        self.skip.store(true, Ordering::Relaxed);
    }

    /// Whether somebody else has this handle too: the order is on its way.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.stop) > 1
    }

    /// Gives the order up, also when it is half done.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How far what is computed now is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) step: usize,
    pub(crate) of: usize,
}

/// The devices and what waits for them.
pub(crate) struct Engine {
    /// The queue of each model's device, by the model's place.
    queues: Vec<Arc<Queue>>,
    threads: std::sync::Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// A model with its place and what is known of it.
pub(crate) struct Resident {
    pub(crate) place: usize,
    pub(crate) about: Arc<About>,
    pub(crate) model: LoadedModel,
}

impl Engine {
    /// Starts a thread for each device that a model computes on.
    pub(crate) fn start(models: Vec<Resident>, most: usize, metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let mut devices: Vec<(DeviceChoice, Arc<Queue>, Vec<Resident>)> = Vec::new();
        let mut queues = Vec::new();
        for resident in models {
            let device = resident.about.device();
            let at = devices.iter().position(|(other, ..)| *other == device).unwrap_or_else(|| {
                devices.push((device, Arc::new(Queue::new(most)), Vec::new()));
                devices.len() - 1
            });
            queues.push(Arc::clone(&devices[at].1));
            devices[at].2.push(resident);
        }
        let mut threads = Vec::new();
        for (device, queue, models) in devices {
            let metrics = Arc::clone(metrics);
            let thread = std::thread::Builder::new().name(format!("engine {device:?}"));
            threads.push(thread.spawn(move || worker::work(&queue, &models, &metrics))?);
        }
        Ok(Self { queues, threads: std::sync::Mutex::new(threads) })
    }

    /// Lets an order wait; its replies come through the channel, and dropping that gives it up.
    ///
    /// # Errors
    /// When too many wait already, or the server is about to end.
    pub(crate) fn submit(
        &self,
        order: Order,
        handle: Handle,
    ) -> Result<mpsc::UnboundedReceiver<Reply>, ApiError> {
        let (replies, receiver) = mpsc::unbounded_channel();
        let queue = &self.queues[order.model];
        queue.push(Job { order, since: Instant::now(), replies, handle })?;
        Ok(receiver)
    }

    /// The pictures of an order.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), or when it was given up or failed.
    pub(crate) async fn make(&self, order: Order, handle: Handle) -> Result<Made, ApiError> {
        let mut replies = self.submit(order, handle)?;
        while let Some(reply) = replies.recv().await {
            match reply {
                Reply::Preview { .. } => {}
                Reply::Done(made) => return Ok(made),
                Reply::Cancelled => break,
                Reply::Failed(error) => return Err(error),
            }
        }
        Err(ApiError::busy("the request was given up"))
    }

    /// Orders that wait, on all devices.
    pub(crate) fn waiting(&self) -> usize {
        self.each(Queue::waiting).sum()
    }

    /// How far the first device that computes something is.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.each(Queue::progress).flatten().next()
    }

    fn each<'a, T>(&'a self, of: impl Fn(&Queue) -> T + 'a) -> impl Iterator<Item = T> + 'a {
        let first = |at: usize| !self.queues[..at].iter().any(|other| Arc::ptr_eq(other, &self.queues[at]));
        (0..self.queues.len()).filter(move |at| first(*at)).map(move |at| of(&self.queues[at]))
    }

    /// Gives up all orders, and waits for the threads.
    pub(crate) fn stop(&self) {
        self.queues.iter().for_each(|queue| queue.close());
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}
