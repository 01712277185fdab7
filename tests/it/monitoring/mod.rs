//! The monitoring that comes with Larder: dashboards, rules, alerts, and the proof that they fit the daemon.
//!
//! `boards` says what the dashboards show; `grafana/dashboards/*.json` is what Grafana loads. After a change of the
//! boards or of a metric, with `LARDER_UPDATE=1` the tests write those files, `docs/metrics.md` and `docs/monitoring.md` anew.

mod boards;
mod coverage;
mod families;
mod files;
mod lint;
mod panels;
mod picture;
mod prometheus;
mod proof;
mod traffic;
