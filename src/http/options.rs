//! How the server listens and what it puts up with.

use std::time::Duration;

use super::scrape::MetricsToken;

/// Bounds of the HTTP server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads, 1 to 512.
    pub workers: usize,
    /// Open connections over all workers; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long an idle connection is kept for its next request.
    pub keep_alive: Duration,
    /// How long the head of the first request of a connection may take.
    pub head_timeout: Duration,
    /// How long sent data may stay unacknowledged, and how often a silent peer is probed. It ends downloads whose
    /// reader is gone or has stopped reading.
    pub peer_timeout: Duration,
    /// At most this much of a refused body is read and thrown away, in bytes.
    pub drain_bytes: u64,
    /// For at most this long.
    pub drain_time: Duration,
    /// Whether `?token=` and `?access_token=` are accepted as credentials.
    pub query_tokens: bool,
    /// What `/metrics` asks for, if anything.
    pub metrics_token: Option<MetricsToken>,
    /// How long running requests may go on after [`Server::stop`](super::Server::stop).
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: std::thread::available_parallelism().map_or(2, |cores| cores.get().min(512)),
            max_connections: 8192,
            keep_alive: Duration::from_secs(75),
            head_timeout: Duration::from_secs(5),
            peer_timeout: Duration::from_secs(30),
            drain_bytes: 64 << 20,
            drain_time: Duration::from_secs(10),
            query_tokens: true,
            metrics_token: None,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
