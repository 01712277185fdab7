//! Which files use given chunks. Nothing but a scan can tell, so this is for reports of damage, off every request's
//! way.

use std::collections::{HashMap, HashSet};

use super::error::StoreError;
use super::index::{Index, decode, keys};
use super::log::files::LogFiles;
use super::log::record::Record;
use super::model::{File, Id, Package, Place, Version};
use crate::chunk::Digest;

/// The files that use one chunk or manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// `owner/package/version/file`, not all of them.
    pub names: Vec<String>,
    /// How many there are beyond those.
    pub more: u64,
}

/// Looks for users of chunks.
pub struct Search<'a> {
    /// Where the names are.
    pub index: &'a Index,
    /// Where the manifests are.
    pub files: &'a LogFiles,
    /// Names that are kept for each chunk.
    pub limit: usize,
    /// Asked at each entry; false ends the search with `Closed`.
    pub go_on: &'a dyn Fn() -> bool,
}

/// A file that uses something, before its version has a name.
struct User {
    digest: Digest,
    version: Id,
    file: String,
}

impl Search<'_> {
    /// The files that use each of `digests`, which name chunks or blobs.
    ///
    /// # Errors
    /// `Index` where the index cannot be read; `Closed` when told to end.
    pub fn users(&self, digests: &HashSet<Digest>) -> Result<HashMap<Digest, Affected>, StoreError> {
        let blobs = self.blobs(digests)?;
        let mut found: HashMap<Digest, Affected> = HashMap::new();
        let mut users: Vec<User> = Vec::new();
        let mut kept: HashMap<Digest, usize> = HashMap::new();
        self.each(b'f', |key, value| {
            let file: File = decode(value)?;
            for digest in blobs.get(&file.blob).into_iter().flatten() {
                let kept = kept.entry(*digest).or_default();
                if *kept == self.limit {
                    found.entry(*digest).or_default().more += 1;
                    continue;
                }
                *kept += 1;
                users.push(User {
                    digest: *digest,
                    version: number(key),
                    file: file.name.clone(),
                });
            }
            Ok(())
        })?;
        let versions = self.versions(users.iter().map(|user| user.version).collect())?;
        for user in users {
            // Files of a removed version, not swept yet, have no name any more.
            if let Some(version) = versions.get(&user.version) {
                let name = format!("{version}/{}", user.file);
                found.entry(user.digest).or_default().names.push(name);
            }
        }
        Ok(found)
    }

    /// Each blob that uses some of `digests`, with those.
    fn blobs(&self, digests: &HashSet<Digest>) -> Result<HashMap<Digest, Vec<Digest>>, StoreError> {
        let mut blobs: HashMap<Digest, Vec<Digest>> =
            digests.iter().map(|digest| (*digest, vec![*digest])).collect();
        self.each(b'b', |key, value| {
            let place: Place = decode(value)?;
            // One that cannot be read is damage of its own, found when it is met.
            let Ok(record) = self.files.record(&place) else {
                return Ok(());
            };
            if let Ok(Record::Manifest(blob, manifest)) = Record::decode(&record.header, &record.payload)
                && key.get(1..) == Some(blob.as_bytes())
            {
                let used: HashSet<Digest> = manifest.chunks.iter().map(|chunk| chunk.digest).collect();
                let used: Vec<Digest> = used.intersection(digests).copied().collect();
                if !used.is_empty() {
                    blobs.entry(blob).or_default().extend(used);
                }
            }
            Ok(())
        })?;
        Ok(blobs)
    }

    /// `owner/package/version` of versions.
    fn versions(&self, wanted: HashSet<Id>) -> Result<HashMap<Id, String>, StoreError> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let mut versions: Vec<(Id, Id, String)> = Vec::new();
        self.each(b'v', |key, value| {
            let version: Version = decode(value)?;
            if wanted.contains(&version.id) {
                versions.push((version.id, number(key), version.name));
            }
            Ok(())
        })?;
        let wanted: HashSet<Id> = versions.iter().map(|(_, package, _)| *package).collect();
        let mut packages: HashMap<Id, String> = HashMap::new();
        self.each(b'p', |key, value| {
            let package: Package = decode(value)?;
            if wanted.contains(&package.id) {
                let owner = number(key);
                let name: Option<String> = self.index.get_as(&keys::account_id(owner))?;
                let owner = name.unwrap_or_else(|| owner.to_string());
                packages.insert(package.id, format!("{owner}/{}", package.name));
            }
            Ok(())
        })?;
        let named = versions.into_iter().filter_map(|(id, package, name)| {
            let package = packages.get(&package)?;
            Some((id, format!("{package}/{name}")))
        });
        Ok(named.collect())
    }

    /// Every entry of a kind.
    fn each(
        &self,
        kind: u8,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.index.each(&[kind], |key, value| match (self.go_on)() {
            true => visit(key, value),
            false => Err(StoreError::Closed),
        })
    }
}

/// The number that a key begins with, behind its kind.
fn number(key: &[u8]) -> Id {
    key.get(1..9)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, Id::from_be_bytes)
}
