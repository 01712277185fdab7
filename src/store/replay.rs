//! What a record does to the index. The one place that says so: commits, recovery and rebuild all come here.

use super::error::StoreError;
use super::index::Batch;
use super::index::keys::{self, Key};
use super::log::record::{
    Dropped, OwnerSet, Published, Record, RemovedAccount, RemovedFile, RemovedVersion, Sweep, SweepPackage,
};
use super::model::{Charged, Id, OwnerSettings, Place, Totals};
use crate::chunk::Digest;

/// File keys that leave the index in one step, or a few more.
pub const SWEEP_STEP: usize = 256;

/// Applies one record that stands at `place`. Idempotent, also over an index that is already further.
pub fn apply(batch: &mut Batch<'_>, place: Place, record: &Record) -> Result<(), StoreError> {
    match record {
        Record::Chunk(digest) => copy(batch, keys::chunk(digest), digest, &place),
        Record::Manifest(blob, _) => copy(batch, keys::manifest(blob), blob, &place),
        Record::Places(places) => places
            .iter()
            .try_for_each(|placed| copy(batch, keys::chunk(&placed.digest), &placed.digest, &placed.place)),
        Record::Publish(published) => publish(batch, published),
        Record::RemoveFile(removed) => remove_file(batch, removed),
        Record::RemoveVersion(removed) => remove_version(batch, removed),
        Record::Account(account) => {
            batch.put(keys::account(&account.name), account)?;
            batch.put(keys::account_id(account.id), &account.name)
        }
        Record::Token(token) => {
            batch.put(keys::token(&token.hash), token)?;
            batch.put(keys::token_of(token.account, token.id), &token.hash)
        }
        Record::RemoveToken(token) => {
            batch.remove(keys::token(&token.hash))?;
            batch.remove(keys::token_use(&token.hash))?;
            batch.remove(keys::token_of(token.account, token.id))
        }
        Record::TokenUses(uses) => uses
            .iter()
            .try_for_each(|used| batch.put(keys::token_use(&used.token), &used.at)),
        Record::Sweep(step) => sweep(batch, step),
        Record::RemoveAccount(removed) => remove_account(batch, removed),
        Record::Member(member) => {
            batch.put(keys::member(member.organisation, member.user), &member.permission)?;
            batch.put(keys::membership(member.user, member.organisation), &())
        }
        Record::Checksums(blob, checksums) => batch.put(keys::checksums(blob), checksums),
        Record::Pin(pinned) => batch.put(keys::pin(pinned.version), &pinned.pin),
        Record::Unpin(version) => batch.remove(keys::pin(*version)),
        Record::Rules(given) => match &given.rules {
            Some(rules) => batch.put(keys::retention(given.owner), rules),
            None => batch.remove(keys::retention(given.owner)),
        },
        Record::Totals(counted) => counted.iter().try_for_each(|counted| {
            let key = keys::totals(counted.holder);
            match counted.totals == Totals::default() {
                true => batch.remove(key),
                false => batch.put(key, &counted.totals),
            }
        }),
        Record::RemovePackage(removed) => {
            batch.remove(keys::package(removed.owner, &removed.package.name))?;
            batch.put(keys::package_sweep(removed.package.id), &removed.package)
        }
        Record::SweepPackage(step) => sweep_package(batch, step),
        Record::RemoveMember(member) => remove_member(batch, member.organisation, member.user),
        Record::Drop(dropped) => forget(batch, dropped),
        Record::Quarantine(copy) => batch.put(keys::quarantine(&copy.digest), &copy.place),
        Record::Settings(OwnerSet { owner, settings }) => {
            let key = keys::settings(*owner);
            match *settings == OwnerSettings::default() {
                true => batch.remove(key),
                false => batch.put(key, settings),
            }
        }
    }
}

/// There is a copy at `place`; one elsewhere that was damaged no longer counts.
fn copy(batch: &mut Batch<'_>, key: Key, digest: &Digest, place: &Place) -> Result<(), StoreError> {
    batch.put(key, place)?;
    let damaged: Option<Place> = batch.get(&keys::quarantine(digest))?;
    match damaged.is_some_and(|damaged| damaged != *place) {
        true => batch.remove(keys::quarantine(digest)),
        false => Ok(()),
    }
}

fn forget(batch: &mut Batch<'_>, dropped: &Dropped) -> Result<(), StoreError> {
    for digest in &dropped.chunks {
        batch.remove(keys::chunk(digest))?;
        forget_about(batch, digest)?;
    }
    for blob in &dropped.manifests {
        batch.remove(keys::manifest(blob))?;
        forget_about(batch, blob)?;
    }
    Ok(())
}

