//! What was found good recently: places of chunks, and bytes of small ones.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

/// What was found good is forgotten after this at the latest, and not before half of it: what is asked for again and
/// again is verified again and again.
const RECENT: Duration = Duration::from_secs(60);

/// Remembers what was found good, for a while and in bounded memory: at least the last half of its capacity.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    generations: Mutex<Generations<K, V>>,
    /// What one generation may weigh.
    capacity: usize,
}

type Generation<K, V> = HashMap<K, V, RandomState>;

/// The older one is dropped whole when the younger one is full, or old itself.
#[derive(Debug)]
struct Generations<K, V> {
    young: Generation<K, V>,
    old: Generation<K, V>,
    /// Of the younger one.
    weight: usize,
    /// When the younger one began.
    began: Instant,
}

impl<K, V> Generations<K, V> {
    /// Begins the next one; what has to go for it.
    fn next(&mut self, now: Instant) -> Generation<K, V> {
        self.weight = 0;
        self.began = now;
        std::mem::replace(&mut self.old, std::mem::take(&mut self.young))
    }

    /// Forgets what is too old, which is returned.
    fn age(&mut self, now: Instant) -> [Generation<K, V>; 2] {
        let age = now.saturating_duration_since(self.began);
        let first = if age >= RECENT / 2 {
            self.next(now)
        } else {
            HashMap::default()
        };
        let second = if age >= RECENT {
            std::mem::take(&mut self.old)
        } else {
            HashMap::default()
        };
        [first, second]
    }
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// What is remembered weighs at most `capacity`; with 0 it is nothing.
    pub fn new(capacity: usize) -> Self {
        Recent {
            generations: Mutex::new(Generations {
                young: HashMap::default(),
                old: HashMap::default(),
                weight: 0,
                began: Instant::now(),
            }),
            capacity: capacity / 2,
        }
    }

    /// What is remembered of this.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get_at(key, Instant::now())
    }

    fn get_at<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut generations = self.lock();
        let gone = generations.age(now);
        let found = generations
            .young
            .get(key)
            .or_else(|| generations.old.get(key))
            .cloned();
        // Not under the lock: there may be thousands of them.
        drop(generations);
        drop(gone);
        found
    }

    /// Remembers it from now on.
    pub fn insert(&self, key: K, value: V, weight: usize) {
        if weight > self.capacity {
            return;
        }
        let now = Instant::now();
        let mut generations = self.lock();
        let gone = generations.age(now);
        let full = generations.weight + weight > self.capacity;
        let more = full.then(|| generations.next(now));
        generations.weight += weight;
        generations.young.insert(key, value);
        drop(generations);
        drop((gone, more));
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_half_is_remembered_and_the_rest_bounded() {
        for (capacity, weight) in [(8, 1), (800, 100)] {
            let recent = Recent::new(capacity);
            for number in 0..100_u64 {
                recent.insert(number, (), weight);
                assert!((number.saturating_sub(3)..=number).all(|last| recent.get(&last).is_some()));
            }
            let remembered = (0..100).filter(|number| recent.get(number).is_some()).count();
            assert!(remembered <= 8, "{remembered} are remembered");
        }
    }

    #[test]
    fn what_was_found_good_long_ago_is_forgotten() {
        let recent = Recent::new(8);
        recent.insert(1, (), 1);
        let known = |after: Duration| recent.get_at(&1, Instant::now() + after).is_some();
        assert!(known(RECENT / 3));
        assert!(
            known(RECENT / 2),
            "the younger generation has become the older one"
        );
        assert!(!known(RECENT + Duration::from_secs(1)));
        recent.insert(2, (), 1);
        assert!(recent.get(&2).is_some());
    }

    #[test]
    fn nothing_is_remembered_over_a_long_pause() {
        let recent = Recent::new(8);
        recent.insert(1, (), 1);
        assert!(recent.get_at(&1, Instant::now() + 2 * RECENT).is_none());
    }

    #[test]
    fn what_weighs_too_much_is_not_remembered() {
        let nothing = Recent::new(0);
        nothing.insert(1, (), 1);
        assert!(nothing.get(&1).is_none());
        let little = Recent::new(100);
        little.insert(1, "small", 50);
        little.insert(2, "large", 51);
        assert_eq!((little.get(&1), little.get(&2)), (Some("small"), None));
    }
}
