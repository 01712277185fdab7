//! What the daemon says about itself: metrics, logs, and the audit log. At the bottom: any room may use it, it uses none.
//!
//! Each room keeps its own metric families in its own `metrics.rs`, built with [`metrics`]' helpers. Whatever is logged
//! while a request is worked on names that request by itself, see [`request`].

pub mod access_log;
pub mod audit;
mod dropped;
mod lines;
mod logs;
pub mod metrics;
mod rate;
pub mod request;

pub use logs::{LogFormat, LogOptions, UnknownFormat, check_level, init, set_level};
pub use rate::PerSecond;
