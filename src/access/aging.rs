//! A bounded map that forgets what was not touched for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Entries die `lifetime` after their last touch; in a full map the one touched longest ago makes room.
pub(super) struct Aging<K, V> {
    entries: HashMap<K, Aged<V>>,
    capacity: usize,
    lifetime: Duration,
}

/// A value and when it was last touched.
pub(super) struct Aged<V> {
    pub(super) value: V,
    pub(super) touched: Instant,
}

impl<V> Aged<V> {
    fn lives(&self, lifetime: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.touched) < lifetime
    }
}

impl<K: Copy + Eq + Hash, V> Aging<K, V> {
    /// An empty map for at most `capacity` entries.
    pub(super) fn new(capacity: usize, lifetime: Duration) -> Self {
        Aging {
            entries: HashMap::new(),
            capacity,
            lifetime,
        }
    }

    /// The entry, unless it has died. Does not touch it.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<&Aged<V>> {
        self.entries
            .get(key)
            .filter(|entry| entry.lives(self.lifetime, now))
    }

    /// Sets and touches an entry. A new one may cost a walk over the map, which is why only what follows a password
    /// verification (thousands of times dearer) is kept in one.
    pub(super) fn put(&mut self, key: K, value: V, now: Instant) {
        if !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        self.entries.insert(key, Aged { value, touched: now });
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// How many there are, the dead included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.capacity {
            return;
        }
        self.entries.retain(|_, entry| entry.lives(self.lifetime, now));
        if self.entries.len() < self.capacity {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.touched);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_entry_lives_its_lifetime_after_the_last_touch() {
        let start = Instant::now();
        let mut map = Aging::new(4, 5 * SECOND);
        map.put(1, 'a', start);
        assert!(map.get(&1, start + 4 * SECOND).is_some());
        assert!(map.get(&1, start + 5 * SECOND).is_none());
        map.put(1, 'b', start + 4 * SECOND);
        assert_eq!(
            map.get(&1, start + 8 * SECOND).map(|entry| entry.value),
            Some('b')
        );
        map.remove(&1);
        assert!(map.get(&1, start + 4 * SECOND).is_none());
    }

    #[test]
    fn a_full_map_drops_the_one_touched_longest_ago() {
        let start = Instant::now();
        let mut map = Aging::new(3, 100 * SECOND);
        for key in 0..3 {
            map.put(key, (), start + key * SECOND);
        }
        map.put(0, (), start + 3 * SECOND);
        map.put(9, (), start + 4 * SECOND);
        let now = start + 5 * SECOND;
        let kept: Vec<u32> = (0..10).filter(|key| map.get(key, now).is_some()).collect();
        assert_eq!(kept, [0, 2, 9]);
        assert_eq!(map.entries.len(), 3);
    }

    #[test]
    fn the_dead_make_room_first() {
        let start = Instant::now();
        let mut map = Aging::new(2, 10 * SECOND);
        map.put(1, (), start);
        map.put(2, (), start + 9 * SECOND);
        map.put(3, (), start + 10 * SECOND);
        assert_eq!(map.entries.len(), 2);
        assert!(map.get(&2, start + 10 * SECOND).is_some());
    }
}
