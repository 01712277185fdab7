//! What removes things by rule: retention and eviction. Both run on the daemon's own thread, which does little else.

use actix_rt::task::JoinHandle;
use tokio::sync::watch;

use super::accounts::Desk;
use crate::config::Config;
use crate::store::Store;
use crate::upkeep::{Collector, Evictor, evictor, retention};

/// Both at work; they end when this is dropped. What they have asked for by then goes on in the store, and the rest is
/// found again another time.
pub struct Bounds {
    tasks: [JoinHandle<()>; 2],
    settings: Settings,
}

/// What both go by; may change while they are at work. Clones share it.
#[derive(Clone, Debug)]
pub struct Settings {
    retention: watch::Sender<retention::Options>,
    eviction: watch::Sender<evictor::Options>,
}

impl Settings {
    /// Both go by this from now on. `gc.yield_above` stays, as for collection itself.
    pub fn change(&self, config: &Config) {
        self.retention.send_modify(|options| {
            let yield_above = options.yield_above;
            *options = retention::Options {
                yield_above,
                ..config.retention
            };
        });
        self.eviction.send_modify(|options| {
            let yield_above = options.yield_above;
            *options = evictor::Options {
                yield_above,
                ..config.eviction
            };
        });
    }
}

impl Bounds {
    /// Starts them.
    pub fn keep(config: &Config, desk: &Desk, store: &Store, collector: &Collector) -> Self {
        let settings = Settings {
            retention: watch::Sender::new(config.retention),
            eviction: watch::Sender::new(config.eviction),
        };
        let retention = retention::run(
            desk.artifacts.clone(),
            store.clone(),
            settings.retention.subscribe(),
            desk.audit.clone(),
        );
        let evictor = Evictor::new(
            desk.artifacts.clone(),
            store.clone(),
            collector.clone(),
            settings.eviction.subscribe(),
        );
        let tasks = [actix_rt::spawn(retention), actix_rt::spawn(evictor.run())];
        Bounds { tasks, settings }
    }

    /// What they go by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
