//! From a change to records: checks what the change expects against everything committed before it, earlier changes
//! of the same group included, then writes its records into the group and applies them.

mod copy;

use std::collections::HashSet;

use super::change::{
    Change, CommitError, Expected, Garbage, PinVersion, Publish, RemoveFile, RemovePackage, RemoveVersion,
};
use super::collect::barrier::Barrier;
use super::counts::{Counts, Delta};
use super::damage::Damage;
use super::error::StoreError;
use super::index::{Batch, keys};
use super::log::files::LogFiles;
use super::log::group::GroupBuilder;
use super::log::record::{
    Dropped, OwnerRules, OwnerSet, Pinned, PlacedChunk, Published, Record, RemovedAccount, RemovedFile,
    RemovedPackage, RemovedVersion, Sweep, SweepPackage,
};
use super::metrics;
use super::model::{
    Account, AccountKind, Charged, Checksums, File, Holder, Id, Manifest, Membership, OwnerSettings, Package,
    Permission, Place, Token, TokenUse, Version,
};
use super::replay::{self, SWEEP_STEP};
use super::siblings::Siblings;
use super::upload::{BulkContent, Content, NewBlob};
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
            Change::RemoveToken(token) => {
                if !self.batch.contains(&keys::token(&token.hash))? {
                    return Ok(Staged::Conflict);
                }
                self.record(Record::RemoveToken(token.clone()))
            }
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

    fn publish(&mut self, publish: &Publish) -> Result<Staged, StoreError> {
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
            self.batch.is_new(keys::file(package, version.id, &file.name));
            self.batch.is_new(keys::creation(package.id, version.id));
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

    fn remove_file(&mut self, remove: &RemoveFile) -> Result<Staged, StoreError> {
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

    fn remove_version(&mut self, remove: &RemoveVersion) -> Result<Staged, StoreError> {
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

    fn remove_package(&mut self, remove: &RemovePackage) -> Result<Staged, StoreError> {
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

    fn put_account(&mut self, expect: Option<&Account>, account: &Account) -> Result<Staged, StoreError> {
        let stands: Option<Account> = self.batch.get(&keys::account(&account.name))?;
        if stands.as_ref() != expect {
            return Ok(Staged::Conflict);
        }
        self.record(Record::Account(account.clone()))
    }

    fn remove_account(&mut self, account: &Account) -> Result<Staged, StoreError> {
        let stands: Option<Account> = self.batch.get(&keys::account(&account.name))?;
        if stands.as_ref() != Some(account) || !self.batch.keys(&keys::packages(account.id), 1)?.is_empty() {
            return Ok(Staged::Conflict);
        }
        let mut tokens = Vec::new();
        for key in self.batch.keys(&keys::tokens_of(account.id), usize::MAX)? {
            if let Some(((_, token), hash)) = keys::two_ids(&key).zip(self.batch.get(&key)?) {
                tokens.push((token, hash));
            }
        }
        let members = self.batch.keys(&keys::members(account.id), usize::MAX)?;
        let memberships = self.batch.keys(&keys::memberships(account.id), usize::MAX)?;
        let members = members.iter().filter_map(|key| keys::two_ids(key));
        let elsewhere = memberships.iter().filter_map(|key| keys::two_ids(key));
        let memberships = members
            .chain(elsewhere.map(|(user, organisation)| (organisation, user)))
            .collect();
        self.removed.insert(account.id);
        self.record(Record::RemoveAccount(RemovedAccount {
            account: account.clone(),
            tokens,
            memberships,
        }))
    }

    fn put_member(&mut self, member: &Membership) -> Result<Staged, StoreError> {
        let both = self.is_a(member.organisation, AccountKind::Organisation)?
            && self.is_a(member.user, AccountKind::User)?;
        match both {
            true => self.record(Record::Member(*member)),
            false => Ok(Staged::Conflict),
        }
    }

    fn remove_member(&mut self, member: &Membership) -> Result<Staged, StoreError> {
        let key = keys::member(member.organisation, member.user);
        match self.batch.get::<Permission>(&key)? == Some(member.permission) {
            true => self.record(Record::RemoveMember(*member)),
            false => Ok(Staged::Conflict),
        }
    }

    fn put_settings(
        &mut self,
        owner: Id,
        expect: &OwnerSettings,
        settings: &OwnerSettings,
    ) -> Result<Staged, StoreError> {
        let stands: Option<OwnerSettings> = self.batch.get(&keys::settings(owner))?;
        if stands.unwrap_or_default() != *expect || !self.batch.contains(&keys::account_id(owner))? {
            return Ok(Staged::Conflict);
        }
        let settings = settings.clone();
        self.record(Record::Settings(OwnerSet { owner, settings }))
    }

    fn put_checksums(&mut self, blob: &Digest, checksums: &Checksums) -> Result<Staged, StoreError> {
        let stored =
            self.batch.contains(&keys::chunk(blob))? || self.batch.contains(&keys::manifest(blob))?;
        match stored {
            true => self.record(Record::Checksums(*blob, *checksums)),
            false => Ok(Staged::Conflict),
        }
    }

    fn pin(&mut self, change: &PinVersion) -> Result<Staged, StoreError> {
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

    fn is_pinned(&self, version: Id) -> Result<bool, StoreError> {
        self.batch.contains(&keys::pin(version))
    }

    fn put_rules(&mut self, rules: &OwnerRules) -> Result<Staged, StoreError> {
        match self.batch.contains(&keys::account_id(rules.owner))? {
            true => self.record(Record::Rules(rules.clone())),
            false => Ok(Staged::Conflict),
        }
    }

    /// Whether there was an account with this id when the store was opened, or later, and is none now. An upload that
    /// began before that has come through this process, so there is no need to ask the index about all others.
    fn is_removed(&self, account: Id) -> Result<bool, StoreError> {
        Ok(self.removed.contains(&account) && !self.batch.contains(&keys::account_id(account))?)
    }

    /// Whether there is an account with this id, of this kind.
    fn is_a(&self, id: Id, kind: AccountKind) -> Result<bool, StoreError> {
        let Some(name) = self.batch.get::<String>(&keys::account_id(id))? else {
            return Ok(false);
        };
        let account: Option<Account> = self.batch.get(&keys::account(&name))?;
        Ok(account.is_some_and(|account| account.kind == kind))
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

    fn put_token_uses(&mut self, uses: &[TokenUse]) -> Result<Staged, StoreError> {
        let mut known = Vec::with_capacity(uses.len());
        for used in uses {
            if self.batch.contains(&keys::token(&used.token))? {
                known.push(*used);
            }
        }
        match known.is_empty() {
            true => Ok(Staged::In),
            false => self.record(Record::TokenUses(known)),
        }
    }

    fn charge(&mut self, owner: Id, package: Id, delta: Delta) {
        self.counts.add(Holder::Owner(owner), delta);
        self.counts.add(Holder::Package(package), delta);
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
