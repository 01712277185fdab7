//! What can be asked of the committer: changes with the state they expect to find.

use std::sync::Arc;

use super::model::{Account, Checksums, File, Id, Membership, Package, Token, Version};
use super::upload::NewBlob;
use crate::chunk::Digest;

/// One atomic change of names. The committer checks what it expects against everything committed before it, writes
/// its records, syncs them, and only then makes it visible.
#[derive(Debug)]
pub enum Change {
    /// Give a blob a name.
    Publish(Publish),
    /// Take a file's name away, and its version's with the last one.
    RemoveFile(RemoveFile),
    /// Take a version's name away, with all its files.
    RemoveVersion(RemoveVersion),
    /// Take a package's name away, with all its versions.
    RemovePackage(RemovePackage),
    /// Create an account, or replace the one that is expected.
    PutAccount {
        /// What is there now: `None` for a name that is free.
        expect: Option<Account>,
        /// What shall be there. Same id and name as `expect`.
        account: Account,
    },
    /// Create a token. Its name within the account must be free.
    PutToken(Token),
    /// Revoke a token.
    RemoveToken(Token),
    /// Remove an account, with its tokens and memberships. It must stand as given and own no packages.
    RemoveAccount(Account),
    /// Make a user a member of an organisation, or give a member another permission. Both must be there.
    PutMember(Membership),
    /// Keep the checksums of a blob that is stored.
    PutChecksums(Digest, Checksums),
    /// Take a member out. The membership must stand as given.
    RemoveMember(Membership),
}

impl Change {
    /// Whether it leads to more room: such changes may use what is kept for them, and the ballast.
    pub fn frees(&self) -> bool {
        matches!(
            self,
            Change::RemoveFile(_)
                | Change::RemoveVersion(_)
                | Change::RemovePackage(_)
                | Change::RemoveAccount(_)
                | Change::RemoveToken(_)
        )
    }
}

/// Publication of a file.
#[derive(Debug)]
pub struct Publish {
    /// The account that owns the package.
    pub owner: Id,
    /// The package, found or to be created.
    pub package: Expected<Package>,
    /// The version, found or to be created.
    pub version: Expected<Version>,
    /// The file that is published. Its `id` is fresh.
    pub file: File,
    /// The file that is replaced, by id; `None`: the name must be free.
    pub replaces: Option<Id>,
    /// The bytes, with the pins that keep its chunks alive until the index knows them.
    pub blob: Arc<NewBlob>,
}

/// Whether a commit expects to find something or brings it along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected<T> {
    /// It is there, with this id (or an earlier commit that is still under way creates it).
    Present(T),
    /// It is absent and this commit creates it.
    Absent(T),
}

impl<T> Expected<T> {
    /// The value, found or new.
    pub fn get(&self) -> &T {
        match self {
            Expected::Present(value) | Expected::Absent(value) => value,
        }
    }
}

/// Removal of one file.
#[derive(Debug)]
pub struct RemoveFile {
    /// The account that owns the package.
    pub owner: Id,
    /// The package.
    pub package: Package,
    /// The version that the file is in.
    pub version: Version,
    /// The file that must be there now, by id and name.
    pub file: File,
}

/// Removal of a whole version.
#[derive(Debug)]
pub struct RemoveVersion {
    /// The account that owns the package.
    pub owner: Id,
    /// The package.
    pub package: Package,
    /// The version that must be there now.
    pub version: Version,
}

/// Removal of a whole package.
#[derive(Debug)]
pub struct RemovePackage {
    /// The account that owns the package.
    pub owner: Id,
    /// The package that must be there now.
    pub package: Package,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// What it expected was no longer so; decide again.
    #[error("the expected state has changed")]
    Conflict,
    /// The committer's queue is full; nothing was decided.
    #[error("too many commits are waiting")]
    Busy,
    /// A write or sync failed, now or before. Whether this change is durable is known after a restart.
    #[error("writing has stopped after an I/O error")]
    Poisoned,
    /// The index failed. Whether this change is durable shows after it is rebuilt.
    #[error("the index failed")]
    IndexFailed,
    /// The index is being built again; nothing was written.
    #[error("the index is being built again")]
    Rebuilding,
    /// No room for the records; nothing was written.
    #[error("no space left for the commit")]
    NoSpace,
    /// The store is closing; nothing was written.
    #[error("the store is closing")]
    Closed,
}
