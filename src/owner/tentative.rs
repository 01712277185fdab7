//! The names as they will be once the commits under way are through.

use std::collections::HashMap;
use std::hash::Hash;

use super::messages::Basis;
use super::names::{FileName, Names, Standing};
use crate::store::error::StoreError;
use crate::store::model::{File, Id, Package, Version};
use crate::store::ticket::Ticket;

/// Below this many entries a sweep is not worth its while.
const SWEEP_AT: usize = 64;

/// What the commits under way make of the names they touch; everything else is as the index says.
///
/// A commit settles after the index has it, so an entry whose ticket is settled is dropped when it is met: success or
/// failure, the index then says the truth. The others are swept out when the maps have doubled, which keeps their
/// size within a constant factor of the commits under way.
#[derive(Debug)]
pub struct Tentative {
    /// By folded name.
    packages: Entries<String, Package>,
    /// By package id and version key.
    versions: Entries<(Id, String), Version>,
    /// By version id and file key.
    files: Entries<(Id, String), File>,
    sweep_at: usize,
}

type Entries<K, T> = HashMap<K, Entry<T>>;

#[derive(Debug)]
struct Entry<T> {
    /// What there will be; `None`: nothing.
    value: Option<T>,
    /// The last commit that touches it.
    ticket: Ticket,
    /// The commit may take the value away or leave it: removing a file does so to its version.
    doubtful: bool,
}

/// What stands under a name, commits under way included.
#[derive(Debug, Default)]
pub struct Found {
    /// What there will be.
    pub standing: Standing,
    /// What that relies on.
    pub basis: Basis,
    /// The file is in the index, not only on its way.
    pub file_committed: bool,
}

impl Tentative {
    /// Nothing is under way.
    pub fn new() -> Self {
        Tentative {
            packages: HashMap::new(),
            versions: HashMap::new(),
            files: HashMap::new(),
            sweep_at: SWEEP_AT,
        }
    }

    /// What stands under a file's name.
    pub fn file(&mut self, names: &dyn Names, owner: Id, at: &FileName) -> Result<Found, StoreError> {
        let mut found = self.version(names, owner, &at.package, &at.version)?;
        if let (Some(package), Some(version)) = (&found.standing.package, &found.standing.version) {
            let key = (version.id, key(package, &at.file));
            found.standing.file = match under_way(&mut self.files, &key, &mut found.basis) {
                Some(file) => file,
                None => {
                    found.file_committed = true;
                    names.file(package, version, &at.file)?
                }
            };
        }
        Ok(found)
    }

    /// What stands under a version's name; looks for no file.
    pub fn version(
        &mut self,
        names: &dyn Names,
        owner: Id,
        package: &str,
        version: &str,
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let folded = package.to_ascii_lowercase();
        found.standing.package = match under_way(&mut self.packages, &folded, &mut found.basis) {
            Some(package) => package,
            None => names.package(owner, package)?,
        };
        if let Some(package) = &found.standing.package {
            let key = (package.id, key(package, version));
            found.standing.version = match under_way(&mut self.versions, &key, &mut found.basis) {
                Some(version) => version,
                None => names.version(package, version)?,
            };
        }
        Ok(found)
    }

    /// A publication is under way. `new_package`, `new_version`: it brings these along.
    pub fn published(
        &mut self,
        (package, new_package): (&Package, bool),
        (version, new_version): (&Version, bool),
        file: &File,
        ticket: &Ticket,
    ) {
        if new_package {
            let folded = package.name.to_ascii_lowercase();
            self.packages
                .insert(folded, Entry::certain(Some(package.clone()), ticket));
        }
        if new_version {
            let key = (package.id, key(package, &version.name));
            self.versions
                .insert(key, Entry::certain(Some(version.clone()), ticket));
        }
        let key = (version.id, key(package, &file.name));
        self.files.insert(key, Entry::certain(Some(file.clone()), ticket));
        self.sweep_if_large();
    }

    /// The removal of a file is under way. The committer will know whether it was the version's last.
    pub fn file_removed(&mut self, package: &Package, version: Version, file: &File, ticket: &Ticket) {
        self.files.insert(
            (version.id, key(package, &file.name)),
            Entry::certain(None, ticket),
        );
        let entry = Entry {
            doubtful: true,
            ..Entry::certain(Some(version), ticket)
        };
        if let Some(version) = &entry.value {
            self.versions
                .insert((package.id, key(package, &version.name)), entry);
        }
        self.sweep_if_large();
    }

    /// The removal of a version is under way.
    pub fn version_removed(&mut self, package: &Package, version: &Version, ticket: &Ticket) {
        let key = (package.id, key(package, &version.name));
        self.versions.insert(key, Entry::certain(None, ticket));
        self.sweep_if_large();
    }

    /// Whether nothing is under way any more.
    pub fn is_settled(&mut self) -> bool {
        self.sweep();
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.packages.len() + self.versions.len() + self.files.len()
    }

    fn sweep_if_large(&mut self) {
        if self.len() >= self.sweep_at {
            self.sweep();
            self.sweep_at = SWEEP_AT.max(2 * self.len());
        }
    }

    fn sweep(&mut self) {
        self.packages.retain(|_, entry| entry.ticket.peek().is_none());
        self.versions.retain(|_, entry| entry.ticket.peek().is_none());
        self.files.retain(|_, entry| entry.ticket.peek().is_none());
    }
}

impl<T> Entry<T> {
    fn certain(value: Option<T>, ticket: &Ticket) -> Self {
        Entry {
            value,
            ticket: ticket.clone(),
            doubtful: false,
        }
    }
}

/// What the commits under way make of `key`, put on the basis; `None`: none touches it, ask the index.
fn under_way<K: Eq + Hash, T: Clone>(
    entries: &mut Entries<K, T>,
    key: &K,
    basis: &mut Basis,
) -> Option<Option<T>> {
    let entry = entries.get(key)?;
    if entry.ticket.peek().is_some() {
        entries.remove(key);
        return None;
    }
    if entry.doubtful {
        basis.doubt(&entry.ticket);
    } else {
        basis.rely_on(&entry.ticket);
    }
    Some(entry.value.clone())
}

/// How a version or file name of the package is matched.
fn key(package: &Package, name: &str) -> String {
    if package.exact_case {
        name.to_owned()
    } else {
        name.to_ascii_lowercase()
    }
}
