//! What the handlers share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Options;
use crate::access::Access;
use crate::artifact::Artifacts;
use crate::store::Store;

/// Everything that exists once the store is open.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The verbs.
    pub artifacts: Artifacts,
    /// The gate.
    pub access: Access,
    /// The store, for its health.
    pub store: Store,
}

/// Shared by all workers; until the engine is there, everything but the health endpoints and metrics answers 503.
#[derive(Debug)]
pub struct AppState {
    engine: OnceLock<Engine>,
    draining: AtomicBool,
    replayed: AtomicU64,
    to_replay: AtomicU64,
    /// How to behave.
    pub options: Options,
}

/// Whether requests can be served.
#[derive(Debug)]
pub enum Readiness<'a> {
    /// The store is being opened: so many bytes of so many of its log are read.
    Starting {
        /// Bytes read.
        done: u64,
        /// Bytes to read.
        total: u64,
    },
    /// Yes.
    Ready(&'a Engine),
    /// The daemon is ending; requests under way are finished.
    Draining,
}

impl AppState {
    /// Not ready.
    pub fn new(options: Options) -> Self {
        AppState {
            engine: OnceLock::new(),
            draining: AtomicBool::new(false),
            replayed: AtomicU64::new(0),
            to_replay: AtomicU64::new(0),
            options,
        }
    }

    /// Opening the store has come this far.
    pub fn replayed(&self, done: u64, total: u64) {
        self.replayed.store(done, Ordering::Relaxed);
        self.to_replay.store(total, Ordering::Relaxed);
    }

    /// Requests can be served from now on.
    pub fn ready(&self, engine: Engine) {
        let _ = self.engine.set(engine);
    }

    /// `/readyz` fails from now on; requests are still served until the server stops.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests can be served.
    pub fn readiness(&self) -> Readiness<'_> {
        match self.engine.get() {
            _ if self.draining.load(Ordering::Relaxed) => Readiness::Draining,
            Some(engine) => Readiness::Ready(engine),
            None => Readiness::Starting {
                done: self.replayed.load(Ordering::Relaxed),
                total: self.to_replay.load(Ordering::Relaxed),
            },
        }
    }

    /// The engine, once there is one; also while draining.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }
}
