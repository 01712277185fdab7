//! Staging a publication: what it expects, what its owner may hold, and what is not known yet of its bytes.

use std::collections::HashSet;

use super::{Stage, Staged};
use crate::store::change::{Expected, Publish};
use crate::store::counts::Delta;
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::log::record::{PlacedChunk, Published, Record};
use crate::store::model::{File, Holder, Id, Manifest, Package, Version};
use crate::store::upload::{BulkContent, Content, NewBlob};
use crate::store::{metrics, replay};

impl Stage<'_, '_> {
    pub(super) fn publish(&mut self, publish: &Publish) -> Result<Staged, StoreError> {
        let (package, version, file) = (publish.package.get(), publish.version.get(), &publish.file);
        let stands: Option<Package> = self.batch.get(&keys::package(publish.owner, &package.name))?;
        if stands.as_ref() != present(&publish.package) {
            return Ok(Staged::Conflict);
        }
        // An account that owns packages is not removed, so only the first one has to ask.
        if stands.is_none() && self.is_removed(publish.owner)? {
            return Ok(Staged::Conflict);
        }
        let stands: Option<Version> = self.batch.get(&keys::version(package, &version.name))?;
        if stands.as_ref() != present(&publish.version) {
            return Ok(Staged::Conflict);
        }
        if present(&publish.version).is_none() {
            // Its id is fresh: no key with it has ever been written.
            self.batch
                .assume_absent(keys::file(package, version.id, &file.name));
            self.batch.assume_absent(keys::creation(package.id, version.id));
        }
        let stands: Option<File> = self.batch.get(&keys::file(package, version.id, &file.name))?;
        if stands.as_ref().map(|file| file.id) != publish.replaces {
            return Ok(Staged::Conflict);
        }
        if let Content::Bulk(bulk) = &publish.blob.content
            && self.relies_on_damage(bulk)?
        {
            return Ok(Staged::Damaged);
        }
        let mut delta = Delta::file(file.size, 1);
        if let Some(replaced) = &stands {
            delta += Delta::file(replaced.size, -1);
        }
        delta.versions = i64::from(present(&publish.version).is_none());
        // Whoever asked decides again, over what the owner holds now.
        if !publish.quota.is_unlimited() {
            let held = self.counts.now(self.batch, Holder::Owner(publish.owner))?;
            if publish.quota.exceeded(held, delta).is_some() {
                return Ok(Staged::Conflict);
            }
        }
        self.content(&publish.blob)?;
        self.removed_bytes += stands.map_or(0, |replaced| replaced.size);
        self.charge(publish.owner, package.id, delta);
        self.record(Record::Publish(Published {
            owner: publish.owner,
            package: package.clone(),
            version: version.clone(),
            file: file.clone(),
        }))
    }

    /// Whether a chunk lies only where it has been found damaged since the upload found it there.
    fn relies_on_damage(&self, bulk: &BulkContent) -> Result<bool, StoreError> {
        if self.damage.is_empty() {
            return Ok(false);
        }
        for pinned in &bulk.chunks {
            let digest = &pinned.chunk.digest;
            if self.damage.is_damaged(digest, Some(pinned.place))
                && !self.is_sound(digest, &keys::chunk(digest))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes what is not known yet of a blob.
    fn content(&mut self, blob: &NewBlob) -> Result<(), StoreError> {
        self.barrier.note([&blob.digest]);
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
        self.barrier
            .note(bulk.chunks.iter().map(|pinned| &pinned.chunk.digest));
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

    /// Whether there was an account with this id when the store was opened, or later, and is none now. An upload that
    /// began before that has come through this process, so there is no need to ask the index about all others.
    fn is_removed(&self, account: Id) -> Result<bool, StoreError> {
        Ok(self.removed.contains(&account) && !self.batch.contains(&keys::account_id(account))?)
    }
}

fn present<T>(expected: &Expected<T>) -> Option<&T> {
    match expected {
        Expected::Present(value) => Some(value),
        Expected::Absent(_) => None,
    }
}
