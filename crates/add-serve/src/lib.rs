//! Pictures over HTTP: models are loaded once, and answer requests as they come.
//!
//! - `/` is a page that shows a picture with every keystroke; it is part of the binary and loads nothing from elsewhere.
//! - `/api/…` is this project's own interface, with a stream of pictures over a WebSocket.
//! - `/api/runs…` follows the runs that `train` writes (`watch`).
//! - `/sdapi/v1/…` answers as A1111's web UI does, `/v1/…` as OpenAI's pictures do.
//! - `/openapi.json` describes every route; a test holds it to them.
//!
//! [`run`] serves until it is told to stop. What waits for a device is computed together, and a picture is the same to the byte
//! whatever it was computed with.

mod a1111;
mod answer;
mod api;
mod body;
mod connection;
mod engine;
mod error;
mod guard;
mod init;
mod limits;
mod metrics;
mod models;
mod openai;
mod page;
mod routes;
mod seed;
mod wanted;
mod watch;
pub mod web;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::http::StatusCode;
use tokio::{net::TcpListener, sync::Semaphore};

use self::{
    engine::{Engine, Resident},
    guard::Guard,
    metrics::Metrics,
    models::About,
};
pub use self::{
    error::ApiError,
    limits::Limits,
    models::{Kind, Offered},
    web::Access,
};

/// The description of every route.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

/// What the server answers with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it answers, and whom.
    pub access: Access,
    /// The folder of the runs that can be watched; it need not exist.
    pub runs: PathBuf,
}

/// Everything that an answer needs.
struct Shared {
    engine: Engine,
    models: Vec<Arc<About>>,
    metrics: Arc<Metrics>,
    guard: Guard,
    limits: Arc<Limits>,
    /// Permits for bytes of bodies.
    bodies: Arc<Semaphore>,
    /// Permits for streams.
    sockets: Arc<Semaphore>,
    /// One picture is decoded at a time.
    decoding: Semaphore,
    a1111: Mutex<a1111::State>,
    runs: Arc<watch::Runs>,
    /// Whether the server is about to end, so that those who watch a run are let go.
    stopping: AtomicBool,
}

/// A handle on what all answers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    fn new(models: Vec<Offered>, settings: &Settings) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let residents = models.into_iter().enumerate().map(|(place, offered)| Resident {
            place,
            about: Arc::new(offered.about),
            model: offered.model,
        });
        let residents: Vec<Resident> = residents.collect();
        let models = residents.iter().map(|resident| Arc::clone(&resident.about)).collect();
        let limits = Arc::new(settings.access.limits.clone());
        Ok(Self(Arc::new(Shared {
            engine: Engine::start(residents, limits.queue, &metrics)?,
            models,
            metrics,
            guard: Guard::of(&settings.access),
            bodies: body::permits(limits.bodies),
            sockets: Arc::new(Semaphore::new(limits.sockets)),
            decoding: Semaphore::new(1),
            a1111: Mutex::default(),
            runs: Arc::new(watch::Runs::new(settings.runs.clone())),
            stopping: AtomicBool::new(false),
            limits,
        })))
    }

    /// A model by its name, or the first.
    fn model(&self, name: Option<&str>) -> Result<(usize, &Arc<About>), ApiError> {
        let found = match name {
            None => self.models.first().map(|about| (0, about)),
            Some(name) => self.models.iter().enumerate().find(|(_, about)| about.card.name == name),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(|about| about.card.name.as_str()).collect();
            let got = wanted::shown(name.unwrap_or_default());
            ApiError::field("model", format!("expected one of {}, got {got:?}", names.join(", ")))
        })
    }
}

/// Serves these models until `stop`, then finishes what is under way. `bound` is told the address once connections are
/// accepted.
///
/// # Errors
/// When the address cannot be bound, or for what [`Access::check`] and [`check_models`] refuse.
pub fn run(
    models: Vec<Offered>,
    settings: &Settings,
    bound: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    settings.access.check().and_then(|()| check_models(&models)).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let listener = TcpListener::bind(settings.access.address).await?;
        let address = listener.local_addr()?;
        let app = App::new(models, settings)?;
        bound(address);
        let stop = async {
            stop.await;
            app.stopping.store(true, Ordering::Relaxed);
        };
        connection::serve(listener, routes::router(&app), &app.limits, &app.metrics, stop).await;
        app.engine.stop();
        Ok(())
    });
    runtime.shutdown_background();
    outcome
}

/// Whether there are models, with a name of its own for each.
///
/// # Errors
/// Names the two that are called the same.
pub fn check_models(models: &[Offered]) -> Result<(), String> {
    let names: Vec<&str> = models.iter().map(|offered| offered.about.card.name.as_str()).collect();
    if names.is_empty() {
        return Err("expected a model to serve".to_owned());
    }
    match (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
        Some(twice) => {
            Err(format!("two models are called {}; expected a name of its own for each", names[twice]))
        }
        None => Ok(()),
    }
}

/// What answers a path that there is not.
pub(crate) async fn nothing_there() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing here; /openapi.json lists every route")
}
