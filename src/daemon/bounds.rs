//! What removes things by rule: retention and eviction. Both run on the daemon's own thread, which does little else.

use actix_rt::task::JoinHandle;

use super::accounts::Desk;
use crate::config::Config;
use crate::store::Store;
use crate::upkeep::{Collector, Evictor, retention};

/// Both at work; they end when this is dropped. What they have asked for by then goes on in the store, and the rest is
/// found again another time.
pub struct Bounds([JoinHandle<()>; 2]);

impl Bounds {
    /// Starts them.
    pub fn keep(config: &Config, desk: &Desk, store: &Store, collector: &Collector) -> Self {
        let (artifacts, audit) = (&desk.artifacts, desk.audit.clone());
        let retention = retention::run(artifacts.clone(), store.clone(), config.retention, audit);
        let evictor = Evictor::new(
            artifacts.clone(),
            store.clone(),
            collector.clone(),
            config.eviction,
        );
        Bounds([actix_rt::spawn(retention), actix_rt::spawn(evictor.run())])
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
