//! From a change to records: checks what the change expects against everything committed before it, earlier changes
//! of the same group included, then writes its records into the group and applies them.

mod copy;
mod people;
mod publish;
mod remove;

use std::collections::HashSet;

use super::change::{Change, CommitError, Garbage};
use super::collect::barrier::Barrier;
use super::counts::{Counts, Delta};
use super::damage::Damage;
use super::error::StoreError;
use super::index::{Batch, keys};
use super::log::files::LogFiles;
use super::log::group::GroupBuilder;
use super::log::record::{Dropped, PlacedChunk, Record};
use super::model::{Checksums, Holder, Id, Place};
use super::replay;
use super::siblings::Siblings;
use crate::chunk::Digest;

/// Whether a change went into the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// Its records are in the group.
    In,
    /// What it expects is not so; nothing was added.
    Conflict,
    /// It relies on a damaged chunk that has no sound copy yet; nothing was added.
    Damaged,
}

impl Staged {
    /// How one that is not in the group is refused.
    pub fn refusal(self) -> Option<CommitError> {
        match self {
            Staged::In => None,
            Staged::Conflict => Some(CommitError::Conflict),
            Staged::Damaged => Some(CommitError::Damaged),
        }
    }
}

/// Adds records to a group and applies them to its batch.
pub struct Stage<'a, 'b> {
    /// The changes so far.
    pub batch: &'a mut Batch<'b>,
    /// The records so far.
    pub group: &'a mut GroupBuilder,
    /// Copies that cannot be relied on.
    pub damage: &'a Damage,
    /// Files that are there.
    pub files: &'a LogFiles,
    /// What owners and packages hold, changed so far.
    pub counts: Counts,
    /// Accounts whose removal has been staged since the store was opened.
    pub removed: &'a mut HashSet<Id>,
    /// Tell whether a removed file was the last one of its version.
    pub siblings: &'a mut Siblings,
    /// Is told what publications rely on.
    pub barrier: &'a Barrier,
    /// Bytes of files whose names went: a hint for when to collect.
    pub removed_bytes: u64,
}

impl Stage<'_, '_> {
    /// Stages one change.
    pub fn change(&mut self, change: &Change) -> Result<Staged, StoreError> {
        match change {
            Change::Publish(publish) => self.publish(publish),
            Change::RemoveFile(remove) => self.remove_file(remove),
            Change::RemoveVersion(remove) => self.remove_version(remove),
            Change::RemovePackage(remove) => self.remove_package(remove),
            Change::PutAccount { expect, account } => self.put_account(expect.as_ref(), account),
            Change::PutToken(token) => self.put_token(token),
            Change::RemoveToken(token) => self.remove_token(token),
            Change::PutTokenUses(uses) => self.put_token_uses(uses),
            Change::Quarantine { digest, place } => self.quarantine(digest, place),
            Change::Drop(garbage) => self.drop_garbage(garbage),
            Change::Move(moves) => self.move_chunks(moves),
            Change::Copy(originals) => self.copy(originals),
            Change::Mark { .. } => self.mark(),
            Change::RemoveAccount(account) => self.remove_account(account),
            Change::PutMember(member) => self.put_member(member),
            Change::PutChecksums(blob, checksums) => self.put_checksums(blob, checksums),
            Change::PutSettings {
                owner,
                expect,
                settings,
            } => self.put_settings(*owner, expect, settings),
            Change::RemoveMember(member) => self.remove_member(member),
            Change::Pin(pin) => self.pin(pin),
            Change::PutRules(rules) => self.put_rules(rules),
        }
    }

    /// Stages what owners and packages hold after the group. The last thing in it.
    pub fn count(&mut self) -> Result<(), StoreError> {
        let counted = std::mem::take(&mut self.counts).into_record(self.batch)?;
        match counted.is_empty() {
            true => Ok(()),
            false => self.record(Record::Totals(counted)).map(drop),
        }
    }

    /// Whether there is a copy that is not known to be damaged, in a file that is there.
    fn is_sound(&self, digest: &Digest, key: &[u8]) -> Result<bool, StoreError> {
        let Some(place) = self.batch.get::<Place>(key)? else {
            return Ok(false);
        };
        if self.damage.is_damaged(digest, Some(place)) {
            return Ok(false);
        }
        // One that cannot be looked for now is not lost.
        Ok(self.files.has(place.kind, place.file).unwrap_or(true))
    }

    fn quarantine(&mut self, digest: &Digest, place: &Place) -> Result<Staged, StoreError> {
        let mut in_use = false;
        for key in [keys::chunk(digest), keys::manifest(digest)] {
            in_use |= self.batch.get::<Place>(&key)?.as_ref() == Some(place);
        }
        let known: Option<Place> = self.batch.get(&keys::quarantine(digest))?;
        if !in_use || known.as_ref() == Some(place) {
            return Ok(Staged::Conflict);
        }
        self.record(Record::Quarantine(PlacedChunk {
            digest: *digest,
            place: *place,
        }))
    }

    /// Drops what no publication has come to rely on since collection began.
    fn drop_garbage(&mut self, garbage: &Garbage) -> Result<Staged, StoreError> {
        let mut dropped = Dropped::default();
        let mut bytes = 0;
        for (digest, len) in &garbage.chunks {
            if !self.barrier.holds(digest) {
                dropped.chunks.push(*digest);
                bytes += u64::from(*len);
            }
        }
        let manifests = garbage.manifests.iter();
        dropped
            .manifests
            .extend(manifests.filter(|blob| !self.barrier.holds(blob)));
        let (chunks, manifests) = (dropped.chunks.len() as u64, dropped.manifests.len() as u64);
        if chunks + manifests == 0 {
            return Ok(Staged::In);
        }
        garbage.freed.add(chunks, manifests, bytes);
        self.record(Record::Drop(dropped))
    }

    fn put_checksums(&mut self, blob: &Digest, checksums: &Checksums) -> Result<Staged, StoreError> {
        let stored =
            self.batch.contains(&keys::chunk(blob))? || self.batch.contains(&keys::manifest(blob))?;
        match stored {
            true => self.record(Record::Checksums(*blob, *checksums)),
            false => Ok(Staged::Conflict),
        }
    }

    fn charge(&mut self, owner: Id, package: Id, delta: Delta) {
        self.counts.add(Holder::Owner(owner), delta);
        self.counts.add(Holder::Package(package), delta);
    }

    fn record(&mut self, record: Record) -> Result<Staged, StoreError> {
        let place = self
            .group
            .push(&record)
            .map_err(|error| StoreError::Index(format!("a record does not encode: {error}")))?;
        replay::apply(self.batch, place, &record)?;
        Ok(Staged::In)
    }
}
