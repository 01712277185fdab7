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
///
/// That a package goes with its last version needs no entry: a refusal never rests on the package alone, and a
/// publication that relied on it meets a conflict and is decided again.
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

impl Default for Tentative {
    /// Nothing is under way.
    fn default() -> Self {
        Tentative {
            packages: HashMap::new(),
            versions: HashMap::new(),
            files: HashMap::new(),
            sweep_at: SWEEP_AT,
        }
    }
}

impl Tentative {
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

    /// What stands under a package's name; looks for no version.
    pub fn package(&mut self, names: &dyn Names, owner: Id, package: &str) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let folded = package.to_ascii_lowercase();
        found.standing.package = match under_way(&mut self.packages, &folded, &mut found.basis) {
            Some(package) => package,
            None => names.package(owner, package)?,
        };
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
        let mut found = self.package(names, owner, package)?;
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

    /// The removal of a package is under way.
    pub fn package_removed(&mut self, package: &Package, ticket: &Ticket) {
        let folded = package.name.to_ascii_lowercase();
        self.packages.insert(folded, Entry::certain(None, ticket));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::owner::fake::{Fake, OWNER, at};
    use crate::store::change::CommitError;
    use crate::store::model::Shape;
    use crate::store::ticket::{Settle, ticket};

    fn package() -> Package {
        Package {
            id: 1,
            name: "App".into(),
            exact_case: false,
            created: 0,
        }
    }

    fn version(id: Id, name: &str) -> Version {
        Version {
            id,
            name: name.into(),
            created: 0,
            creator: 1,
        }
    }

    fn file(id: Id) -> File {
        File {
            id,
            name: "F".into(),
            blob: crate::chunk::Digest::of(b"x"),
            size: 1,
            shape: Shape::Single,
            created: 0,
            creator: 1,
            sha256: None,
        }
    }

    /// A new package with a new version and a file, under way.
    fn publish(tentative: &mut Tentative, id: Id, name: &str) -> Settle {
        let (settle, ticket) = ticket();
        tentative.published((&package(), true), (&version(id, name), true), &file(id), &ticket);
        settle
    }

    #[tokio::test]
    async fn what_is_under_way_is_seen_and_relied_on() {
        let names = Fake::prompt();
        let mut tentative = Tentative::default();
        let settle = publish(&mut tentative, 2, "V1");
        let found = tentative.file(&*names, OWNER, &at("aPP", "v1", "f")).unwrap();
        assert_eq!(found.standing.file, Some(file(2)));
        assert!(!found.file_committed);
        settle.settle(Ok(()));
        assert!(found.basis.holds().await);
    }

    #[tokio::test]
    async fn a_settled_entry_gives_way_to_the_index() {
        let names = Fake::prompt();
        for outcome in [Ok(()), Err(CommitError::NoSpace)] {
            let mut tentative = Tentative::default();
            publish(&mut tentative, 2, "v").settle(outcome);
            let found = tentative.file(&*names, OWNER, &at("app", "v", "f")).unwrap();
            assert_eq!(found.standing, Standing::default());
            assert!(found.basis.holds().await);
        }
    }

    #[tokio::test]
    async fn removing_a_file_puts_its_version_in_doubt() {
        let names = Fake::prompt();
        for outcome in [Ok(()), Err(CommitError::NoSpace)] {
            let mut tentative = Tentative::default();
            let published = publish(&mut tentative, 2, "v");
            let (settle, ticket) = ticket();
            tentative.file_removed(&package(), version(2, "v"), &file(2), &ticket);
            let found = tentative.file(&*names, OWNER, &at("app", "v", "f")).unwrap();
            assert_eq!(found.standing.version, Some(version(2, "v")));
            assert_eq!(found.standing.file, None);
            published.settle(Ok(()));
            settle.settle(outcome);
            assert!(!found.basis.holds().await, "whatever became of it");
        }
    }

    #[test]
    fn the_maps_are_bounded_by_the_commits_under_way() {
        let mut tentative = Tentative::default();
        let mut settles = std::collections::VecDeque::new();
        for id in 0..10_000 {
            settles.push_back(publish(&mut tentative, id, &id.to_string()));
            if settles.len() > 100 {
                settles.pop_front().unwrap().settle(Ok(()));
            }
            // Three entries a commit, doubled between two sweeps.
            assert!(tentative.len() <= 2 * 3 * 102, "{}", tentative.len());
        }
        assert!(!tentative.is_settled());
        settles.clear();
        assert!(tentative.is_settled());
    }
}
