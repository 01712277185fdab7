//! What the daemon says about itself: metrics, logs, and the audit log. At the bottom: any room may use it, it uses none.
//!
//! Each room keeps its own metric families in its own `metrics.rs`, built with [`metrics`]' helpers.

pub mod audit;
mod logs;
pub mod metrics;

pub use logs::{LogFormat, LogOptions, UnknownFormat, check_level, init};
