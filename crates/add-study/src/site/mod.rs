//! The server of a study: its page, its pictures and the votes.

mod answers;
mod assets;

use std::{
    collections::HashSet,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use add_serve::{
    Access, ApiError, Limits,
    web::{self, Bodies},
};
use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    routing::{MethodRouter, get, post},
};

use crate::{Book, Study, StudyError};

/// Largest body of a request, in bytes: a vote has some hundred.
const BODY: usize = 16 << 10;

/// A study that is served.
#[derive(Debug)]
pub struct Site {
    study: Study,
    folder: PathBuf,
    /// Names of its pictures.
    pictures: HashSet<String>,
    book: Mutex<Book>,
    /// Most comparisons that one voter is asked for.
    most: usize,
}

/// What every answer needs.
#[derive(Debug, Clone)]
struct App {
    site: Arc<Site>,
    bodies: Bodies,
}

impl Site {
    /// Opens the study in a folder; each voter is asked for at most so many comparisons. The second value says what was repaired.
    ///
    /// # Errors
    /// When there is no study, its votes cannot be read or another process has them.
    pub fn open(folder: &Path, most: Option<usize>) -> Result<(Self, Option<String>), StudyError> {
        if most == Some(0) {
            return Err(StudyError::Request("--pairs: expected at least 1, got 0".to_owned()));
        }
        let study = Study::read(folder)?;
        let (book, said) = Book::open(&study, folder)?;
        let site = Self {
            folder: folder.to_owned(),
            pictures: study.files().map(str::to_owned).collect(),
            most: most.unwrap_or(usize::MAX),
            book: Mutex::new(book),
            study,
        };
        Ok((site, said))
    }

    /// The study.
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// How many votes stand.
    pub fn votes(&self) -> usize {
        self.book().ballots().standing().count()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a study until `stop`; `bound` is told the address once connections are accepted.
///
/// # Errors
/// When the address cannot be bound, or could be reached from other machines without a token.
pub fn serve(
    site: Site,
    access: &Access,
    bound: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let access = Access { limits: Limits { body: BODY, ..access.limits.clone() }, ..access.clone() };
    let site = Arc::new(site);
    web::serve(&access, |bodies| router(App { site, bodies }), bound, stop)
}

fn router(app: App) -> Router {
    let routes: [(&str, MethodRouter<App>); 7] = [
        ("/", get(assets::index)),
        ("/assets/{file}", get(assets::asset)),
        ("/pictures/{name}", get(answers::picture)),
        ("/health", get(answers::health)),
        ("/api/state", post(answers::state)),
        ("/api/vote", post(answers::vote)),
        ("/api/undo", post(answers::undo)),
    ];
    routes
        .into_iter()
        .fold(Router::new(), |router, (path, answer)| router.route(path, answer.fallback(wrong_method)))
        .with_state(app)
}

async fn wrong_method(_: Request) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path answers another method")
}
