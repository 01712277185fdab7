//! What all requests share: the rooms below once the store is open, and how far the daemon is in its life.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::error::Refusal;
use super::options::Options;
use super::reload::Reload;
use super::request_log::RequestLog;
use super::scrape::MetricsToken;
use crate::access::Access;
use crate::artifact::Artifacts;
use crate::store::Store;
use crate::store::collect::Passes;
use crate::telemetry::audit::Audit;

/// Before a request that found the index failed tries again.
const INDEX_PAUSE: Duration = Duration::from_millis(20);

/// The rooms that requests use.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The verbs.
    pub artifacts: Artifacts,
    /// The gate.
    pub access: Access,
    /// The store, for names of owners and for its health.
    pub store: Store,
    /// Whoever makes passes of collection.
    pub passes: Arc<dyn Passes>,
    /// Whoever can read the configuration again.
    pub reload: Arc<dyn Reload>,
}

/// How far the daemon is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The store is being opened.
    Starting {
        /// Bytes of log replayed so far.
        done: u64,
        /// Bytes of log to be replayed; 0 while nobody knows.
        total: u64,
    },
    /// Requests are served.
    Ready,
    /// Requests are served, but the daemon is about to end.
    Draining,
}

/// Made before the store is open, so that the port can answer from the start. Clones share everything.
///
/// Until [`State::ready`] everything but health and metrics is answered with 503.
#[derive(Clone, Debug)]
pub struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    audit: Option<Audit>,
    requests: OnceLock<Arc<RequestLog>>,
    metrics_token: ArcSwapOption<MetricsToken>,
    engine: OnceLock<Engine>,
    replayed: AtomicU64,
    to_replay: AtomicU64,
    draining: AtomicBool,
}

impl State {
    /// Starting, without an audit log.
    pub fn new(options: Options) -> Self {
        Self::auditing(options, None)
    }

    /// Starting.
    pub fn auditing(options: Options, audit: Option<Audit>) -> Self {
        State(Arc::new(Shared {
            metrics_token: ArcSwapOption::new(options.metrics_token.clone().map(Arc::new)),
            options,
            audit,
            requests: OnceLock::new(),
            engine: OnceLock::new(),
            replayed: AtomicU64::new(0),
            to_replay: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }))
    }

    /// Writes requests down from now on. Only the first call counts.
    pub fn log_requests(&self, log: RequestLog) {
        let _ = self.0.requests.set(Arc::new(log));
    }

    /// Tells how far opening the store has come, in bytes of log.
    pub fn progress(&self, done: u64, total: u64) {
        self.0.to_replay.store(total, Ordering::Relaxed);
        self.0.replayed.store(done, Ordering::Relaxed);
    }

    /// Serves requests from now on. Only the first call counts.
    pub fn ready(&self, engine: Engine) {
        // A second engine would be a second store, which nothing makes.
        let _ = self.0.engine.set(engine);
    }

    /// Fails `/readyz` from now on, so that load balancers look elsewhere; requests are served as before.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// How long requests are still taken after [`State::drain`].
    pub fn shutdown_delay(&self) -> Duration {
        self.0.options.shutdown_delay
    }

    /// How far the daemon is in its life.
    pub fn phase(&self) -> Phase {
        if self.0.draining.load(Ordering::Relaxed) {
            return Phase::Draining;
        }
        match self.0.engine.get() {
            Some(_) => Phase::Ready,
            None => Phase::Starting {
                done: self.0.replayed.load(Ordering::Relaxed),
                total: self.0.to_replay.load(Ordering::Relaxed),
            },
        }
    }

    /// Waits for an index that is being built again. False: not by `deadline`.
    pub(super) async fn index_restored(&self, deadline: Instant) -> bool {
        let Some(engine) = self.0.engine.get() else {
            return false;
        };
        // A pause, should the index fail again at once.
        tokio::time::sleep(INDEX_PAUSE).await;
        tokio::time::timeout_at(deadline.into(), engine.store.index_restored())
            .await
            .is_ok()
            && Instant::now() < deadline
    }

    /// The rooms, or 503 while there are none.
    pub(super) fn engine(&self) -> Result<&Engine, Refusal> {
        self.0.engine.get().ok_or_else(Refusal::starting)
    }

    /// The audit log, if there is one.
    pub(super) fn audit(&self) -> Option<&Audit> {
        self.0.audit.as_ref()
    }

    /// Goes on in a new file of the audit log, after somebody has moved the old one away.
    pub fn reopen_audit(&self) {
        if let Some(audit) = self.audit() {
            audit.reopen();
        }
    }

    /// `/metrics` asks for this from now on, or for nothing; whether that is something else than before.
    pub fn set_metrics_token(&self, token: Option<MetricsToken>) -> bool {
        let new = token.map(Arc::new);
        self.0.metrics_token.swap(new.clone()) != new
    }

    /// What `/metrics` asks for, if anything.
    pub(super) fn metrics_token(&self) -> Option<Arc<MetricsToken>> {
        self.0.metrics_token.load_full()
    }

    /// What writes requests down, if anything does.
    pub(super) fn requests(&self) -> Option<&Arc<RequestLog>> {
        self.0.requests.get()
    }

    /// The bounds.
    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_follows_the_daemon() {
        let state = State::new(Options::default());
        assert_eq!(state.phase(), Phase::Starting { done: 0, total: 0 });
        state.progress(3, 10);
        assert_eq!(state.phase(), Phase::Starting { done: 3, total: 10 });
        assert!(state.engine().is_err());
        state.drain();
        assert_eq!(state.phase(), Phase::Draining);
    }
}
