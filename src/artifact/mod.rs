//! The verbs that every door calls: publish, fetch, remove.

pub mod checksum;
pub mod error;
pub mod names;

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;

use crate::owner::{PolicyTable, WriteCondition};
use crate::store::Store;
use crate::store::blob::Blob;
use crate::store::model::{Account, File, Id};
pub use checksum::ExpectedChecksums;
pub use error::ArtifactError;
pub use names::Coordinates;

/// Limits on uploads. `None` is no limit.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest file, bytes.
    pub max_file_size: Option<u64>,
    /// Uploads in progress, over all owners.
    pub max_uploads: usize,
    /// Uploads in progress for one owner.
    pub max_uploads_per_owner: usize,
    /// How long an upload waits for its turn before it is refused.
    pub upload_wait: Duration,
    /// A body must bring this many bytes within `stall_window`, or it is cut off.
    pub min_bytes_per_window: u64,
    /// See `min_bytes_per_window`.
    pub stall_window: Duration,
    /// Policies by pattern.
    pub policies: PolicyTable,
}

/// Everything but the body of a publication.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// Whose package.
    pub owner: Account,
    /// The account that asks.
    pub by: Id,
    /// Admins are exempt from quotas.
    pub by_admin: bool,
    /// Where to. Not yet validated.
    pub at: Coordinates,
    /// Preconditions.
    pub condition: WriteCondition,
    /// Checksums the client wants verified.
    pub checksums: ExpectedChecksums,
    /// Content-Length, where known. The body must have exactly this length.
    pub length: Option<u64>,
}

/// A publication that is durable.
#[derive(Clone, Debug)]
pub struct Published {
    /// The file as it now stands.
    pub file: File,
    /// Whether the policy answers 200 (`cache`, or `write-once` with the same bytes) rather than 201.
    pub ok: bool,
}

/// A file and its bytes.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The file.
    pub file: File,
    /// Its bytes; finish with what they were even if the file is replaced or removed meanwhile.
    pub blob: Blob,
}

/// The verbs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Artifacts {
    store: Store,
}

impl Artifacts {
    /// The verbs over a store.
    pub fn new(store: Store, options: Options) -> Self {
        let _ = options;
        Artifacts { store }
    }

    /// Refuses, from committed state and without waiting, a publication that cannot win: names, preconditions, policy,
    /// size, space. Passing it promises nothing.
    pub fn precheck(&self, request: &PublishRequest) -> Result<(), ArtifactError> {
        let _ = (&self.store, request);
        todo!()
    }

    /// Takes a body in and gives it its name. Runs `precheck` itself, before it reads.
    pub async fn publish<S, E>(&self, request: PublishRequest, body: S) -> Result<Published, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let _ = (request, body);
        todo!()
    }

    /// Looks a file up (for HEAD and GET). Illegal names are just not found.
    pub fn fetch(&self, owner: &Account, at: &Coordinates) -> Result<Fetched, ArtifactError> {
        let _ = (owner, at);
        todo!()
    }

    /// Removes a file, and its version with the last one. Durable on return.
    pub async fn remove_file(&self, owner: &Account, at: &Coordinates) -> Result<(), ArtifactError> {
        let _ = (owner, at);
        todo!()
    }

    /// Removes a version with all its files. Durable on return.
    pub async fn remove_version(
        &self,
        owner: &Account,
        package: &str,
        version: &str,
    ) -> Result<(), ArtifactError> {
        let _ = (owner, package, version);
        todo!()
    }
}
