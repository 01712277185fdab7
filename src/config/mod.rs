//! Configuration: defaults < file < environment < flags, raw first, then validated.
//!
//! [`load`] gives the options of every room, or says what is wrong in which place. Nobody else reads the environment,
//! except for the first administrator's password (`access`) and whether colours are wanted (`telemetry`).

mod error;
mod layers;
mod raw;
mod schema;
mod units;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{artifact, store, telemetry};

pub use error::{ConfigError, Place, Problem};
pub use layers::{DEFAULTS, Flag, Sources};

/// A configuration that has been checked: the options of each room.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, and how.
    pub server: Server,
    /// A second address for metrics and health.
    pub metrics_listen: Option<SocketAddr>,
    /// The store's.
    pub store: store::Options,
    /// The verbs'.
    pub artifact: artifact::Options,
    /// The logs'.
    pub log: telemetry::LogOptions,
    /// Each key that is set, dotted, with its value as written and where that stands.
    pub effective: BTreeMap<String, (Place, String)>,
}

/// How the server listens.
#[derive(Clone, Debug)]
pub struct Server {
    /// The main address.
    pub listen: SocketAddr,
    /// How long running requests may go on at shutdown.
    pub shutdown_grace: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Open connections over all workers.
    pub max_connections: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long the head of a request may take.
    pub head_timeout: Duration,
    /// How long sent data may stay unacknowledged.
    pub peer_timeout: Duration,
    /// How much of a refused body is read at most.
    pub drain_bytes: u64,
    /// How long a refused body is read at most.
    pub drain_time: Duration,
    /// Whether tokens may stand in the query.
    pub query_tokens: bool,
}

/// Reads and checks the configuration. The error lists everything that is wrong, each with its place.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    validate::validate(layers::merge(sources)?)
}

#[cfg(test)]
mod tests;
