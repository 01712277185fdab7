//! HTTP: the only room that says actix_web or a status code.
//!
//! A request's way: [`server`] accepts it, and `fast_path` answers it if it is a plain request for a file. Else `path`
//! turns its raw path into a route, `routes` hands it to one file a family of routes (`generic`, `download`,
//! `packages`, `admin`, `organisations`, `gc`, `health`), each of which makes one call of the rooms below and turns the
//! result into a response; `error` alone turns refusals and failures into status codes, and `codes` lists them. What is
//! left of the body is read and thrown away in `refuse`, and every response passes `metrics`, `request_id` and, where
//! one is kept, `request_log`. Bodies are the structs of `json`; `openapi` describes everything and says how to add a
//! route.
//!
//! Pure, and tested alone: `path`, `ranges`, `conditions`, `etags`, `checksums`, `dictionary`, `disposition`, `accept`,
//! `fields`, `forwarded`, `redact`.

mod accept;
mod admin;
mod auth;
mod checksums;
mod codes;
mod complaint;
mod conditions;
mod connection;
mod description;
mod dictionary;
mod disposition;
mod documents;
mod download;
mod error;
mod etags;
mod expect;
mod fast_path;
mod fields;
mod form;
mod forwarded;
mod gc;
mod generic;
mod head;
mod health;
mod incoming;
mod json;
mod metrics;
mod openapi;
mod options;
mod organisations;
mod owners;
mod packages;
mod paging;
mod path;
mod pins;
pub mod purge;
mod ranges;
mod redact;
mod refuse;
mod reload;
mod request_id;
mod request_log;
mod retention;
mod routes;
mod scrape;
mod sending;
mod server;
mod start;
mod state;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod trail;
mod watch;

pub use forwarded::{ForwardedHeaders, Proxies, UnknownHeaders};
pub use openapi::document as api_document;
pub use options::Options;
pub use reload::{Reload, Reloaded};
pub use request_log::{AccessFormat, RequestLog, UnknownAccessFormat};
pub use routes::Serves;
pub use scrape::MetricsToken;
pub use server::{Listener, Server, Socket};
pub use state::{Engine, Phase, State};
pub use tls::{Identity, Tls, TlsError};
