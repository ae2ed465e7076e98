//! What one client may take of the server.

use std::time::Duration;

/// Limits against requests that are too large, too slow or too many.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body of a request, in bytes.
    pub body: usize,
    /// Bytes of bodies that are held at once, all requests together.
    pub bodies: usize,
    /// Longest head of a request, in bytes.
    pub head: usize,
    /// Time for a request's head, which is also how long an idle connection is kept.
    pub head_time: Duration,
    /// Time for a request's body.
    pub body_time: Duration,
    /// How long a client may take nothing of its answer.
    pub stall: Duration,
    /// Connections at once.
    pub connections: usize,
    /// WebSockets at once.
    pub sockets: usize,
    /// Longest message on a WebSocket, in bytes.
    pub message: usize,
    /// Requests of one WebSocket that are under way at once.
    pub under_way: usize,
    /// Requests that wait for one device.
    pub queue: usize,
    /// Pictures of one request.
    pub count: usize,
    /// Denoiser calls of one picture.
    pub steps: usize,
    /// Largest side of a picture to begin with, in pixels.
    pub init_side: u32,
    /// How long requests under way may take to end when the server stops.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            bodies: 8 << 20,
            head: 16 << 10,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(20),
            stall: Duration::from_secs(20),
            connections: 256,
            sockets: 32,
            message: 1 << 20,
            under_way: 32,
            queue: 256,
            count: 64,
            steps: 150,
            init_side: 1536,
            farewell: Duration::from_secs(10),
        }
    }
}
