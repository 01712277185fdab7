//! Staging what compaction asks for. It has read the log a while ago, so everything it says is compared with what
//! stands now, earlier changes of the group included, and only what still holds is written again.

use super::{Stage, Staged};
use crate::store::change::{Moved, Original};
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::log::record::{Counted, OwnerRules, OwnerSet, PlacedChunk, Published, Record};
use crate::store::model::{
    Account, Checksums, File, Millis, OwnerSettings, Package, Permission, Pin, Place, RetentionRule, Token,
    Totals, Version,
};
use crate::store::replay;

impl Stage<'_, '_> {
    /// Stages the copies whose originals are still what the index leads to.
    pub(super) fn move_chunks(&mut self, moves: &[Moved]) -> Result<Staged, StoreError> {
        let mut places = Vec::new();
        for moved in moves {
            if self.leads_to(&keys::chunk(&moved.digest), &moved.from)? {
                places.push(PlacedChunk {
                    digest: moved.digest,
                    place: moved.to,
                });
            }
        }
        self.places(places)
    }

    /// Stages what still holds of some records of an old file.
    pub(super) fn copy(&mut self, originals: &[Original]) -> Result<Staged, StoreError> {
        for original in originals {
            self.copy_one(original)?;
        }
        Ok(Staged::In)
    }

    /// A record that changes nothing.
    pub(super) fn mark(&mut self) -> Result<Staged, StoreError> {
        self.record(Record::Places(Vec::new()))
    }

    fn copy_one(&mut self, original: &Original) -> Result<Staged, StoreError> {
        let Original { place, record, bytes } = original;
        match record {
            Record::Chunk(digest) => {
                if self.leads_to(&keys::chunk(digest), place)? {
                    let place = self.group.push_chunk(*digest, std::slice::from_ref(bytes));
                    replay::apply(self.batch, place, record)?;
                }
                Ok(Staged::In)
            }
            Record::Manifest(blob, _) => {
                let stands = self.leads_to(&keys::manifest(blob), place)?;
                self.record_if(stands, record)
            }
            Record::Places(places) => self.copy_places(places),
            Record::Publish(published) => self.copy_publication(published),
            Record::Account(account) => {
                let stands: Option<Account> = self.batch.get(&keys::account(&account.name))?;
                self.record_if(stands.as_ref() == Some(account), record)
            }
            Record::Token(token) => {
                let stands: Option<Token> = self.batch.get(&keys::token(&token.hash))?;
                self.record_if(stands.as_ref() == Some(token), record)
            }
            Record::TokenUses(uses) => {
                let mut standing = Vec::new();
                for used in uses {
                    let stands: Option<Millis> = self.batch.get(&keys::token_use(&used.token))?;
                    standing.extend((stands == Some(used.at)).then_some(*used));
                }
                self.record_if(!standing.is_empty(), &Record::TokenUses(standing))
            }
            Record::Member(member) => {
                let key = keys::member(member.organisation, member.user);
                let stands: Option<Permission> = self.batch.get(&key)?;
                self.record_if(stands == Some(member.permission), record)
            }
            Record::Quarantine(copy) => {
                let stands = self.leads_to(&keys::quarantine(&copy.digest), &copy.place)?;
                self.record_if(stands, record)
            }
            Record::Totals(counted) => self.copy_totals(counted),
            Record::Settings(OwnerSet { owner, settings }) => {
                let stands: Option<OwnerSettings> = self.batch.get(&keys::settings(*owner))?;
                self.record_if(stands.as_ref() == Some(settings), record)
            }
            Record::Checksums(blob, checksums) => {
                let stands: Option<Checksums> = self.batch.get(&keys::checksums(blob))?;
                self.record_if(stands.as_ref() == Some(checksums), record)
            }
            Record::Pin(pinned) => {
                let stands: Option<Pin> = self.batch.get(&keys::pin(pinned.version))?;
                self.record_if(stands == Some(pinned.pin), record)
            }
            Record::Rules(OwnerRules {
                owner,
                rules: Some(rules),
            }) => {
                let stands: Option<Vec<RetentionRule>> = self.batch.get(&keys::retention(*owner))?;
                self.record_if(stands.as_ref() == Some(rules), record)
            }
            // They hide what is older, and in the oldest file there is nothing older.
            Record::RemoveFile(_)
            | Record::RemoveVersion(_)
            | Record::RemovePackage(_)
            | Record::RemoveToken(_)
            | Record::RemoveAccount(_)
            | Record::RemoveMember(_)
            | Record::Sweep(_)
            | Record::SweepPackage(_)
            | Record::Unpin(_)
            | Record::Rules(OwnerRules { rules: None, .. })
            | Record::Drop(_) => Ok(Staged::In),
        }
    }

    fn copy_totals(&mut self, counted: &[Counted]) -> Result<Staged, StoreError> {
        let mut standing = Vec::new();
        for counted in counted {
            let totals: Option<Totals> = self.batch.get(&keys::totals(counted.holder))?;
            if totals == Some(counted.totals) {
                standing.push(*counted);
            }
        }
        match standing.is_empty() {
            true => Ok(Staged::In),
            false => self.record(Record::Totals(standing)),
        }
    }

    fn copy_places(&mut self, places: &[PlacedChunk]) -> Result<Staged, StoreError> {
        let mut standing = Vec::new();
        for placed in places {
            if self.leads_to(&keys::chunk(&placed.digest), &placed.place)? {
                standing.push(placed.clone());
            }
        }
        self.places(standing)
    }

    /// A publication that stands is written as it stands now: what is known of its package or version may be newer
    /// than it is.
    fn copy_publication(&mut self, published: &Published) -> Result<Staged, StoreError> {
        let package: Option<Package> = self
            .batch
            .get(&keys::package(published.owner, &published.package.name))?;
        let Some(package) = package.filter(|package| package.id == published.package.id) else {
            return Ok(Staged::In);
        };
        let version: Option<Version> = self
            .batch
            .get(&keys::version(&package, &published.version.name))?;
        let Some(version) = version.filter(|version| version.id == published.version.id) else {
            return Ok(Staged::In);
        };
        let file: Option<File> = self
            .batch
            .get(&keys::file(&package, version.id, &published.file.name))?;
        let Some(file) = file.filter(|file| file.id == published.file.id) else {
            return Ok(Staged::In);
        };
        self.record(Record::Publish(Published {
            owner: published.owner,
            package,
            version,
            file,
        }))
    }

    fn leads_to(&self, key: &[u8], place: &Place) -> Result<bool, StoreError> {
        let stands: Option<Place> = self.batch.get(key)?;
        Ok(stands == Some(*place))
    }

    fn places(&mut self, places: Vec<PlacedChunk>) -> Result<Staged, StoreError> {
        match places.is_empty() {
            true => Ok(Staged::In),
            false => self.record(Record::Places(places)),
        }
    }

    fn record_if(&mut self, stands: bool, record: &Record) -> Result<Staged, StoreError> {
        match stands {
            true => self.record(record.clone()),
            false => Ok(Staged::In),
        }
    }
}
