//! Staging removals of files, versions and packages, the steps in which what was removed as a whole leaves the index,
//! and pins, which some removals spare.

use super::{Stage, Staged};
use crate::store::change::{PinVersion, RemoveFile, RemovePackage, RemoveVersion};
use crate::store::counts::Delta;
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::log::record::{
    Pinned, Record, RemovedFile, RemovedPackage, RemovedVersion, Sweep, SweepPackage,
};
use crate::store::model::{Charged, File, Holder, Id, Package, Version};
use crate::store::replay::SWEEP_STEP;

impl Stage<'_, '_> {
    pub(super) fn remove_file(&mut self, remove: &RemoveFile) -> Result<Staged, StoreError> {
        let RemoveFile {
            owner,
            package,
            version,
            file,
            spare_pinned,
        } = remove;
        if !self.version_stands(package, version)? || (*spare_pinned && self.is_pinned(version.id)?) {
            return Ok(Staged::Conflict);
        }
        let key = keys::file(package, version.id, &file.name);
        let stands: Option<File> = self.batch.get(&key)?;
        let Some(stands) = stands.filter(|stands| stands.id == file.id) else {
            return Ok(Staged::Conflict);
        };
        self.removed_bytes += stands.size;
        let version_gone = self.siblings.is_only(self.batch, version.id, &key)?;
        let mut delta = Delta::file(stands.size, -1);
        delta.versions = -i64::from(version_gone);
        self.charge(*owner, package.id, delta);
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

    pub(super) fn remove_version(&mut self, remove: &RemoveVersion) -> Result<Staged, StoreError> {
        let RemoveVersion {
            owner,
            package,
            version,
            spare_pinned,
        } = remove;
        if !self.version_stands(package, version)? || (*spare_pinned && self.is_pinned(version.id)?) {
            return Ok(Staged::Conflict);
        }
        let files = self.batch.keys(&keys::files(version.id), SWEEP_STEP + 1)?;
        let swept_later = files.len() > SWEEP_STEP;
        if !swept_later {
            self.discharge_files(*owner, package.id, &files)?;
        }
        let version_less = Delta {
            versions: -1,
            ..Delta::default()
        };
        self.charge(*owner, package.id, version_less);
        let package_gone = self.is_only_version(package)?;
        self.record(Record::RemoveVersion(RemovedVersion {
            owner: *owner,
            package: package.clone(),
            version: version.clone(),
            package_gone,
            swept_later,
        }))
    }

    pub(super) fn remove_package(&mut self, remove: &RemovePackage) -> Result<Staged, StoreError> {
        let key = keys::package(remove.owner, &remove.package.name);
        let stands: Option<Package> = self.batch.get(&key)?;
        if stands.is_none_or(|stands| stands.id != remove.package.id) {
            return Ok(Staged::Conflict);
        }
        let held = self.counts.now(self.batch, Holder::Package(remove.package.id))?;
        self.charge(remove.owner, remove.package.id, Delta::minus(held));
        self.removed_bytes += held.bytes;
        self.record(Record::RemovePackage(RemovedPackage {
            owner: remove.owner,
            package: remove.package.clone(),
        }))
    }

    /// Stages one step of sweeping a removed version's files. True: it was the last.
    pub fn sweep(&mut self, version: Id) -> Result<bool, StoreError> {
        let keys = self.batch.keys(&keys::files(version), SWEEP_STEP)?;
        let charged: Option<Option<Charged>> = self.batch.get(&keys::sweep(version))?;
        if let Some(charged) = charged.flatten()
            // With its package everything was discharged.
            && self.batch.contains(&keys::totals(Holder::Package(charged.package)))?
        {
            self.discharge_files(charged.owner, charged.package, &keys)?;
        }
        let done = keys.len() < SWEEP_STEP;
        let through = keys.last().cloned().unwrap_or_default();
        self.record(Record::Sweep(Sweep {
            version,
            through,
            done,
        }))?;
        Ok(done)
    }

    /// Stages one step of sweeping a removed package's versions. True: it was the last.
    pub fn sweep_package(&mut self, package: Id) -> Result<bool, StoreError> {
        let Some(package) = self.batch.get::<Package>(&keys::package_sweep(package))? else {
            return Ok(true);
        };
        let keys = self.batch.keys(&keys::creations(package.id), SWEEP_STEP)?;
        let mut step = SweepPackage {
            done: keys.len() < SWEEP_STEP,
            package,
            versions: Vec::new(),
            large: None,
        };
        let mut room = SWEEP_STEP;
        for key in &keys {
            let Some((_, version)) = keys::two_ids(key) else {
                continue;
            };
            let name = self.batch.get(key)?.unwrap_or_default();
            let files = self.batch.keys(&keys::files(version), SWEEP_STEP + 1)?.len();
            if files > SWEEP_STEP {
                step.large = Some((version, name));
                room = 0;
            } else {
                step.versions.push((version, name));
                room = room.saturating_sub(files);
            }
            if room == 0 {
                step.done = false;
                break;
            }
        }
        let done = step.done;
        self.record(Record::SweepPackage(step))?;
        Ok(done)
    }

    /// Takes the files with these keys off what their owner and package hold.
    fn discharge_files(&mut self, owner: Id, package: Id, files: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut delta = Delta::default();
        for key in files {
            let file: Option<File> = self.batch.get(key)?;
            if let Some(file) = file {
                delta += Delta::file(file.size, -1);
                self.removed_bytes += file.size;
            }
        }
        self.charge(owner, package, delta);
        Ok(())
    }

    fn version_stands(&self, package: &Package, version: &Version) -> Result<bool, StoreError> {
        let stands: Option<Version> = self.batch.get(&keys::version(package, &version.name))?;
        Ok(stands.is_some_and(|stands| stands.id == version.id))
    }

    fn is_only_version(&self, package: &Package) -> Result<bool, StoreError> {
        Ok(self.batch.keys(&keys::creations(package.id), 2)?.len() == 1)
    }

    fn is_pinned(&self, version: Id) -> Result<bool, StoreError> {
        self.batch.contains(&keys::pin(version))
    }

    pub(super) fn pin(&mut self, change: &PinVersion) -> Result<Staged, StoreError> {
        let version = change.version.id;
        if !self.version_stands(&change.package, &change.version)? {
            return Ok(Staged::Conflict);
        }
        match (change.pin, self.is_pinned(version)?) {
            (Some(pin), false) => self.record(Record::Pin(Pinned { version, pin })),
            (None, true) => self.record(Record::Unpin(version)),
            // As it is wanted already.
            _ => Ok(Staged::In),
        }
    }
}
