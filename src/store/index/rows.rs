//! Rows of the index in memory, in front of sled: a look-up here costs a tenth of one there, and a PUT asks for the
//! same few rows again and again (token, accounts, package, version; the file's row in each of its steps).
//!
//! Exact, not merely fresh: whoever writes a row changes it here before the write returns, and a look-up that was
//! overtaken by a write is not kept. So a token is gone from here when its revocation is answered.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use super::tree::Value;
use crate::store::metrics;

/// Parts with a lock each.
const SHARDS: usize = 16;
/// What a row takes beside its key and value, in bytes: allocations and its place in the table.
const OVERHEAD: usize = 128;

/// Rows that were asked for recently, and absences, which are remembered like rows.
#[derive(Debug)]
pub struct Rows {
    shards: Vec<Mutex<Shard>>,
    /// Bytes of one generation of one shard.
    generation: usize,
    hasher: RandomState,
}

/// What is known of a key.
pub enum Known {
    /// Its value, or that it has none.
    Row(Option<Value>),
    /// Nothing. The stamp goes with the answer of the tree to [`Rows::keep`].
    Nothing(Stamp),
}

/// The state of a shard when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

type Generation = HashMap<Box<[u8]>, Option<Value>, RandomState>;

/// What was asked for since the younger generation was begun is in it; the older is dropped whole when that is full.
#[derive(Debug, Default)]
struct Shard {
    young: Generation,
    young_bytes: usize,
    old: Generation,
    /// Writes so far.
    writes: u64,
}

impl Rows {
    /// At most `capacity` bytes of rows.
    pub fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Rows {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            generation: capacity / SHARDS / 2,
            hasher: RandomState::default(),
        }
    }

    /// The hash of a key, as long as these rows live.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// What makes the hashes of [`Rows::hash`].
    pub fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// What is known of a key.
    pub fn get(&self, key: &[u8]) -> Known {
        let mut shard = self.shard(key);
        let known = shard.young.get(key).cloned();
        if let Some(row) = known {
            metrics::index_lookup(true);
            return Known::Row(row);
        }
        let Some((key, row)) = shard.old.remove_entry(key) else {
            metrics::index_lookup(false);
            return Known::Nothing(Stamp(shard.writes));
        };
        let dropped = shard.insert(key, row.clone(), self.generation);
        drop(shard);
        drop(dropped);
        metrics::index_lookup(true);
        Known::Row(row)
    }

    /// Keeps what the tree has answered, unless the shard has been written to since it was asked.
    pub fn keep(&self, key: &[u8], row: Option<Value>, stamp: Stamp) {
        let mut shard = self.shard(key);
        if Stamp(shard.writes) != stamp {
            return;
        }
        let dropped = shard.insert(key.into(), row, self.generation);
        // Not under the lock: there may be thousands of rows in it.
        drop(shard);
        drop(dropped);
    }

    /// A row has been written. It is kept, as what was stored is often asked for soon; the absence of one that nobody
    /// has asked for is not.
    pub fn written(&self, key: &[u8], row: Option<Value>) {
        let mut shard = self.shard(key);
        shard.writes += 1;
        if let Some(known) = shard.young.get_mut(key) {
            let len = |row: &Option<Value>| row.as_ref().map_or(0, |row| row.len());
            let (before, after) = (len(known), len(&row));
            *known = row;
            shard.young_bytes = shard.young_bytes + after - before;
            return;
        }
        let known = shard.old.remove_entry(key).map(|(key, _)| key);
        if let Some(key) = known.or_else(|| row.is_some().then(|| key.into())) {
            let dropped = shard.insert(key, row, self.generation);
            drop(shard);
            drop(dropped);
        }
    }

    /// A write has failed: nobody knows what the row is.
    pub fn forget(&self, key: &[u8]) {
        let mut shard = self.shard(key);
        shard.writes += 1;
        shard.young.remove(key);
        shard.old.remove(key);
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let shard = self.hash(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Adds a row; returns the generation that had to go for it.
    fn insert(&mut self, key: Box<[u8]>, row: Option<Value>, limit: usize) -> Option<Generation> {
        let bytes = OVERHEAD + key.len() + row.as_ref().map_or(0, |row| row.len());
        if bytes > limit {
            return None;
        }
        let full = self.young_bytes + bytes > limit;
        let dropped = full.then(|| {
            self.young_bytes = 0;
            std::mem::replace(&mut self.old, std::mem::take(&mut self.young))
        });
        self.young_bytes += bytes;
        self.young.insert(key, row);
        dropped
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Value> {
        Some(text.as_bytes().into())
    }

    fn row(rows: &Rows, key: &[u8]) -> Option<Option<Value>> {
        match rows.get(key) {
            Known::Row(row) => Some(row),
            Known::Nothing(_) => None,
        }
    }

    fn stamp(rows: &Rows, key: &[u8]) -> Stamp {
        match rows.get(key) {
            Known::Nothing(stamp) => stamp,
            Known::Row(row) => panic!("{row:?}"),
        }
    }

    #[test]
    fn a_write_is_known_and_a_removal_where_the_row_was() {
        let rows = Rows::new(1 << 20);
        rows.written(b"new", value("1"));
        assert_eq!(row(&rows, b"new"), Some(value("1")));
        rows.written(b"k", None);
        assert_eq!(row(&rows, b"k"), None);
        rows.keep(b"k", None, stamp(&rows, b"k"));
        assert_eq!(row(&rows, b"k"), Some(None));
        rows.written(b"k", value("2"));
        assert_eq!(row(&rows, b"k"), Some(value("2")));
        rows.written(b"k", None);
        assert_eq!(row(&rows, b"k"), Some(None));
        rows.forget(b"k");
        assert_eq!(row(&rows, b"k"), None);
    }

    #[test]
    fn an_answer_that_a_write_overtook_is_not_kept() {
        let rows = Rows::new(1 << 20);
        for overtake in [Rows::forget as fn(&Rows, &[u8]), |rows, key| {
            rows.written(key, value("new"));
        }] {
            let asked = stamp(&rows, b"k");
            overtake(&rows, b"k");
            rows.keep(b"k", value("old"), asked);
            assert_ne!(row(&rows, b"k"), Some(value("old")));
        }
    }

    #[test]
    fn the_recent_rows_are_known_and_the_rest_bounded() {
        const CAPACITY: usize = 256 << 10;
        let rows = Rows::new(CAPACITY as u64);
        for number in 0..10_000_u32 {
            let key = number.to_be_bytes();
            rows.keep(&key, value("a value"), stamp(&rows, &key));
            assert!(row(&rows, &key).is_some());
            // Asked for all the time, so never forgotten.
            if row(&rows, b"hot").is_none() {
                assert_eq!(number, 0);
                rows.keep(b"hot", value("hot"), stamp(&rows, b"hot"));
            }
        }
        let known = (0..10_000_u32)
            .filter(|number| row(&rows, &number.to_be_bytes()).is_some())
            .count();
        assert!((200..CAPACITY / OVERHEAD).contains(&known), "{known}");
    }
}
