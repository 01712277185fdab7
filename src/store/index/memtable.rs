//! The rows that were written last, in memory until they become a run.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::block::Row;
use super::digests::{Digests, digest};
use super::keys::Key;
use super::rows::Hashed;
use super::span::{Order, Span};
use super::tree::Value;

/// What a row takes beside its key and value, in bytes.
const OVERHEAD: usize = 64;

/// Rows written; `None`: removed, whatever older runs say.
#[derive(Debug, Default)]
pub struct Memtable {
    named: BTreeMap<Box<[u8]>, Option<Value>>,
    /// The hashes of their keys. Most look-ups are for keys that are not there, and a hash is found out with one look at
    /// memory where a tree of many thousand rows takes a dozen.
    hashes: HashTable<u64>,
    digests: Digests,
    bytes: usize,
}

impl Memtable {
    /// What was written to a key, if anything.
    pub fn get(&self, key: Hashed<'_>) -> Option<&Option<Value>> {
        match digest(key.key()) {
            Some(digest) => self.digests.get(key, digest),
            None => match self.may_be_named(key.hash()) {
                true => self.named.get(key.key()),
                false => None,
            },
        }
    }

    /// Whether a key with this hash has been written that is no digest.
    fn may_be_named(&self, hash: u64) -> bool {
        self.hashes.find(hash, |known| *known == hash).is_some()
    }

    /// Writes or removes a key.
    pub fn set(&mut self, key: Hashed<'_>, value: Option<Value>) {
        let len = value.as_ref().map_or(0, |value| value.len());
        let replaced = match digest(key.key()) {
            Some(digest) => self.digests.set(key, digest, value),
            None => match self
                .hashes
                .entry(key.hash(), |known| *known == key.hash(), |known| *known)
            {
                Entry::Vacant(unknown) => {
                    unknown.insert(key.hash());
                    self.named.insert(key.key().into(), value)
                }
                Entry::Occupied(_) => match self.named.get_mut(key.key()) {
                    Some(known) => Some(std::mem::replace(known, value)),
                    None => self.named.insert(key.key().into(), value),
                },
            },
        };
        self.bytes += len;
        self.bytes -= match replaced {
            Some(value) => value.map_or(0, |value| value.len()),
            None => {
                self.bytes += OVERHEAD + key.key().len();
                0
            }
        };
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.named.len() + self.digests.len()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Up to `limit` rows of a span, in this order, and whether there are more.
    pub fn rows(&self, span: &Span, order: Order, limit: usize) -> (Vec<(Key, Option<Value>)>, bool) {
        if span.is_empty() {
            return (Vec::new(), false);
        }
        let range = self
            .named
            .range::<[u8], _>((Included(span.start.as_slice()), Excluded(span.end.as_slice())))
            .map(|(key, value)| (&**key, value));
        let enough = limit.saturating_add(1);
        let mut rows: Vec<_> = match order {
            Order::Forward => range.take(enough).collect(),
            Order::Backward => range.rev().take(enough).collect(),
        };
        let digests = self.digests.rows(span, order, enough);
        if !digests.is_empty() {
            rows.extend(digests);
            // Stable: it finds out that these are two sequences in order.
            rows.sort_by(|(one, _), (other, _)| match order {
                Order::Forward => one.cmp(other),
                Order::Backward => other.cmp(one),
            });
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let owned = rows.into_iter().map(|(key, value)| (key.to_vec(), value.clone()));
        (owned.collect(), more)
    }

    /// All rows, in order.
    pub fn sorted(&self) -> Vec<Row<'_>> {
        let named = self.named.iter().map(|(key, value)| (&**key, value));
        let digests = self.digests.rows(&Span::of(b""), Order::Forward, usize::MAX);
        let mut rows: Vec<_> = named
            .chain(digests)
            .map(|(key, value)| Row {
                key,
                value: value.as_deref(),
            })
            .collect();
        // Stable, as above.
        rows.sort_by_key(|row| row.key);
        rows
    }
}
