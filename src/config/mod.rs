//! Configuration: defaults < file < environment < flags, raw first, then validated.
//!
//! [`load`] gives the options of every room, or says what is wrong in which place. Nobody else reads the environment,
//! except for the first administrator's password (`access`) and whether colours are wanted (`telemetry`).

mod error;
mod json_schema;
mod layers;
mod raw;
mod schema;
mod units;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::oidc::Issuer;
use crate::chunk::Digest;
use crate::telemetry::access_log;
use crate::upkeep::{evictor, retention, scrubber};
use crate::{artifact, http, store, telemetry, upkeep};

pub use error::{ConfigError, Place, Problem};
pub use json_schema::json_schema;
pub use layers::{DEFAULTS, Flag, Sources};
pub use units::Listen;

/// A configuration that has been checked: the options of each room.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; at least one address.
    pub listen: Vec<Listen>,
    /// The mode of Unix sockets.
    pub socket_mode: u32,
    /// An address for metrics and health only.
    pub metrics_listen: Option<Listen>,
    /// The certificate and its key; there if an address speaks TLS.
    pub tls: Option<TlsFiles>,
    /// The server's.
    pub http: http::Options,
    /// The store's.
    pub store: store::Options,
    /// The verbs'.
    pub artifact: artifact::Options,
    /// The background work's.
    pub upkeep: upkeep::Options,
    /// Retention's.
    pub retention: retention::Options,
    /// Eviction's.
    pub eviction: evictor::Options,
    /// The scrub's.
    pub scrub: scrubber::Options,
    /// The audit log's.
    pub audit: telemetry::audit::Options,
    /// Issuers of workload tokens.
    pub issuers: Vec<Issuer>,
    /// The logs'.
    pub log: telemetry::LogOptions,
    /// Which requests are written down.
    pub requests: RequestLogOptions,
    /// Where all this was read, to read it again.
    pub sources: Sources,
    /// Each key that is set, dotted, with its value as written and where that stands.
    pub effective: BTreeMap<String, (Place, String)>,
}

impl Config {
    /// The same for the same effective settings, whatever place they come from: 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for (key, (_, value)) in &self.effective {
            text += &format!("{key}={value}\n");
        }
        let mut digest = Digest::of(text.as_bytes()).to_string();
        digest.truncate(16);
        digest
    }
}

/// What is shown to clients that speak TLS; both are PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with the chain behind it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Which requests are written down, and where.
#[derive(Clone, Debug)]
pub struct RequestLogOptions {
    /// All of them, and how.
    pub access: Option<(http::AccessFormat, access_log::Options)>,
    /// Those that take longer than this.
    pub slow: Option<Duration>,
}

/// Reads and checks the configuration. The error lists everything that is wrong, each with its place.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    validate::validate(layers::merge(sources)?, sources)
}

#[cfg(test)]
mod tests;
