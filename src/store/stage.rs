//! From a change to records: checks what the change expects against everything committed before it, earlier changes
//! of the same group included, then writes its records into the group and applies them.

use std::collections::HashSet;

use super::change::{Change, Expected, Publish, RemoveFile, RemoveVersion};
use super::damage::Damage;
use super::error::StoreError;
use super::index::{Batch, keys};
use super::log::group::GroupBuilder;
use super::log::record::{PlacedChunk, Published, Record, RemovedFile, RemovedVersion, Sweep};
use super::metrics;
use super::model::{Account, File, Id, Manifest, Package, Place, Token, Version};
use super::replay::{self, SWEEP_STEP};
use super::upload::{Content, NewBlob};
use crate::chunk::Digest;

/// Whether a change went into the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// Its records are in the group.
    In,
    /// What it expects is not so; nothing was added.
    Conflict,
}

/// Adds records to a group and applies them to its batch.
pub struct Stage<'a, 'b> {
    /// The changes so far.
    pub batch: &'a mut Batch<'b>,
    /// The records so far.
    pub group: &'a mut GroupBuilder,
    /// Copies that cannot be relied on.
    pub damage: &'a Damage,
}

impl Stage<'_, '_> {
    /// Stages one change.
    pub fn change(&mut self, change: &Change) -> Result<Staged, StoreError> {
        match change {
            Change::Publish(publish) => self.publish(publish),
            Change::RemoveFile(remove) => self.remove_file(remove),
            Change::RemoveVersion(remove) => self.remove_version(remove),
            Change::PutAccount { expect, account } => self.put_account(expect.as_ref(), account),
            Change::PutToken(token) => self.put_token(token),
            Change::RemoveToken(token) => {
                if !self.batch.contains(&keys::token(&token.hash))? {
                    return Ok(Staged::Conflict);
                }
                self.record(Record::RemoveToken(token.clone()))
            }
            Change::Quarantine { digest, place } => self.quarantine(digest, place),
        }
    }

    /// Stages one step of sweeping a removed version's files. True: it was the last.
    pub fn sweep(&mut self, version: Id) -> Result<bool, StoreError> {
        let keys = self.batch.keys(&keys::files(version), SWEEP_STEP)?;
        let done = keys.len() < SWEEP_STEP;
        let through = keys.last().cloned().unwrap_or_default();
        self.record(Record::Sweep(Sweep {
            version,
            through,
            done,
        }))?;
        Ok(done)
    }

    fn publish(&mut self, publish: &Publish) -> Result<Staged, StoreError> {
        let (package, version, file) = (publish.package.get(), publish.version.get(), &publish.file);
        let stands: Option<Package> = self.batch.get(&keys::package(publish.owner, &package.name))?;
        if stands.as_ref() != present(&publish.package) {
            return Ok(Staged::Conflict);
        }
        let stands: Option<Version> = self.batch.get(&keys::version(package, &version.name))?;
        if stands.as_ref() != present(&publish.version) {
            return Ok(Staged::Conflict);
        }
        let stands: Option<File> = self.batch.get(&keys::file(package, version.id, &file.name))?;
        if stands.map(|file| file.id) != publish.replaces {
            return Ok(Staged::Conflict);
        }
        self.content(&publish.blob)?;
        self.record(Record::Publish(Published {
            owner: publish.owner,
            package: package.clone(),
            version: version.clone(),
            file: file.clone(),
        }))
    }

    /// Writes what is not known yet of a blob.
    fn content(&mut self, blob: &NewBlob) -> Result<(), StoreError> {
        let bulk = match &blob.content {
            Content::Inline(pieces) => {
                if self.is_sound(&blob.digest, &keys::chunk(&blob.digest))? {
                    metrics::known_bytes(blob.size);
                    return Ok(());
                }
                metrics::new_bytes(blob.size);
                let place = self.group.push_chunk(blob.digest, pieces);
                return replay::apply(self.batch, place, &Record::Chunk(blob.digest));
            }
            Content::Bulk(bulk) => bulk,
        };
        let mut places: Vec<PlacedChunk> = Vec::new();
        let mut met = HashSet::new();
        for pinned in &bulk.chunks {
            let (digest, len) = (pinned.chunk.digest, u64::from(pinned.chunk.len));
            if !met.insert(digest) || self.is_sound(&digest, &keys::chunk(&digest))? {
                metrics::known_bytes(len);
            } else {
                metrics::new_bytes(len);
                places.push(PlacedChunk {
                    digest,
                    place: pinned.place,
                });
            }
        }
        if !places.is_empty() {
            self.record(Record::Places(places))?;
        }
        if !bulk.whole && !self.is_sound(&blob.digest, &keys::manifest(&blob.digest))? {
            let chunks = bulk.chunks.iter().map(|pinned| pinned.chunk).collect();
            self.record(Record::Manifest(blob.digest, Manifest { chunks }))?;
        }
        Ok(())
    }

