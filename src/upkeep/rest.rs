//! The pace of work that is made of commits: after each step it rests as long as the step took, nine times as long
//! while the commits of requests are slow. So it takes half of one thread at most, and a tenth under load.

use std::time::{Duration, Instant};

use crate::store::Store;

/// How many times as long as it worked it rests while requests have to wait.
const YIELD: u32 = 9;
/// No rest is longer.
const LONGEST: Duration = Duration::from_secs(5);

/// Rests after steps.
#[derive(Debug)]
pub struct Rest<'a> {
    store: &'a Store,
    /// Requests have to wait while a commit takes longer than this.
    yield_above: Duration,
    begun: Instant,
}

impl<'a> Rest<'a> {
    /// A step begins.
    pub fn new(store: &'a Store, yield_above: Duration) -> Self {
        Rest {
            store,
            yield_above,
            begun: Instant::now(),
        }
    }

    /// The step is done: rests, and the next one begins.
    pub async fn rest(&mut self) {
        let worked = self.begun.elapsed();
        let rest = match self.store.commit_latency() > self.yield_above {
            true => worked * YIELD,
            false => worked,
        };
        tokio::time::sleep(rest.min(LONGEST)).await;
        self.begun = Instant::now();
    }
}
