//! The stream: requests come as messages of a WebSocket, and pictures go back as they are made. A newer request of a lane
//! takes the place of what waits on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::socket::{self, Incoming, Outgoing};
use crate::{
    ApiError, App,
    engine::{Handle, Made, Order, Reply},
    wanted::{Wanted, unreadable},
};

/// Messages that may wait for a client to take them.
const OUTBOX: usize = 64;

/// Turns the connection into a stream.
pub(crate) async fn stream(State(app): State<App>, mut request: Request) -> Result<Response, ApiError> {
    let accepted = socket::accepted(&request)?;
    let Ok(place) = Arc::clone(&app.sockets).try_acquire_owned() else {
        return Err(ApiError::busy(format!("{} streams are open already", app.limits.sockets)));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await {
            app.metrics.sockets.fetch_add(1, Ordering::Relaxed);
            let (outbox, sent) = mpsc::channel(OUTBOX);
            let mut client = Client::new(app.clone(), outbox);
            socket::talk(connection, &app.limits, sent, &mut client).await;
            app.metrics.sockets.fetch_sub(1, Ordering::Relaxed);
        }
        drop(place);
    });
    Ok(accepted)
}

/// One stream. Dropping it gives up all that is under way.
struct Client {
    app: App,
    outbox: mpsc::Sender<Outgoing>,
    /// The newest request of each lane.
    lanes: BTreeMap<u64, Handle>,
    under_way: JoinSet<()>,
    places: Arc<Semaphore>,
}

impl Client {
    fn new(app: App, outbox: mpsc::Sender<Outgoing>) -> Self {
        let places = Arc::new(Semaphore::new(app.limits.under_way));
        Self { app, outbox, lanes: BTreeMap::new(), under_way: JoinSet::new(), places }
    }
}

impl Incoming for Client {
    async fn message(&mut self, text: &str) {
        while self.under_way.try_join_next().is_some() {}
        let mut id = Value::Null;
        if let Err(error) = self.begin(text, &mut id).await {
            let refusal = with_id(&id, error.json());
            let _ = self.outbox.send(Outgoing { header: refusal, picture: None }).await;
        }
    }
}

impl Client {
    async fn begin(&mut self, text: &str, id: &mut Value) -> Result<(), ApiError> {
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(unreadable)?;
        *id = fields.remove("id").unwrap_or_default();
        if !(id.is_null() || id.is_number() || id.as_str().is_some_and(|text| text.len() <= 100)) {
            *id = Value::Null;
            return Err(ApiError::field("id", "expected a number, or a text of at most 100 characters"));
        }
        let lane = match fields.remove("lane") {
            None => 0,
            Some(lane) => lane
                .as_u64()
                .filter(|lane| *lane < 256)
                .ok_or_else(|| ApiError::field("lane", "expected a whole number from 0 to 255"))?,
        };
        let previews = match fields.remove("previews") {
            None => false,
            Some(wanted) => {
                wanted.as_bool().ok_or_else(|| ApiError::field("previews", "expected true or false"))?
            }
        };
        let order = Order { previews, ..Wanted::read(fields)?.order(&self.app).await? };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let most = self.app.limits.under_way;
            return Err(ApiError::busy(format!("{most} requests of this stream are under way already")));
        };
        let handle = Handle::default();
        if let Some(older) = self.lanes.insert(lane, handle.clone()) {
            older.skip();
        }
        let replies = self.app.engine.submit(order.clone(), handle)?;
        let (outbox, id) = (self.outbox.clone(), id.clone());
        self.under_way.spawn(async move {
            forward(replies, &order, &id, &outbox).await;
            drop(place);
        });
        Ok(())
    }
}

/// Sends the replies of an order until its last, or until the client has gone away.
async fn forward(
    mut replies: mpsc::UnboundedReceiver<Reply>,
    order: &Order,
    id: &Value,
    outbox: &mpsc::Sender<Outgoing>,
) {
    while let Some(reply) = replies.recv().await {
        let messages = match reply {
            Reply::Preview { picture, step, of, png } => {
                let header = with_id(id, about(order, picture, json!({ "step": step, "of": of })));
                vec![Outgoing { header, picture: Some(png) }]
            }
            Reply::Done(made) => finished(made, order, id),
            Reply::Cancelled => {
                vec![Outgoing { header: with_id(id, json!({ "cancelled": true })), picture: None }]
            }
            Reply::Failed(error) => vec![Outgoing { header: with_id(id, error.json()), picture: None }],
        };
        for message in messages {
            if outbox.send(message).await.is_err() {
                return;
            }
        }
    }
}

/// The finished pictures of an order, each behind what is known of it.
fn finished(made: Made, order: &Order, id: &Value) -> Vec<Outgoing> {
    let timings = json!({
        "step": made.calls,
        "of": made.calls,
        "ms_queue": made.ms_queue,
        "ms_compute": made.ms_compute,
        "together": made.together,
    });
    let pictures = made.pictures.into_iter().enumerate();
    pictures
        .map(|(picture, png)| Outgoing {
            header: with_id(id, about(order, picture, timings.clone())),
            picture: Some(png),
        })
        .collect()
}

/// Which of an order's pictures this is.
fn about(order: &Order, picture: usize, mut header: Value) -> Value {
    let wish = &order.wishes[picture];
    header["model"] = json!(order.about.card.name);
    header["seed"] = json!(wish.seed);
    header["index"] = json!(wish.index);
    header["picture"] = json!(picture);
    header["pictures"] = json!(order.wishes.len());
    header["height"] = json!(order.size[0]);
    header["width"] = json!(order.size[1]);
    header
}

fn with_id(id: &Value, mut header: Value) -> Value {
    header["id"] = id.clone();
    header
}
