//! The changes of one journal group, seen together before they are in the index.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef::{Occupied, Vacant};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::{Index, decode};
use super::keys::{self, Key};
use super::sum;
use super::tree::Value;
use crate::store::error::StoreError;

/// Changes over an index: later reads see them, the index does not until [`Batch::write`].
#[derive(Debug)]
pub struct Batch<'a> {
    index: &'a Index,
    changes: BTreeMap<Key, Changed>,
    /// What the index has answered: whoever stages a change looks at a row before it writes it, and a group asks for the
    /// same package many times. Only one thread writes to the index, and not while there is a batch.
    stored: RefCell<HashMap<Key, Option<Value>, RandomState>>,
    sum: u128,
}

/// A change to a row.
#[derive(Debug)]
struct Changed {
    value: Option<Vec<u8>>,
    /// The index has no value for the key.
    is_new: bool,
    /// What it adds to the sum of the index as that stands.
    sum: u128,
}

impl<'a> Batch<'a> {
    /// No changes yet over an index whose running sum is `sum`.
    pub fn new(index: &'a Index, sum: u128) -> Self {
        Batch {
            index,
            changes: BTreeMap::new(),
            stored: RefCell::default(),
            sum,
        }
    }

    /// The running sum with these changes.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The value of a key, these changes included.
    pub fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        match self.changes.get(key) {
            Some(changed) => changed.value.as_deref().map(decode).transpose(),
            None => self
                .stored(key, |value| value.map(|value| decode(value)).transpose())?
                .inspect_err(|error| self.index.fail(&error.to_string())),
        }
    }

    /// Whether a key has a value, these changes included.
    pub fn contains(&self, key: &[u8]) -> Result<bool, StoreError> {
        match self.changes.get(key) {
            Some(changed) => Ok(changed.value.is_some()),
            None => self.stored(key, |value| value.is_some()),
        }
    }

    /// Looks at what the index has for a key.
    fn stored<T>(&self, key: &[u8], look: impl FnOnce(Option<&Value>) -> T) -> Result<T, StoreError> {
        match self.stored.borrow_mut().entry_ref(key) {
            Occupied(known) => Ok(look(known.get().as_ref())),
            Vacant(unknown) => {
                let value = self.index.get(key)?;
                Ok(look(unknown.insert(value).as_ref()))
            }
        }
    }

    /// The index has nothing for a key, as its caller knows for certain.
    pub fn assume_absent(&mut self, key: Key) {
        self.stored.get_mut().insert(key, None);
    }

    /// Writes a value.
    pub fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<(), StoreError> {
        let value = postcard::to_stdvec(value)
            .map_err(|error| StoreError::Index(format!("a value does not encode: {error}")))?;
        self.set(key, Some(value))
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.set(key, None)
    }

    fn set(&mut self, key: Key, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let asked;
        let changed = self.changes.get_mut(&key);
        let old = match (&changed, self.stored.get_mut().get(&key)) {
            (Some(changed), _) => changed.value.as_deref(),
            (None, Some(old)) => old.as_deref(),
            (None, None) => {
                asked = self.index.get(&key)?;
                asked.as_deref()
            }
        };
        if old == value.as_deref() {
            return Ok(());
        }
        let is_new = old.is_none();
        let entry = |value: Option<&[u8]>| value.map_or(0, |value| sum::entry(&key, value));
        let sum = entry(value.as_deref()).wrapping_sub(entry(old));
        self.sum = self.sum.wrapping_add(sum);
        match changed {
            Some(changed) => {
                changed.value = value;
                changed.sum = changed.sum.wrapping_add(sum);
            }
            None => drop(self.changes.insert(key, Changed { value, is_new, sum })),
        }
        Ok(())
    }

    /// What these changes add to the sum of the entries whose keys are not behind `last`.
    pub fn sum_of_changes_through(&self, last: &[u8]) -> u128 {
        let changes = self.changes.range::<[u8], _>((Unbounded, Included(last)));
        changes.fold(0, |sum, (_, changed)| sum.wrapping_add(changed.sum))
    }

    /// Up to `limit` keys that begin with `prefix`, in order, these changes included.
    pub fn keys(&self, prefix: &[u8], limit: usize) -> Result<Vec<Key>, StoreError> {
        let changed = |key: &&Key| key.starts_with(prefix);
        let gone = self
            .changes
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| changed(key))
            .count();
        let stored = self.index.scan(prefix, None, limit.saturating_add(gone))?;
        let mut keys: Vec<Key> = stored
            .into_iter()
            .map(|(key, _)| key.to_vec())
            .filter(|key| !self.changes.contains_key(key))
            .chain(
                self.changes
                    .range(prefix.to_vec()..)
                    .take_while(|(key, _)| changed(key))
                    .filter(|(_, changed)| changed.value.is_some())
                    .map(|(key, _)| key.clone()),
            )
            .collect();
        keys.sort_unstable();
        keys.truncate(limit);
        Ok(keys)
    }

    /// Writes the changes to the index: removals first, names before what is behind them; then what is new, names
    /// last. Single inserts, because sled's batches lock every reader of the process out.
    pub fn write(self) -> Result<(), StoreError> {
        let mut changes: Vec<_> = self.changes.into_iter().collect();
        changes.sort_by_key(|(key, changed)| match changed.value {
            None => (0, u8::MAX - keys::rank(key)),
            Some(_) => (1, keys::rank(key)),
        });
        for (key, changed) in &changes {
            match &changed.value {
                Some(value) if changed.is_new => self.index.add(key, value)?,
                value => self.index.set(key, value.as_deref())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), 1 << 20).unwrap();
        (dir, index)
    }

    fn scanned_sum(index: &Index) -> u128 {
        let entries = index.scan(b"", None, usize::MAX).unwrap();
        entries
            .iter()
            .fold(0, |sum, (key, value)| sum.wrapping_add(sum::entry(key, value)))
    }

    #[test]
    fn the_sum_is_that_of_a_scan() {
        let (_dir, index) = index();
        let mut batch = Batch::new(&index, 0);
        batch.put(b"a1".to_vec(), &1u32).unwrap();
        batch.put(b"a2".to_vec(), &2u32).unwrap();
        let sum = batch.sum();
        batch.write().unwrap();
        let mut batch = Batch::new(&index, sum);
        batch.put(b"a1".to_vec(), &3u32).unwrap();
        batch.remove(b"a2".to_vec()).unwrap();
        batch.put(b"a4".to_vec(), &4u32).unwrap();
        batch.remove(b"a4".to_vec()).unwrap();
        batch.remove(b"never".to_vec()).unwrap();
        let sum = batch.sum();
        batch.write().unwrap();
        assert_eq!(sum, scanned_sum(&index));
        assert_ne!(sum, 0);
    }

    #[test]
    fn keys_see_the_batch() {
        let (_dir, index) = index();
        let mut batch = Batch::new(&index, 0);
        batch.put(b"k1".to_vec(), &()).unwrap();
        batch.put(b"k2".to_vec(), &()).unwrap();
        batch.write().unwrap();
        let mut batch = Batch::new(&index, 0);
        batch.remove(b"k1".to_vec()).unwrap();
        batch.put(b"k0".to_vec(), &()).unwrap();
        assert_eq!(batch.keys(b"k", 9).unwrap(), [b"k0".to_vec(), b"k2".to_vec()]);
        assert_eq!(batch.keys(b"k", 1).unwrap(), [b"k0".to_vec()]);
    }

    #[test]
    fn what_the_index_said_is_not_asked_for_again() {
        let (_dir, index) = index();
        let mut batch = Batch::new(&index, 0);
        batch.put(b"k1".to_vec(), &1u32).unwrap();
        batch.put(b"k2".to_vec(), &2u32).unwrap();
        let sum = batch.sum();
        batch.write().unwrap();
        let mut batch = Batch::new(&index, sum);
        assert_eq!(batch.get::<u32>(b"k1").unwrap(), Some(1));
        assert!(batch.contains(b"k2").unwrap());
        assert!(!batch.contains(b"k3").unwrap());
        index.fail("by a test");
        assert_eq!(batch.get::<u32>(b"k2").unwrap(), Some(2));
        assert_eq!(batch.get::<u32>(b"k3").unwrap(), None);
        batch.put(b"k1".to_vec(), &1u32).unwrap();
        batch.put(b"k3".to_vec(), &3u32).unwrap();
        batch.remove(b"k2".to_vec()).unwrap();
        assert_eq!(batch.get::<u32>(b"k3").unwrap(), Some(3));
        assert_eq!(batch.changes.len(), 2, "k1 is as it was");
        assert!(batch.contains(b"k4").is_err(), "nobody has asked for that before");
    }

    #[test]
    fn a_row_that_does_not_decode_fails_the_index() {
        let (_dir, index) = index();
        index.set(b"k1", Some(b"\xff")).unwrap();
        let batch = Batch::new(&index, 0);
        assert!(batch.get::<String>(b"k1").is_err());
        assert!(index.failure().is_some());
    }
}
