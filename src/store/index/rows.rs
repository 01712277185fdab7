//! Rows of the index in memory, in front of sled: a look-up here costs a tenth of one there, and a PUT asks for the
//! same few rows again and again (token, accounts, package, version; the file's row in each of its steps).
//!
//! Exact, not merely fresh: whoever writes a row changes it here before the write returns, and a look-up that was
//! overtaken by a write is not kept. So a token is gone from here when its revocation is answered.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::FixedState;

use super::changes::Changes;
use super::generations::{Dropped, Entry, Generations};
use super::tree::Value;
use crate::store::metrics;

/// Parts with a lock each.
const SHARDS: usize = 16;
/// What a row takes beside its key and value, in bytes: allocations and its place in the table.
const OVERHEAD: usize = 128;

/// Rows that were asked for recently, and absences, which are remembered like rows.
///
/// A key comes with its hash, so that it is hashed once for whatever is asked about it.
#[derive(Debug)]
pub struct Rows {
    shards: Vec<Mutex<Shard>>,
    /// Bytes of one generation of one shard.
    generation: usize,
    hasher: FixedState,
    changes: Changes,
}

/// A key and its hash, see [`Rows::hashed`].
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'a> {
    key: &'a [u8],
    hash: u64,
}

impl<'a> Hashed<'a> {
    /// The key.
    pub fn key(self) -> &'a [u8] {
        self.key
    }

    /// The hash.
    pub fn hash(self) -> u64 {
        self.hash
    }
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

#[derive(Debug)]
struct Row {
    hash: u64,
    key: Box<[u8]>,
    value: Option<Value>,
}

impl Row {
    fn is(&self, key: Hashed<'_>) -> bool {
        self.hash == key.hash && *self.key == *key.key
    }
}

impl Entry for Row {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

#[derive(Debug, Default)]
struct Shard {
    rows: Generations<Row>,
    /// Writes so far.
    writes: u64,
}

impl Shard {
    /// Works on the row, if it is known.
    fn with<R>(
        &mut self,
        key: Hashed<'_>,
        limit: usize,
        work: impl FnOnce(&mut Row) -> R,
    ) -> (Option<R>, Dropped<Row>) {
        self.rows.with(key.hash, |row| row.is(key), limit, work)
    }
}

impl Rows {
    /// At most `capacity` bytes of rows, whose keys are hashed by this.
    pub fn new(capacity: u64, hasher: FixedState) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Rows {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            generation: capacity / SHARDS / 2,
            hasher,
            changes: Changes::default(),
        }
    }

