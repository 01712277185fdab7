//! Larder: a storage daemon for CI artifacts and build caches.
//!
//! The rooms, in reading order (each may use those below it, never those above):
//!
//! - [`cli`]: the command line, one file a subcommand
//! - [`daemon`]: puts the rooms together; start and shutdown
//! - [`config`]: raw configuration to validated options
//! - [`http`]: the only room that says actix_web or a status code
//! - [`upkeep`]: background work
//! - [`artifact`]: the verbs: publish, fetch, remove
//! - [`access`]: who may do what
//! - [`owner`]: the actors that decide about names
//! - [`store`]: the log, its index, and the bytes
//! - [`chunk`]: digests and cut points
//! - [`telemetry`]: metrics and logs

#![deny(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod access;
pub mod artifact;
pub mod chunk;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http;
pub mod owner;
pub mod store;
pub mod telemetry;
pub mod upkeep;
