//! The verbs that every door calls: publish, fetch, browse, remove.

pub mod browse;
pub mod checksum;
pub mod checksums;
pub mod error;
mod fetch;
mod metrics;
pub mod names;
mod once;
mod publish;
mod receive;
mod remove;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use crate::owner::{self, Limits, Owners, PolicyTable, Rules, WriteCondition};
use crate::store::Store;
use crate::store::blob::Blob;
use crate::store::model::{Account, File, Id};
pub use checksum::ExpectedChecksums;
pub use error::ArtifactError;
pub use names::Coordinates;
use once::Once;
pub use publish::Prechecked;

/// Limits on uploads. `None` is no limit.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of every owner for whom nothing else is set.
    pub limits: Limits,
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
    owners: Owners,
    rules: Arc<Rules>,
    options: Arc<Options>,
    hashing: Once,
}

impl Artifacts {
    /// The verbs over a store.
    pub fn new(store: Store, options: Options) -> Self {
        metrics::init();
        let rules = Arc::new(Rules::new(options.policies.clone(), options.limits));
        let bounds = owner::Options {
            rules: rules.clone(),
            max_uploads: options.max_uploads,
            max_uploads_per_owner: options.max_uploads_per_owner,
            upload_wait: options.upload_wait,
            ..owner::Options::default()
        };
        Artifacts {
            owners: Owners::new(Arc::new(store.clone()), bounds),
            store,
            rules,
            options: Arc::new(options),
            hashing: Once::new(checksums::AT_ONCE),
        }
    }
}