    /// A key with its hash, which stays the same as long as these rows live.
    pub fn hashed<'a>(&self, key: &'a [u8]) -> Hashed<'a> {
        let hash = self.hasher.hash_one(key);
        Hashed { key, hash }
    }

    /// What is known of a key.
    pub fn get(&self, key: Hashed<'_>) -> Known {
        let mut shard = self.shard(key);
        let (known, dropped) = shard.with(key, self.generation, |row| row.value.clone());
        let stamp = Stamp(shard.writes);
        // Not under the lock: there may be thousands of rows in it.
        drop(shard);
        drop(dropped);
        metrics::index_lookup(known.is_some());
        known.map_or(Known::Nothing(stamp), Known::Row)
    }

    /// Keeps what the tree has answered, unless the shard has been written to since it was asked.
    pub fn keep(&self, key: Hashed<'_>, value: Option<Value>, stamp: Stamp) {
        let mut shard = self.shard(key);
        if Stamp(shard.writes) != stamp {
            return;
        }
        // Another look-up may have kept the same meanwhile.
        let (known, mut dropped) = shard.with(key, self.generation, |_| ());
        if known.is_none() {
            dropped = shard.rows.insert(row(key, value), self.generation);
        }
        drop(shard);
        drop(dropped);
    }

    /// A row has been written. It is kept, as what was stored is often asked for soon; the absence of one that nobody
    /// has asked for is not. `is_new`: there was none, so that nobody can have put anything together from it.
    pub fn written(&self, key: Hashed<'_>, value: Option<Value>, is_new: bool) {
        // Taken by the row that is known, if one is.
        let mut value = Some(value);
        let mut shard = self.shard(key);
        shard.writes += 1;
        let (replaced, mut dropped) = shard.with(key, self.generation, |row| {
            std::mem::replace(&mut row.value, value.take().flatten())
        });
        if let Some(value @ Some(_)) = value {
            dropped = shard.rows.insert(row(key, value), self.generation);
        }
        drop(shard);
        drop((replaced, dropped));
        if !is_new {
            self.changes.changed(key);
        }
    }

    /// A write has failed: nobody knows what the row is.
    pub fn forget(&self, key: Hashed<'_>) {
        let mut shard = self.shard(key);
        shard.writes += 1;
        let known = shard.rows.remove(key.hash, |row| row.is(key));
        drop(shard);
        drop(known);
        self.changes.changed(key);
    }

    /// Which rows change: whoever puts something together from rows takes a stamp of each before looking at it.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The tables choose by the lowest bits of the hash and tell rows apart by the highest: neither may be the same
    /// for all rows of a shard.
    fn shard(&self, key: Hashed<'_>) -> MutexGuard<'_, Shard> {
        let shard = (key.hash >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(key: Hashed<'_>, value: Option<Value>) -> Row {
    Row {
        hash: key.hash,
        key: key.key.into(),
        value,
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
        match rows.get(rows.hashed(key)) {
            Known::Row(row) => Some(row),
            Known::Nothing(_) => None,
        }
    }

    fn stamp(rows: &Rows, key: &[u8]) -> Stamp {
        match rows.get(rows.hashed(key)) {
            Known::Nothing(stamp) => stamp,
            Known::Row(row) => panic!("{row:?}"),
        }
    }

    #[test]
    fn a_write_is_known_and_a_removal_where_the_row_was() {
        let rows = Rows::new(1 << 20, FixedState::with_seed(1));
        rows.written(rows.hashed(b"new"), value("1"), false);
        assert_eq!(row(&rows, b"new"), Some(value("1")));
        rows.written(rows.hashed(b"k"), None, false);
        assert_eq!(row(&rows, b"k"), None);
        rows.keep(rows.hashed(b"k"), None, stamp(&rows, b"k"));
        assert_eq!(row(&rows, b"k"), Some(None));
        rows.written(rows.hashed(b"k"), value("2"), false);
        assert_eq!(row(&rows, b"k"), Some(value("2")));
        rows.written(rows.hashed(b"k"), None, false);
        assert_eq!(row(&rows, b"k"), Some(None));
        rows.forget(rows.hashed(b"k"));
        assert_eq!(row(&rows, b"k"), None);
    }

    #[test]
    fn an_answer_that_a_write_overtook_is_not_kept() {
        let rows = Rows::new(1 << 20, FixedState::with_seed(1));
        for overtake in [
            (|rows, key| rows.forget(rows.hashed(key))) as fn(&Rows, &[u8]),
            |rows, key| {
                rows.written(rows.hashed(key), value("new"), false);
            },
        ] {
            let asked = stamp(&rows, b"k");
            overtake(&rows, b"k");
            rows.keep(rows.hashed(b"k"), value("old"), asked);
            assert_ne!(row(&rows, b"k"), Some(value("old")));
        }
    }

    #[test]
    fn the_recent_rows_are_known_and_the_rest_bounded() {
        const CAPACITY: usize = 256 << 10;
        let rows = Rows::new(CAPACITY as u64, FixedState::with_seed(1));
        for number in 0..10_000_u32 {
            let key = number.to_be_bytes();
            rows.keep(rows.hashed(&key), value("a value"), stamp(&rows, &key));
            assert!(row(&rows, &key).is_some());
            // Asked for all the time, so never forgotten.
            if row(&rows, b"hot").is_none() {
                assert_eq!(number, 0);
                rows.keep(rows.hashed(b"hot"), value("hot"), stamp(&rows, b"hot"));
            }
        }
        let known = (0..10_000_u32)
            .filter(|number| row(&rows, &number.to_be_bytes()).is_some())
            .count();
        assert!((200..CAPACITY / OVERHEAD).contains(&known), "{known}");
    }
}
