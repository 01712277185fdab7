//! The rows of a memtable whose keys are digests. Such keys come in no order, so they are hashed; they are put in order
//! only where somebody goes through them, and there only those of a few parts.

use hashbrown::HashTable;

use super::keys::{DIGEST_KINDS, DIGEST_LEN};
use super::rows::Hashed;
use super::span::{Order, Span};
use super::tree::Value;

/// Parts of one kind: one for each first byte of a digest. So whoever goes through a hundred thousand rows in steps looks
/// at a few hundred in each.
const PARTS: usize = 256;

/// Key and value of a row; `None`: removed.
pub type RowOf<'a> = (&'a [u8], &'a Option<Value>);

/// Rows by the kind and the first byte of their digest, in this order.
#[derive(Debug)]
pub struct Digests {
    parts: Box<[HashTable<Row>]>,
    len: usize,
}

#[derive(Debug)]
struct Row {
    hash: u64,
    key: [u8; DIGEST_LEN],
    value: Option<Value>,
}

impl Default for Digests {
    fn default() -> Self {
        let parts = DIGEST_KINDS.len() * PARTS;
        Digests {
            parts: (0..parts).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }
}

/// The part that has `key`, or, where none can, the first one behind it; there may be none.
fn part_at(key: &[u8]) -> usize {
    let Some(kind) = key.first() else { return 0 };
    let number = DIGEST_KINDS.partition_point(|other| other < kind);
    let first = match DIGEST_KINDS.get(number) == Some(kind) {
        true => key.get(1).copied().unwrap_or_default(),
        false => 0,
    };
    number * PARTS + usize::from(first)
}

/// A key that is a digest, as it is.
pub fn digest(key: &[u8]) -> Option<&[u8; DIGEST_LEN]> {
    let kind = key.first()?;
    DIGEST_KINDS.contains(kind).then(|| key.try_into().ok())?
}

impl Digests {
    /// Rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// What was written to a digest, if anything. `key` is that digest.
    pub fn get(&self, key: Hashed<'_>, digest: &[u8; DIGEST_LEN]) -> Option<&Option<Value>> {
        let row = self.parts[part_at(digest)].find(key.hash(), |row| row.key == *digest)?;
        Some(&row.value)
    }

    /// Writes or removes a digest. What was written to it before, if anything.
    pub fn set(
        &mut self,
        key: Hashed<'_>,
        digest: &[u8; DIGEST_LEN],
        value: Option<Value>,
    ) -> Option<Option<Value>> {
        let part = &mut self.parts[part_at(digest)];
        if let Some(known) = part.find_mut(key.hash(), |row| row.key == *digest) {
            return Some(std::mem::replace(&mut known.value, value));
        }
        let row = Row {
            hash: key.hash(),
            key: *digest,
            value,
        };
        part.insert_unique(row.hash, row, |row| row.hash);
        self.len += 1;
        None
    }

    /// The first `enough` rows of a span, in this order, or all of them; perhaps some more.
    pub fn rows(&self, span: &Span, order: Order, enough: usize) -> Vec<RowOf<'_>> {
        let end = (part_at(&span.end) + 1).min(self.parts.len());
        let parts = self.parts.get(part_at(&span.start)..end).unwrap_or_default();
        let mut rows = Vec::new();
        for number in 0..parts.len() {
            let part = match order {
                Order::Forward => &parts[number],
                Order::Backward => &parts[parts.len() - 1 - number],
            };
            let begin = rows.len();
            rows.extend(part.iter().map(Row::entry).filter(|(key, _)| span.contains(key)));
            sort(&mut rows[begin..], order);
            if rows.len() >= enough {
                break;
            }
        }
        rows
    }
}

impl Row {
    fn entry(&self) -> RowOf<'_> {
        (&self.key, &self.value)
    }
}

fn sort(rows: &mut [RowOf<'_>], order: Order) {
    rows.sort_unstable_by(|(one, _), (other, _)| match order {
        Order::Forward => one.cmp(other),
        Order::Backward => other.cmp(one),
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::index::rows::Rows;

    /// Keys of two kinds, of which some parts have several.
    fn filled() -> (Digests, Vec<Vec<u8>>) {
        let hasher = Rows::new(0, foldhash::quality::FixedState::with_seed(1));
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for (kind, first, last) in [
            (b'c', 0, 3),
            (b'c', 0, 1),
            (b'c', 7, 0),
            (b'c', 255, 9),
            (b'h', 7, 7),
            (b'w', 255, 255),
        ] {
            let mut key = vec![kind, first];
            key.resize(DIGEST_LEN, last);
            keys.push(key);
        }
        let mut digests = Digests::default();
        for key in &keys {
            let before = digests.set(hasher.hashed(key), digest(key).unwrap(), None);
            assert_eq!(before, None);
        }
        keys.sort();
        (digests, keys)
    }

    #[test]
    fn each_span_has_its_rows_in_order() {
        let (digests, keys) = filled();
        assert_eq!(digests.len(), keys.len());
        let bounds =
            keys.iter()
                .map(Vec::as_slice)
                .chain([b"".as_slice(), b"a", b"c", b"c\x07", b"d", b"f1", b"x"]);
        let bounds: Vec<&[u8]> = bounds.collect();
        for from in &bounds {
            let all: Vec<_> = keys.iter().filter(|key| key.as_slice() > *from).collect();
            let found = digests.rows(&Span::of(b"").after(from), Order::Forward, usize::MAX);
            assert_eq!(
                found.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(),
                all.into_iter().cloned().collect::<Vec<_>>()
            );
            let all: Vec<_> = keys.iter().rev().filter(|key| key.as_slice() < *from).collect();
            let found = digests.rows(&Span::of(b"").before(from), Order::Backward, usize::MAX);
            assert_eq!(
                found.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(),
                all.into_iter().cloned().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn few_are_taken_where_few_are_enough() {
        let (digests, keys) = filled();
        let first = digests.rows(&Span::of(b"c"), Order::Forward, 1);
        assert_eq!(
            first.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(),
            keys[..2]
        );
        let last = digests.rows(&Span::of(b"c"), Order::Backward, 1);
        assert_eq!(
            last.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(),
            keys[3..4]
        );
    }
}
