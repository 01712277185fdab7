//! What can be asked of the committer: changes with the state they expect to find.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::counts::Quota;
use super::log::record::{OwnerRules, Record};
use super::model::{
    Account, Checksums, File, Id, Membership, OwnerSettings, Package, Pin, Place, Token, TokenUse, Version,
};
use super::pins::DropReservation;
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
    /// Keep when tokens were last used. Those that are gone are left out.
    PutTokenUses(Vec<TokenUse>),
    /// Remove an account, with its tokens and memberships. It must stand as given and own no packages.
    RemoveAccount(Account),
    /// Make a user a member of an organisation, or give a member another permission. Both must be there.
    PutMember(Membership),
    /// Set something for an owner, or nothing any more. The account must be there.
    PutSettings {
        /// The owner.
        owner: Id,
        /// What is set now.
        expect: OwnerSettings,
        /// What shall be set.
        settings: OwnerSettings,
    },
    /// Keep the checksums of a blob that is stored.
    PutChecksums(Digest, Checksums),
    /// Take a member out. The membership must stand as given.
    RemoveMember(Membership),
    /// Pin a version, or take its pin away.
    Pin(PinVersion),
    /// Give an owner rules of retention, or take them away. The owner must be there.
    PutRules(OwnerRules),
    /// Note that a copy of a chunk, or of a blob's manifest, is damaged. Expects that it is the one in use.
    Quarantine {
        /// The chunk or blob.
        digest: Digest,
        /// Where the copy lies.
        place: Place,
    },
    /// Take chunks and manifests that nothing leads to out of the index. Only collection asks for it.
    Drop(Garbage),
    /// Bulk chunks have been copied to other segments. Only compaction asks for it.
    Move(Vec<Moved>),
    /// Write records again that stand in an old journal file, as far as they still say what is so. Only compaction
    /// asks for it.
    Copy(Vec<Original>),
    /// Write a group that changes nothing: the journal is known to reach this far, and the segments are known to be
    /// durable as far as they are.
    Mark {
        /// The journal goes on in a new, small file.
        last_of_file: bool,
    },
}

impl Change {
    /// Whether it changes who can sign in, or with what.
    pub fn changes_sign_in(&self) -> bool {
        matches!(
            self,
            Change::PutAccount { .. }
                | Change::PutToken(_)
                | Change::RemoveToken(_)
                | Change::RemoveAccount(_)
        )
    }

    /// Whether it leads to more room: such changes may use what is kept for them, and the ballast.
    pub fn frees(&self) -> bool {
        matches!(
            self,
            Change::RemoveFile(_)
                | Change::RemoveVersion(_)
                | Change::RemovePackage(_)
                | Change::RemoveAccount(_)
                | Change::RemoveToken(_)
                | Change::Drop(_)
                | Change::Move(_)
                | Change::Copy(_)
                | Change::Mark { .. }
        )
    }

    /// Whether it is one of compaction's, which leave a part of the ballast to removals.
    pub fn copies(&self) -> bool {
        matches!(self, Change::Move(_) | Change::Copy(_))
    }
}

/// What collection wants dropped. The committer leaves out what a publication has come to rely on meanwhile.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Chunks with their lengths in bytes. Nobody can pin them until the change is settled.
    pub chunks: Vec<(Digest, u32)>,
    /// Manifests, by the digest of their blob.
    pub manifests: Vec<Digest>,
    /// Keep the chunks from being pinned.
    pub reservations: Vec<DropReservation>,
    /// Counts what is dropped.
    pub freed: Arc<Freed>,
}

/// What a pass of collection has dropped so far.
#[derive(Debug, Default)]
pub struct Freed {
    chunks: AtomicU64,
    manifests: AtomicU64,
    bytes: AtomicU64,
}

impl Freed {
    /// Counts chunks, manifests, and the bytes of the chunks.
    pub fn add(&self, chunks: u64, manifests: u64, bytes: u64) {
        self.chunks.fetch_add(chunks, Ordering::Relaxed);
        self.manifests.fetch_add(manifests, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Chunks.
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Manifests.
    pub fn manifests(&self) -> u64 {
        self.manifests.load(Ordering::Relaxed)
    }

    /// Bytes of the chunks.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A bulk chunk that has a synced copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The chunk.
    pub digest: Digest,
    /// Where it must still lie.
    pub from: Place,
    /// Where its copy lies.
    pub to: Place,
}

/// A record of an old journal file.
#[derive(Clone, Debug)]
pub struct Original {
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub record: Record,
    /// The verified bytes of a chunk; empty for other records.
    pub bytes: Bytes,
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
    /// What the owner may hold with it.
    pub quota: Quota,
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
    /// The version must not be pinned.
    pub spare_pinned: bool,
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
    /// It must not be pinned.
    pub spare_pinned: bool,
}

/// A pin of a version, set or taken away.
#[derive(Debug)]
pub struct PinVersion {
    /// The package.
    pub package: Package,
    /// The version that must be there now.
    pub version: Version,
    /// The pin; `None`: none.
    pub pin: Option<Pin>,
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
    /// A chunk that the upload found in the store has been found damaged meanwhile. Sent again, the bytes heal it.
    #[error("stored bytes that the upload relies on were found damaged; send it again")]
    Damaged,
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
