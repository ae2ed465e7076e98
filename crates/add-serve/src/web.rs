//! The server without its models: a router of another crate behind the same guard, connections and limits.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{ApiError, Limits, body, connection, guard::Guard, metrics::Metrics};
pub use crate::{
    answer::{bytes, fine},
    page::{Asset, file},
};

/// Where a server answers, whom, and how much.
#[derive(Debug, Clone)]
pub struct Access {
    /// The address that it binds.
    pub address: SocketAddr,
    /// What every request must bring; needed where other machines can reach the address.
    pub token: Option<String>,
    /// Names beside `localhost` under which it may be called.
    pub hosts: Vec<String>,
    /// What one client may take.
    pub limits: Limits,
}

impl Access {
    /// Whether this is safe, before anything is loaded.
    ///
    /// # Errors
    /// When the address can be reached from elsewhere and no token is set, or the token is none.
    pub fn check(&self) -> Result<(), String> {
        let address = self.address.ip();
        match &self.token {
            None if !is_loopback(address) => Err(format!(
                "{address} can be reached from other machines: expected --token with what clients must bring"
            )),
            Some(token)
                if token.len() < 8 || !token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') =>
            {
                Err("--token: expected at least 8 characters out of ASCII without spaces and semicolons"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Whether an address belongs to this machine alone.
fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
        IpAddr::V4(v4) => v4.is_loopback(),
    }
}

/// Reads bodies of requests within the limits of a server.
#[derive(Debug, Clone)]
pub struct Bodies {
    limits: Arc<Limits>,
    permits: Arc<Semaphore>,
}

impl Bodies {
    /// The JSON object in a request.
    ///
    /// # Errors
    /// When it is none, is too large or comes too slowly.
    pub async fn fields(&self, request: Request) -> Result<Map<String, Value>, ApiError> {
        Ok(body::read(&self.limits, &self.permits, request).await?.fields)
    }
}

/// Serves a router until `stop`, then finishes what is under way. `bound` is told the address once connections are accepted.
///
/// # Errors
/// When the address cannot be bound, or for what [`Access::check`] refuses.
pub fn serve(
    access: &Access,
    router: impl FnOnce(Bodies) -> Router,
    bound: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    access.check().map_err(io::Error::other)?;
    let (limits, metrics) = (Arc::new(access.limits.clone()), Arc::new(Metrics::default()));
    let bodies = Bodies { limits: Arc::clone(&limits), permits: body::permits(limits.bodies) };
    let door = Door { guard: Arc::new(Guard::of(access)), metrics: Arc::clone(&metrics) };
    let router = router(bodies).fallback(nothing_there).layer(from_fn_with_state(door, guarded));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let listener = TcpListener::bind(access.address).await?;
        bound(listener.local_addr()?);
        connection::serve(listener, router, &limits, &metrics, stop).await;
        Ok(())
    });
    runtime.shutdown_background();
    outcome
}

/// What stands before every route.
#[derive(Clone)]
struct Door {
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
}

async fn guarded(State(door): State<Door>, request: Request, next: Next) -> Response {
    door.guard.answer(&door.metrics, request, next).await
}

async fn nothing_there() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing here")
}
