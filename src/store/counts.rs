//! Counting what owners and packages hold, as changes are staged; and what they may hold.
//!
//! The counts of a group are one record with absolute values, so replaying it twice does no harm. Changes themselves
//! carry no counts: a copy made by compaction changes nothing here.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::error::StoreError;
use super::index::{Batch, keys};
use super::log::record::Counted;
use super::model::{Holder, Totals};

/// What an owner may hold. `None`: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of files.
    pub bytes: Option<u64>,
    /// Versions.
    pub versions: Option<u64>,
}

/// Which part of a quota a change would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exceeded {
    /// Bytes of files.
    Bytes,
    /// Versions.
    Versions,
}

impl Quota {
    /// Whether there is none.
    pub fn is_unlimited(self) -> bool {
        self == Quota::default()
    }

    /// What a change would exceed for somebody who holds this much. A change that adds nothing exceeds nothing: whoever
    /// is over a quota that was lowered may still replace a file by a smaller one.
    pub fn exceeded(self, held: Totals, delta: Delta) -> Option<Exceeded> {
        let after = held.changed(delta);
        let over = |limit: Option<u64>, count| limit.is_some_and(|limit| count > limit);
        if delta.versions > 0 && over(self.versions, after.versions) {
            Some(Exceeded::Versions)
        } else if delta.bytes > 0 && over(self.bytes, after.bytes) {
            Some(Exceeded::Bytes)
        } else {
            None
        }
    }
}

/// What a change adds or, below zero, takes away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta {
    /// Bytes of files.
    pub bytes: i64,
    /// Files.
    pub files: i64,
    /// Versions.
    pub versions: i64,
}

impl Delta {
    /// One file of this size, more (`sign` 1) or less (-1).
    pub fn file(size: u64, sign: i64) -> Self {
        Delta {
            bytes: sign.saturating_mul(i64::try_from(size).unwrap_or(i64::MAX)),
            files: sign,
            versions: 0,
        }
    }

    /// Everything that there is, taken away.
    pub fn minus(totals: Totals) -> Self {
        let minus = |count| i64::try_from(count).map_or(i64::MIN, |count| -count);
        Delta {
            bytes: minus(totals.bytes),
            files: minus(totals.files),
            versions: minus(totals.versions),
        }
    }
}

impl Totals {
    /// With a change.
    fn changed(self, delta: Delta) -> Self {
        Totals {
            bytes: self.bytes.saturating_add_signed(delta.bytes),
            files: self.files.saturating_add_signed(delta.files),
            versions: self.versions.saturating_add_signed(delta.versions),
        }
    }
}

impl AddAssign for Delta {
    fn add_assign(&mut self, other: Delta) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.files += other.files;
        self.versions += other.versions;
    }
}

/// The changes of one group by whom they concern.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<Holder, Delta>);

impl Counts {
    /// Adds to what somebody holds.
    pub fn add(&mut self, holder: Holder, delta: Delta) {
        *self.0.entry(holder).or_default() += delta;
    }

    /// What somebody holds with the changes so far.
    pub fn now(&self, batch: &Batch<'_>, holder: Holder) -> Result<Totals, StoreError> {
        let before: Totals = batch.get(&keys::totals(holder))?.unwrap_or_default();
        let delta = self.0.get(&holder).copied().unwrap_or_default();
        Ok(before.changed(delta))
    }

    /// The new totals of everybody whose totals change.
    pub fn into_record(self, batch: &Batch<'_>) -> Result<Vec<Counted>, StoreError> {
        let mut counted = Vec::new();
        for (holder, delta) in self.0 {
            let before: Totals = batch.get(&keys::totals(holder))?.unwrap_or_default();
            let totals = before.changed(delta);
            if totals != before {
                counted.push(Counted { holder, totals });
            }
        }
        Ok(counted)
    }
}
