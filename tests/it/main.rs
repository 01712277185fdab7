//! Black-box tests: every one starts the real binary on port 0 with a fresh data directory and talks to it over raw
//! sockets. One file a feature; `support` holds the daemon harness and the HTTP client.
//!
//! `LARDER_TEST_ROUNDS` sets the rounds of the kill tests in `durability`; everything else is bounded as it stands.
//! With `LARDER_TEST_KEEP` the directory of a failed test stays, and its path is printed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod audit;
mod audited;
mod auth;
mod backup;
mod beside;
mod broken;
mod browse;
mod checked;
mod command_line;
mod damage;
mod dedupe;
mod documents;
mod durability;
mod eviction;
mod fast_path;
mod fast_writes;
mod faults;
mod fixture;
mod format;
mod full_disk;
mod gc;
mod generic;
mod headers;
mod index;
mod lifecycle;
mod listening;
mod logs;
mod memory;
mod messages;
mod metrics;
mod monitoring;
mod names;
mod oidc;
mod order;
mod organisations;
mod packaged;
mod pages;
mod permissions;
mod policies;
mod power;
mod proxy;
mod quotas;
mod races;
mod refusals;
mod reload;
mod retention;
mod settings;
mod shutdown;
mod stats;
mod support;
mod tls;
mod verify;
mod versions;
mod wire;
