//! Keeps log files from being deleted while somebody outside the store copies them.
//!
//! Compaction asks before it unlinks: [`Holds::unless_held`]. Taking a hold and unlinking exclude each other, so
//! whoever has a hold finds every file that was there when they took it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts who needs the files to stay.
#[derive(Debug, Default)]
pub struct Holds {
    count: Mutex<usize>,
}

/// As long as it lives, no log file is deleted.
#[derive(Debug)]
pub struct Hold {
    holds: Arc<Holds>,
}

impl Holds {
    /// Holds every log file that there is.
    pub fn hold(self: &Arc<Self>) -> Hold {
        *self.lock() += 1;
        Hold { holds: self.clone() }
    }

    /// Does `work`, which unlinks log files, unless they are held; `None`: try again later. Who wants a hold meanwhile
    /// waits, so the work is short.
    pub fn unless_held<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let count = self.lock();
        (*count == 0).then(work)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.holds.lock() -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_before_the_last_hold_is_gone() {
        let holds = Arc::new(Holds::default());
        assert_eq!(holds.unless_held(|| 1), Some(1));
        let (one, two) = (holds.hold(), holds.hold());
        drop(one);
        assert_eq!(holds.unless_held(|| 1), None);
        drop(two);
        assert_eq!(holds.unless_held(|| 1), Some(1));
    }
}
