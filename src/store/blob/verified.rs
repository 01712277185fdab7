//! Which chunks have been verified recently.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::store::model::Place;

/// Remembers places whose bytes were found good, in bounded memory: at least the last half of its capacity.
#[derive(Debug)]
pub(super) struct Verified {
    generations: Mutex<Generations>,
    /// Places in one generation.
    capacity: usize,
}

/// The older one is dropped whole when the younger one is full.
#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Place>,
    old: HashSet<Place>,
}

impl Verified {
    /// Remembers at most `capacity` places; with 0 none.
    pub fn new(capacity: usize) -> Self {
        Verified {
            generations: Mutex::default(),
            capacity: capacity / 2,
        }
    }

    pub fn contains(&self, place: &Place) -> bool {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.contains(place) || generations.old.contains(place)
    }

    pub fn insert(&self, place: Place) {
        if self.capacity == 0 {
            return;
        }
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= self.capacity {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(place);
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
    fn with_no_room_nothing_is_remembered() {
        let verified = Verified::new(0);
        verified.insert(place(1));
        assert!(!verified.contains(&place(1)));
    }
}
