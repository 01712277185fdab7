//! HTTP: the only room that says actix_web or a status code.
//!
//! A request goes [`server`] → [`routes`] → [`gate`] (who, whose, may they) → a family of routes ([`packages`],
//! [`admin`], [`health`]) → one verb of [`crate::artifact`] or [`crate::access`]; errors become statuses in [`error`].

mod admin;
mod checksums;
mod conditions;
mod dictionary;
mod disposition;
mod download;
mod error;
mod etags;
mod expect;
mod gate;
mod health;
mod metrics_page;
mod observe;
mod packages;
mod path;
mod ranges;
mod refuse;
mod routes;
mod server;
mod start_page;
mod state;

use std::time::Duration;

pub use server::{Running, Surface, serve};
pub use state::{AppState, Engine, Readiness};

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that serve requests.
    pub workers: usize,
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long the head of a request may take.
    pub head_timeout: Duration,
    /// How long a peer may take nothing before the kernel gives it up.
    pub peer_timeout: Duration,
    /// How long running requests may go on after a stop.
    pub shutdown_grace: Duration,
    /// How much of a refused body is read before its connection is closed, bytes.
    pub drain_bytes: u64,
    /// For how long.
    pub drain_time: Duration,
    /// Whether `?token=` and `?access_token=` count as credentials.
    pub query_tokens: bool,
}
