//! How the server listens and what it puts up with.

use std::time::Duration;

use super::forwarded::Proxies;
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
    /// Whether every user may create organisations, not only admins.
    pub users_create_organisations: bool,
    /// Whose word about clients is believed.
    pub proxies: Proxies,
    /// What proxies put before every path, with a slash at the beginning and none at the end; empty is nothing.
    pub base_path: String,
    /// What `/metrics` asks for at the start, if anything.
    pub metrics_token: Option<MetricsToken>,
    /// How long requests are still taken once the daemon has said that it is about to end.
    pub shutdown_delay: Duration,
    /// How long running requests may go on after [`Server::stop`](super::Server::stop).
    pub shutdown_grace: Duration,
}

impl Options {
    /// A path as it is without the base path. A proxy may have taken that away already.
    pub fn without_base<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(&self.base_path) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => path,
        }
    }
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
            users_create_organisations: false,
            proxies: Proxies::default(),
            base_path: String::new(),
            metrics_token: None,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_taken_away_once_if_it_is_there() {
        let mut options = Options::default();
        assert_eq!(options.without_base("/api/v1/user"), "/api/v1/user");
        options.base_path = "/larder".to_owned();
        for (path, rest) in [
            ("/larder/api", "/api"),
            ("/larder", ""),
            ("/larder/larder/api", "/larder/api"),
            ("/larderer/api", "/larderer/api"),
            ("/api", "/api"),
        ] {
            assert_eq!(options.without_base(path), rest, "{path}");
        }
    }
}