fn forget_about(batch: &mut Batch<'_>, digest: &Digest) -> Result<(), StoreError> {
    batch.remove(keys::checksums(digest))?;
    batch.remove(keys::quarantine(digest))
}

fn publish(batch: &mut Batch<'_>, published: &Published) -> Result<(), StoreError> {
    let Published {
        owner,
        package,
        version,
        file,
    } = published;
    batch.put(keys::file(package, version.id, &file.name), file)?;
    batch.put(keys::creation(package.id, version.id), &version.name)?;
    batch.put(keys::version(package, &version.name), version)?;
    batch.put(keys::package(*owner, &package.name), package)
}

fn remove_file(batch: &mut Batch<'_>, removed: &RemovedFile) -> Result<(), StoreError> {
    let RemovedFile {
        owner,
        package,
        version,
        name,
        ..
    } = removed;
    batch.remove(keys::file(package, version.id, name))?;
    if removed.version_gone {
        batch.remove(keys::version(package, &version.name))?;
        batch.remove(keys::creation(package.id, version.id))?;
        batch.remove(keys::pin(version.id))?;
    }
    if removed.package_gone {
        batch.remove(keys::package(*owner, &package.name))?;
    }
    Ok(())
}

fn remove_version(batch: &mut Batch<'_>, removed: &RemovedVersion) -> Result<(), StoreError> {
    let RemovedVersion {
        owner,
        package,
        version,
        ..
    } = removed;
    batch.remove(keys::version(package, &version.name))?;
    batch.remove(keys::creation(package.id, version.id))?;
    batch.remove(keys::pin(version.id))?;
    if removed.package_gone {
        batch.remove(keys::package(*owner, &package.name))?;
    }
    if removed.swept_later {
        let charged = Charged {
            owner: removed.owner,
            package: package.id,
        };
        return batch.put(keys::sweep(version.id), &Some(charged));
    }
    for key in batch.keys(&keys::files(version.id), SWEEP_STEP)? {
        batch.remove(key)?;
    }
    Ok(())
}

fn sweep_package(batch: &mut Batch<'_>, step: &SweepPackage) -> Result<(), StoreError> {
    for (version, name) in step.versions.iter().chain(&step.large) {
        batch.remove(keys::version(&step.package, name))?;
        batch.remove(keys::creation(step.package.id, *version))?;
        batch.remove(keys::pin(*version))?;
    }
    for (version, _) in &step.versions {
        for key in batch.keys(&keys::files(*version), SWEEP_STEP)? {
            batch.remove(key)?;
        }
    }
    if let Some((version, _)) = step.large {
        batch.put(keys::sweep(version), &None::<Charged>)?;
    }
    if step.done {
        batch.remove(keys::package_sweep(step.package.id))?;
    }
    Ok(())
}

fn remove_account(batch: &mut Batch<'_>, removed: &RemovedAccount) -> Result<(), StoreError> {
    let account = &removed.account;
    for (token, hash) in &removed.tokens {
        batch.remove(keys::token(hash))?;
        batch.remove(keys::token_use(hash))?;
        batch.remove(keys::token_of(account.id, *token))?;
    }
    for (organisation, user) in &removed.memberships {
        remove_member(batch, *organisation, *user)?;
    }
    batch.remove(keys::retention(account.id))?;
    batch.remove(keys::settings(account.id))?;
    batch.remove(keys::account(&account.name))?;
    batch.remove(keys::account_id(account.id))
}

fn remove_member(batch: &mut Batch<'_>, organisation: Id, user: Id) -> Result<(), StoreError> {
    batch.remove(keys::member(organisation, user))?;
    batch.remove(keys::membership(user, organisation))
}

fn sweep(batch: &mut Batch<'_>, step: &Sweep) -> Result<(), StoreError> {
    loop {
        let keys = batch.keys(&keys::files(step.version), SWEEP_STEP)?;
        let before = keys.len();
        let swept: Vec<_> = keys.into_iter().filter(|key| *key <= step.through).collect();
        // More than a step is left where an earlier one was lost.
        let last = swept.len() < before || swept.is_empty();
        for key in swept {
            batch.remove(key)?;
        }
        if last {
            break;
        }
    }
    if step.done {
        batch.remove(keys::sweep(step.version))?;
    }
    Ok(())
}
