//! The changes of one journal group, seen together before they are in the index.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::{Index, decode};
use super::keys::{self, Key};
use super::sum;
use crate::store::error::StoreError;

/// Changes over an index: later reads see them, the index does not until [`Batch::write`].
#[derive(Debug)]
pub struct Batch<'a> {
    index: &'a Index,
    changes: BTreeMap<Key, Written>,
    sum: u128,
}

/// What is to be written to a key.
#[derive(Debug)]
struct Written {
    /// `None`: it is to be removed.
    value: Option<Vec<u8>>,
    /// The index has no value for it.
    is_new: bool,
}

impl<'a> Batch<'a> {
    /// No changes yet over an index whose running sum is `sum`.
    pub fn new(index: &'a Index, sum: u128) -> Self {
        Batch {
            index,
            changes: BTreeMap::new(),
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
            Some(written) => written.value.as_deref().map(decode).transpose(),
            None => self.index.get_as(key),
        }
    }

    /// Whether a key has a value, these changes included.
    pub fn contains(&self, key: &[u8]) -> Result<bool, StoreError> {
        match self.changes.get(key) {
            Some(written) => Ok(written.value.is_some()),
            None => Ok(self.index.get(key)?.is_some()),
        }
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
        let (old, is_new) = match self.changes.get(&key) {
            Some(written) => (written.value.clone(), written.is_new),
            None => {
                let old = self.index.get(&key)?.map(|old| old.to_vec());
                let is_new = old.is_none();
                (old, is_new)
            }
        };
        if old == value {
            return Ok(());
        }
        if let Some(old) = &old {
            self.sum = self.sum.wrapping_sub(sum::entry(&key, old));
        }
        if let Some(value) = &value {
            self.sum = self.sum.wrapping_add(sum::entry(&key, value));
        }
        self.changes.insert(key, Written { value, is_new });
        Ok(())
    }

    /// What these changes add to the sum of the entries whose keys are not behind `last`. Asks the index, so it is
    /// right until they are written.
    pub fn sum_of_changes_through(&self, last: &[u8]) -> Result<u128, StoreError> {
        let mut change = 0_u128;
        for (key, Written { value, .. }) in self.changes.range::<[u8], _>((Unbounded, Included(last))) {
            if let Some(old) = self.index.get(key)? {
                change = change.wrapping_sub(sum::entry(key, &old));
            }
            if let Some(value) = value {
                change = change.wrapping_add(sum::entry(key, value));
            }
        }
        Ok(change)
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
                    .filter(|(_, written)| written.value.is_some())
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
        changes.sort_by_key(|(key, written)| match written.value {
            None => (0, u8::MAX - keys::rank(key)),
            Some(_) => (1, keys::rank(key)),
        });
        for (key, written) in &changes {
            match &written.value {
                Some(value) if written.is_new => self.index.add(key, value)?,
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
}
