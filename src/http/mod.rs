//! HTTP: the only room that says actix_web or a status code.
//!
//! A request's way: [`server`] accepts it, `path` turns its raw path into a route, `routes` hands it to one file a
//! family of routes (`generic`, `download`, `admin`, `gc`, `health`), each of which makes one call of the rooms below and turns
//! the result into a response; `error` alone turns refusals and failures into status codes. What is left of the body is
//! read and thrown away in `refuse`, and every response passes `metrics`, `request_id` and, where one is kept,
//! `request_log`.
//!
//! Pure, and tested alone: `path`, `ranges`, `conditions`, `etags`, `checksums`, `dictionary`, `disposition`, `accept`,
//! `fields`, `redact`.

mod accept;
mod admin;
mod auth;
mod checksums;
mod conditions;
mod connection;
mod dictionary;
mod disposition;
mod download;
mod error;
mod etags;
mod expect;
mod fields;
mod form;
mod gc;
mod generic;
mod head;
mod health;
mod incoming;
mod metrics;
mod options;
mod organisations;
mod owners;
mod packages;
mod path;
mod purge;
mod ranges;
mod redact;
mod refuse;
mod request_id;
mod request_log;
mod routes;
mod scrape;
mod sending;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod watch;

pub use options::Options;
pub use request_log::{AccessFormat, RequestLog, UnknownAccessFormat};
pub use scrape::MetricsToken;
pub use server::{Listeners, Server};
pub use state::{Engine, Phase, State};
