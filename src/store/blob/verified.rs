//! Which chunks have been verified recently.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::store::model::Place;

/// A place is forgotten after this at the latest, and not before half of it: what is asked for again and again is
/// verified again and again.
const RECENT: Duration = Duration::from_secs(60);

/// Remembers places whose bytes were found good, for a while and in bounded memory: at least the last half of its
/// capacity.
#[derive(Debug)]
pub(super) struct Verified {
    generations: Mutex<Generations>,
    /// Places in one generation.
    capacity: usize,
}

/// The older one is dropped whole when the younger one is full, or old itself.
#[derive(Debug)]
struct Generations {
    young: HashSet<Place, RandomState>,
    old: HashSet<Place, RandomState>,
    /// When the younger one began.
    began: Instant,
}

impl Generations {
    fn next(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.began = now;
    }

    /// Forgets what is too old.
    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= RECENT / 2 {
            self.next(now);
        }
        if age >= RECENT {
            self.old.clear();
        }
    }
}

impl Verified {
    /// Remembers at most `capacity` places; with 0 none.
    pub fn new(capacity: usize) -> Self {
        Verified {
            generations: Mutex::new(Generations {
                young: HashSet::default(),
                old: HashSet::default(),
                began: Instant::now(),
            }),
            capacity: capacity / 2,
        }
    }

    pub fn contains(&self, place: &Place) -> bool {
        let generations = self.at(Instant::now());
        generations.young.contains(place) || generations.old.contains(place)
    }

    pub fn insert(&self, place: Place) {
        if self.capacity == 0 {
            return;
        }
        let now = Instant::now();
        let mut generations = self.at(now);
        if generations.young.len() >= self.capacity {
            generations.next(now);
        }
        generations.young.insert(place);
    }

    fn at(&self, now: Instant) -> MutexGuard<'_, Generations> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.age(now);
        generations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::FileKind;

    fn place(offset: u64) -> Place {
        Place {
            kind: FileKind::Segment,
            file: 1,
            offset,
            stored_len: 1,
        }
    }

    #[test]
    fn the_recent_half_is_remembered_and_the_rest_bounded() {
        let verified = Verified::new(8);
        for offset in 0..100 {
            verified.insert(place(offset));
            assert!((offset.saturating_sub(3)..=offset).all(|recent| verified.contains(&place(recent))));
        }
        let remembered = (0..100)
            .filter(|&offset| verified.contains(&place(offset)))
            .count();
        assert!(remembered <= 8, "{remembered} are remembered");
    }

    #[test]
    fn what_was_verified_long_ago_is_forgotten() {
        let verified = Verified::new(8);
        verified.insert(place(1));
        let known = |after: Duration| {
            let generations = verified.at(Instant::now() + after);
            generations.young.contains(&place(1)) || generations.old.contains(&place(1))
        };
        assert!(known(RECENT / 3));
        assert!(
            known(RECENT / 2),
            "the younger generation has become the older one"
        );
        assert!(!known(RECENT + Duration::from_secs(1)));
        verified.insert(place(2));
        assert!(verified.contains(&place(2)));
    }

    #[test]
    fn nothing_is_remembered_over_a_long_pause() {
        let verified = Verified::new(8);
        verified.insert(place(1));
        let later = verified.at(Instant::now() + 2 * RECENT);
        assert!(later.young.is_empty() && later.old.is_empty());
    }

    #[test]
    fn with_no_room_nothing_is_remembered() {
        let verified = Verified::new(0);
        verified.insert(place(1));
        assert!(!verified.contains(&place(1)));
    }
}
