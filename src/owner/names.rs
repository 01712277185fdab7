//! What the actors need of the store: look-ups of committed names, fresh ids, commits.

use std::fmt;

use crate::store::Store;
use crate::store::change::Change;
use crate::store::error::StoreError;
use crate::store::model::{File, Holder, Id, OwnerSettings, Package, Totals, Version};
use crate::store::ticket::Ticket;

/// The committed names and the way to change them. [`Store`] in the daemon; tests have one that can stall and fail.
pub trait Names: fmt::Debug + Send + Sync + 'static {
    /// The package of this owner and name, in any ASCII case.
    fn package(&self, owner: Id, name: &str) -> Result<Option<Package>, StoreError>;

    /// A version by name, matched as the package says.
    fn version(&self, package: &Package, name: &str) -> Result<Option<Version>, StoreError>;

    /// A file by name, matched as the package says.
    fn file(&self, package: &Package, version: &Version, name: &str) -> Result<Option<File>, StoreError>;

    /// Whether the stored bytes of a committed file are known to be damaged. A look-up; reads no bytes.
    fn is_damaged(&self, file: &File) -> Result<bool, StoreError>;

    /// Whether a committed version is pinned.
    fn is_pinned(&self, version: &Version) -> Result<bool, StoreError>;
    /// What is set for an owner.
    fn settings(&self, owner: Id) -> Result<OwnerSettings, StoreError>;

    /// What an owner holds.
    fn held(&self, owner: Id) -> Result<Totals, StoreError>;

    /// A fresh id, larger than all before.
    fn next_id(&self) -> Id;

    /// Hands a change to the committer. The ticket settles once the look-ups above show the outcome.
    fn commit(&self, change: Change) -> Ticket;
}

impl Names for Store {
    fn package(&self, owner: Id, name: &str) -> Result<Option<Package>, StoreError> {
        Store::package(self, owner, name)
    }

    fn version(&self, package: &Package, name: &str) -> Result<Option<Version>, StoreError> {
        Store::version(self, package, name)
    }

    fn file(&self, package: &Package, version: &Version, name: &str) -> Result<Option<File>, StoreError> {
        Store::file(self, package, version, name)
    }

    fn is_damaged(&self, file: &File) -> Result<bool, StoreError> {
        Store::is_damaged(self, file)
    }

    fn is_pinned(&self, version: &Version) -> Result<bool, StoreError> {
        Ok(Store::pin(self, version.id)?.is_some())
    }

    fn settings(&self, owner: Id) -> Result<OwnerSettings, StoreError> {
        Store::settings(self, owner)
    }

    fn held(&self, owner: Id) -> Result<Totals, StoreError> {
        Store::totals(self, Holder::Owner(owner))
    }

    fn next_id(&self) -> Id {
        Store::next_id(self)
    }

    fn commit(&self, change: Change) -> Ticket {
        Store::commit(self, change)
    }
}

/// Where a file is or shall be, under its owner; in the client's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Package name.
    pub package: String,
    /// Version.
    pub version: String,
    /// File name.
    pub file: String,
}

impl FileName {
    /// Package, version and file.
    pub fn parts(&self) -> [&str; 3] {
        [&self.package, &self.version, &self.file]
    }
}

/// What stands under a name: each part is there only if the one before it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The package.
    pub package: Option<Package>,
    /// The version of the package.
    pub version: Option<Version>,
    /// The file of the version.
    pub file: Option<File>,
}

/// What is committed under the names of a package, a version and a file, commits under way left aside.
pub fn committed(
    names: &dyn Names,
    owner: Id,
    [package, version, file]: [&str; 3],
) -> Result<Standing, StoreError> {
    let mut standing = Standing {
        package: names.package(owner, package)?,
        ..Standing::default()
    };
    if let Some(package) = &standing.package {
        standing.version = names.version(package, version)?;
        if let Some(version) = &standing.version {
            standing.file = names.file(package, version, file)?;
        }
    }
    Ok(standing)
}
