//! The verbs that every door calls: publish, fetch, browse, remove.

pub mod browse;
pub mod checksum;
pub mod checksums;
pub mod error;
mod fetch;
mod metrics;
pub mod names;
mod publish;
mod receive;
mod remove;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::owner::{self, Owners, PolicyTable, WriteCondition};
use crate::store::Store;
use crate::store::blob::Blob;
use crate::store::model::{Account, File, Id};
pub use checksum::ExpectedChecksums;
pub use error::ArtifactError;
pub use names::Coordinates;
pub use publish::Prechecked;

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
    /// May be exchanged while it runs.
    policies: Arc<ArcSwap<PolicyTable>>,
    store: Store,
    owners: Owners,
    options: Arc<Options>,
    hashing: Arc<Semaphore>,
}

impl Artifacts {
    /// The verbs over a store.
    pub fn new(store: Store, options: Options) -> Self {
        metrics::init();
        let bounds = owner::Options {
            max_uploads: options.max_uploads,
            max_uploads_per_owner: options.max_uploads_per_owner,
            upload_wait: options.upload_wait,
            ..owner::Options::default()
        };
        Artifacts {
            owners: Owners::new(Arc::new(store.clone()), bounds),
            store,
            policies: Arc::new(ArcSwap::from_pointee(options.policies.clone())),
            options: Arc::new(options),
            hashing: Arc::new(Semaphore::new(checksums::AT_ONCE)),
        }
    }

    /// Decides by these policies from now on.
    pub fn set_policies(&self, policies: PolicyTable) {
        self.policies.store(Arc::new(policies));
    }
}
