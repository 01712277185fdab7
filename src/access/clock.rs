//! Time, given instead of taken, so that tests need not wait for it.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::store::model::Millis;

/// Where this room reads the time from. Clones read the same clock.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// The machine's monotonic clock.
    pub(super) fn system() -> Self {
        Clock(Arc::new(Instant::now))
    }

    /// A clock that says what `read` says.
    #[cfg(test)]
    pub(super) fn from_fn(read: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Clock(Arc::new(read))
    }

    /// Now.
    pub(super) fn now(&self) -> Instant {
        (self.0)()
    }
}

/// The time of day, for what is stored. Zero on a machine whose clock stands before 1970.
pub(super) fn wall_millis() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX)
}
