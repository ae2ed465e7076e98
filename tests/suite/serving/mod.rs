//! `add serve` and its library: every interface over real connections, the limits on those, and pictures that do not depend
//! on what they were computed with.

mod client;
mod guards;
mod limits;
mod others;
mod pictures;
mod stream;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use add_core::{assemble, read::read, recipe::EvaluatedModel};
use add_serve::{Access, Limits, Offered, Settings};
pub(crate) use client::{Answer, Socket, answer, ask, get, post};

use crate::root;

/// A server in this process, with the shipped student and its teacher. It ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(None, Limits::default())
    }

    pub(crate) fn with(token: Option<&str>, limits: Limits) -> Self {
        let access = Access {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            token: token.map(str::to_owned),
            hosts: Vec::new(),
            limits,
        };
        let settings = Settings { access, runs: PathBuf::from("no-runs") };
        let (bound, told) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let until = async move {
                while !flag.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            add_serve::run(offered(), &settings, |address| bound.send(address).unwrap(), until)
        });
        Self { address: told.recv().expect("the server begins"), stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(matches!(outcome, Ok(Ok(()))) || std::thread::panicking(), "{outcome:?}");
        }
    }
}

/// The models of the main job.
fn offered() -> Vec<Offered> {
    let loaded = Arc::new(read(&root().join("configs/emoji.ron"), &[]).unwrap());
    let weights = loaded.resolve(loaded.recipe.sampling.weights.as_ref().unwrap());
    let student = assemble::sampled(&loaded, &weights).unwrap();
    let teacher = assemble::named(&loaded, EvaluatedModel::Teacher).unwrap().unwrap();
    vec![Offered::main(Arc::clone(&loaded), student).unwrap(), Offered::teacher(loaded, teacher).unwrap()]
}