    /// Whether there is a copy that is not known to be damaged.
    fn is_sound(&self, digest: &Digest, key: &[u8]) -> Result<bool, StoreError> {
        let place: Option<Place> = self.batch.get(key)?;
        Ok(place.is_some() && !self.damage.is_damaged(digest, place))
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

    fn remove_file(&mut self, remove: &RemoveFile) -> Result<Staged, StoreError> {
        let RemoveFile {
            owner,
            package,
            version,
            file,
        } = remove;
        if !self.version_stands(package, version)? {
            return Ok(Staged::Conflict);
        }
        let stands: Option<File> = self.batch.get(&keys::file(package, version.id, &file.name))?;
        if stands.map(|file| file.id) != Some(file.id) {
            return Ok(Staged::Conflict);
        }
        let version_gone = self.batch.keys(&keys::files(version.id), 2)?.len() == 1;
        let package_gone = version_gone && self.is_only_version(package)?;
        self.record(Record::RemoveFile(RemovedFile {
            owner: *owner,
            package: package.clone(),
            version: version.clone(),
            file: file.id,
            name: file.name.clone(),
            version_gone,
            package_gone,
        }))
    }

    fn remove_version(&mut self, remove: &RemoveVersion) -> Result<Staged, StoreError> {
        let RemoveVersion {
            owner,
            package,
            version,
        } = remove;
        if !self.version_stands(package, version)? {
            return Ok(Staged::Conflict);
        }
        let swept_later = self.batch.keys(&keys::files(version.id), SWEEP_STEP + 1)?.len() > SWEEP_STEP;
        let package_gone = self.is_only_version(package)?;
        self.record(Record::RemoveVersion(RemovedVersion {
            owner: *owner,
            package: package.clone(),
            version: version.clone(),
            package_gone,
            swept_later,
        }))
    }

    fn put_account(&mut self, expect: Option<&Account>, account: &Account) -> Result<Staged, StoreError> {
        let stands: Option<Account> = self.batch.get(&keys::account(&account.name))?;
        if stands.as_ref() != expect {
            return Ok(Staged::Conflict);
        }
        self.record(Record::Account(account.clone()))
    }

    fn put_token(&mut self, token: &Token) -> Result<Staged, StoreError> {
        if !self.batch.contains(&keys::account_id(token.account))?
            || self.batch.contains(&keys::token(&token.hash))?
        {
            return Ok(Staged::Conflict);
        }
        for key in self.batch.keys(&keys::tokens_of(token.account), usize::MAX)? {
            let hash: Option<[u8; 32]> = self.batch.get(&key)?;
            let other: Option<Token> = match hash {
                Some(hash) => self.batch.get(&keys::token(&hash))?,
                None => None,
            };
            if other.is_some_and(|other| other.name == token.name) {
                return Ok(Staged::Conflict);
            }
        }
        self.record(Record::Token(token.clone()))
    }

    fn version_stands(&self, package: &Package, version: &Version) -> Result<bool, StoreError> {
        let stands: Option<Version> = self.batch.get(&keys::version(package, &version.name))?;
        Ok(stands.is_some_and(|stands| stands.id == version.id))
    }

    fn is_only_version(&self, package: &Package) -> Result<bool, StoreError> {
        Ok(self.batch.keys(&keys::creations(package.id), 2)?.len() == 1)
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

fn present<T>(expected: &Expected<T>) -> Option<&T> {
    match expected {
        Expected::Present(value) => Some(value),
        Expected::Absent(_) => None,
    }
}
