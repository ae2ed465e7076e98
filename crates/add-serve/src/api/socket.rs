//! A WebSocket: the answer to its request, and messages in both directions within limits.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, interval, timeout},
};
use tokio_websockets::{CloseCode, Limits as Sizes, Message, ServerBuilder, WebSocketStream};

use crate::{ApiError, Limits};

/// What RFC 6455 appends to a client's key.
const KEY: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How often a silent client is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// How often a client may ask that in the same time. What answers it waits in memory until the client takes it.
const MOST_PINGS: usize = 64;

/// A message to a client.
pub(super) struct Outgoing {
    /// A JSON text.
    pub(super) header: Value,
    /// A picture that follows it, as a binary message.
    pub(super) picture: Option<Vec<u8>>,
}

/// Who is told of the messages of a client.
pub(super) trait Incoming {
    /// A text came.
    async fn message(&mut self, text: &str);
}

/// The answer that turns a connection into a WebSocket.
pub(super) fn accepted(request: &Request) -> Result<Response, ApiError> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = |name, word: &str| text(name).split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
    let key = text(header::SEC_WEBSOCKET_KEY);
    if request.method() != Method::GET
        || !names(header::CONNECTION, "upgrade")
        || !names(header::UPGRADE, "websocket")
        || text(header::SEC_WEBSOCKET_VERSION) != "13"
        || STANDARD.decode(key).map_or(0, |key| key.len()) != 16
    {
        let message = "expected a WebSocket of version 13 (RFC 6455)";
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, message));
    }
    let digest = sha1_smol::Sha1::from(format!("{key}{KEY}")).digest().bytes();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&STANDARD.encode(digest)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

type Sink = SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>;

/// Passes messages on until one of both sides ends.
pub(super) async fn talk(
    connection: Upgraded,
    limits: &Limits,
    mut outbox: mpsc::Receiver<Outgoing>,
    client: &mut impl Incoming,
) {
    let sizes = Sizes::default().max_payload_len(Some(limits.message));
    let socket = ServerBuilder::new().limits(sizes).serve(TokioIo::new(connection));
    let (mut sink, mut source) = socket.split();
    let stall = limits.stall;
    let send = async {
        let mut clock = interval(PING);
        loop {
            let messages = tokio::select! {
                next = outbox.recv() => match next {
                    Some(Outgoing { header, picture }) => {
                        [Some(Message::text(header.to_string())), picture.map(Message::binary)]
                    }
                    None => return,
                },
                _ = clock.tick() => [Some(Message::ping("")), None],
            };
            for message in messages.into_iter().flatten() {
                if !delivered(&mut sink, message, stall).await {
                    return;
                }
            }
        }
    };
    let receive = async {
        let (mut pings, mut since) = (0, Instant::now());
        // A client that is there answers every ping.
        while let Ok(Some(Ok(message))) = timeout(3 * PING, source.next()).await {
            if since.elapsed() > PING {
                (pings, since) = (0, Instant::now());
            }
            pings += usize::from(message.is_ping());
            if message.is_close() || pings > MOST_PINGS {
                return;
            }
            if let Some(text) = message.as_text() {
                client.message(text).await;
            }
        }
    };
    tokio::select! {
        () = send => {}
        () = receive => {}
    }
    let _ =
        timeout(Duration::from_secs(1), sink.send(Message::close(Some(CloseCode::NORMAL_CLOSURE), ""))).await;
}

/// Whether a client took a message in time.
async fn delivered(sink: &mut Sink, message: Message, stall: Duration) -> bool {
    matches!(timeout(stall, sink.send(message)).await, Ok(Ok(())))
}
