//! Whether rows still are what they were: a number for each of many parts of the keys goes up when a row of that part
//! changes.
//!
//! Whoever puts something together from rows takes a [`Stamp`] of each **before** looking at it. As long as none of
//! those numbers has changed, the rows are the same. They go up after a change can be seen, and before the write
//! returns: what is asked after it has been answered meets the new number.
//!
//! Rows that share a part with one that changes count as changed, which costs whoever relies on them new look-ups, and
//! nothing else. So there are many parts, and only rows of names and chunks count, and of those only what is replaced or
//! removed: nothing has been put together from a row that was not there.

use std::sync::atomic::{AtomicU64, Ordering};

use super::keys;
use super::rows::Hashed;

/// Parts of the keys: 128 KiB of numbers.
const PARTS: usize = 1 << 14;

/// The numbers.
#[derive(Debug)]
pub struct Changes(Box<[AtomicU64]>);

/// The number of one row's part.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    part: u16,
    number: u64,
}

/// Rows, and the numbers of their parts.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    parts: [u16; 4],
    /// Of all numbers: none ever goes down, so it is the same only if all of them are.
    sum: u64,
}

impl From<[Stamp; 4]> for Seen {
    fn from(stamps: [Stamp; 4]) -> Self {
        Seen {
            parts: stamps.map(|stamp| stamp.part),
            sum: stamps.iter().map(|stamp| stamp.number).sum(),
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Changes((0..PARTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Changes {
    /// Of a row that is about to be looked at.
    pub fn stamp(&self, key: Hashed<'_>) -> Stamp {
        let part = part(key);
        Stamp {
            part,
            number: self.number(part),
        }
    }

    /// A row is no longer what it was.
    pub fn changed(&self, key: Hashed<'_>) {
        if keys::leads_to_bytes(key.key()) {
            self.0[usize::from(part(key))].fetch_add(1, Ordering::Release);
        }
    }

    /// Whether none of these rows has changed.
    pub fn is_unchanged(&self, seen: &Seen) -> bool {
        seen.parts.iter().map(|part| self.number(*part)).sum::<u64>() == seen.sum
    }

    fn number(&self, part: u16) -> u64 {
        self.0[usize::from(part)].load(Ordering::Acquire)
    }
}

/// By other bits than those by which rows are spread over locks and tables.
fn part(key: Hashed<'_>) -> u16 {
    (key.hash() >> 40) as u16 % PARTS as u16
}
