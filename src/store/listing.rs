//! What there is under a name, page by page.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::error::StoreError;
use super::index::{decode, keys};
use super::model::{Checksums, File, Holder, Id, OwnerSettings, Package, Pin, RetentionRule, Totals};
use super::{Digest, Store};

impl Store {
    /// Up to `limit` packages of an owner in the order of their folded names, after the one named `after`.
    pub fn packages(&self, owner: Id, after: Option<&str>, limit: usize) -> Result<Vec<Package>, StoreError> {
        let after = after.map(|name| keys::package(owner, name));
        let packages = self
            .inner
            .index
            .page_as(&keys::packages(owner), after.as_deref(), limit)?;
        Ok(packages.into_iter().map(|(_, package)| package).collect())
    }

    /// Up to `limit` versions of a package by id and name, the last created first; those created before the version
    /// `before`, where given.
    pub fn newest_versions(
        &self,
        package: Id,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<(Id, String)>, StoreError> {
        let before = before.map(|version| keys::creation(package, version));
        let names = self
            .inner
            .index
            .page_back_as(&keys::creations(package), before.as_deref(), limit)?;
        let named =
            |(key, name): (keys::Key, String)| keys::two_ids(&key).map(|(_, version)| (version, name));
        Ok(names.into_iter().filter_map(named).collect())
    }

    /// Up to `limit` files of a version in the order of their folded names, without the first `skip`.
    pub fn files(&self, version: Id, skip: usize, limit: usize) -> Result<Vec<File>, StoreError> {
        let files = self
            .inner
            .index
            .page_as(&keys::files(version), None, skip.saturating_add(limit))?;
        Ok(files.into_iter().skip(skip).map(|(_, file)| file).collect())
    }

    /// Up to `limit` files of a version in the order of their folded names, after the one named `after`.
    pub fn files_after(
        &self,
        package: &Package,
        version: Id,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<File>, StoreError> {
        let after = after.map(|name| keys::file(package, version, name));
        let files = self
            .inner
            .index
            .page_as(&keys::files(version), after.as_deref(), limit)?;
        Ok(files.into_iter().map(|(_, file)| file).collect())
    }

    /// The pin of a version.
    pub fn pin(&self, version: Id) -> Result<Option<Pin>, StoreError> {
        self.get(&keys::pin(version))
    }

    /// The rules of retention that an owner has of its own.
    pub fn retention_rules(&self, owner: Id) -> Result<Option<Vec<RetentionRule>>, StoreError> {
        self.get(&keys::retention(owner))
    }

    /// The blobs that are being downloaded.
    pub fn open_blobs(&self) -> HashSet<Digest> {
        self.inner.readers.open_blobs().digests()
    }

    /// How many files a version has.
    pub fn count_files(&self, version: Id) -> Result<usize, StoreError> {
        self.inner.index.count(&keys::files(version))
    }

    /// What an owner or a package holds.
    pub fn totals(&self, holder: Holder) -> Result<Totals, StoreError> {
        Ok(self.get(&keys::totals(holder))?.unwrap_or_default())
    }

    /// The `limit` owners that hold the most bytes, the largest first. Reads one small entry for each owner that holds
    /// anything, in steps between which the index goes on.
    pub fn largest_owners(&self, limit: usize) -> Result<Vec<(Id, Totals)>, StoreError> {
        let mut largest = BinaryHeap::with_capacity(limit.min(1024) + 1);
        self.inner.index.each(&keys::owner_totals(), |key, value| {
            let totals: Totals = decode(value)?;
            if let Some(owner) = keys::one_id(key) {
                largest.push(Reverse((totals, Reverse(owner))));
            }
            if largest.len() > limit {
                largest.pop();
            }
            Ok(())
        })?;
        let sorted = largest.into_sorted_vec().into_iter();
        Ok(sorted
            .map(|Reverse((totals, Reverse(owner)))| (owner, totals))
            .collect())
    }

    /// What is set for an owner.
    pub fn settings(&self, owner: Id) -> Result<OwnerSettings, StoreError> {
        Ok(self.get(&keys::settings(owner))?.unwrap_or_default())
    }

    /// The checksums of a blob beside its blake3, where somebody has asked for them.
    pub fn checksums(&self, blob: &Digest) -> Result<Option<Checksums>, StoreError> {
        self.get(&keys::checksums(blob))
    }
}
