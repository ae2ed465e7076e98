//! Connections: accepted up to a number, each within the limits on slow clients, and ended when the server ends.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};

use crate::{Limits, metrics::Metrics};

/// Most fields of a request's head.
const MAX_HEADERS: usize = 64;

/// Accepts connections until `stop`, then waits for the requests under way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Arc<Limits>,
    metrics: &Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let (ending, ended) = watch::channel(());
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        while open.try_join_next().is_some() {}
        let place = tokio::select! {
            () = &mut stop => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, or the client went away: the next one may fare better.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (router, ended) = (router.clone(), ended.clone());
        let (limits, metrics) = (Arc::clone(limits), Arc::clone(metrics));
        open.spawn(async move {
            metrics.connections.fetch_add(1, Ordering::Relaxed);
            connection(stream, router, &limits, ended).await;
            metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    drop(listener);
    let _ = ending.send(());
    let _ = timeout(limits.farewell, async { while open.join_next().await.is_some() {} }).await;
}

/// Answers the requests of one connection.
async fn connection(stream: TcpStream, router: Router, limits: &Limits, mut ended: watch::Receiver<()>) {
    // A picture is one write; waiting for more would add up to 40 ms.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, limits.stall));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time);
    builder.max_headers(MAX_HEADERS).max_buf_size(limits.head.max(8 << 10));
    let serving = builder.serve_connection(io, TowerToHyperService::new(router)).with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        // A client that breaks off is no error of ours.
        _ = serving.as_mut() => return,
        _ = ended.changed() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

/// A connection that ends when its client takes nothing for too long.
struct Patient {
    stream: TcpStream,
    stall: Duration,
    /// Runs while bytes wait to be taken.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, stall: Duration) -> Self {
        Self { stream, stall, waiting: None }
    }

    /// Ends the wait where something was taken, and the connection where nothing was for too long.
    fn judge<T>(&mut self, context: &mut Context<'_>, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.waiting = None;
            return taken;
        }
        let until = Instant::now() + self.stall;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, taken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, taken)
    }
}
