//! The verbs that every door calls: publish, fetch, browse, remove.

pub mod browse;
pub mod checksum;
pub mod checksums;
pub mod error;
pub mod eviction;
pub mod fetch;
pub mod last_uses;
mod metrics;
pub mod names;
mod once;
mod pin;
mod publish;
mod receive;
mod remove;
pub mod retention;
pub mod settings;
pub mod walk;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::owner::{self, Limits, Owners, PolicyTable, Rules, WriteCondition};
use crate::store::blob::Blob;
use crate::store::model::{Account, File, Id};
use crate::store::{Located, Store};
pub use checksum::ExpectedChecksums;
pub use error::ArtifactError;
use last_uses::LastUses;
pub use names::Coordinates;
use once::Once;
pub use publish::{Prechecked, Upload};
use retention::Wanted;

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
    /// Bytes of memory for the times of last use.
    pub access_memory: u64,
    /// Rules of retention of owners who have none of their own.
    pub retention: Arc<retention::Rules>,
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
    pub located: Arc<Located>,
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
    uses: Arc<LastUses>,
    cache_pressure: Arc<eviction::CachePressure>,
    wanted_retention: Wanted,
    /// Rules of owners who have none of their own; may be exchanged while the server runs.
    retention: Arc<ArcSwap<retention::Rules>>,
    previews: Arc<Semaphore>,
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
            uses: Arc::new(known_uses(&store, options.access_memory)),
            cache_pressure: Arc::default(),
            wanted_retention: Wanted::default(),
            retention: Arc::new(ArcSwap::new(options.retention.clone())),
            previews: Arc::new(Semaphore::new(1)),
            store,
            rules,
            options: Arc::new(options),
            hashing: Once::new(checksums::AT_ONCE),
        }
    }

    /// Decides by the policies, limits and rules of retention of `options` from now on; the rest of them holds from the
    /// start only.
    pub fn configure(&self, options: Options) {
        self.rules.configure(options.policies, options.limits);
        self.retention.store(options.retention);
    }
}

/// Where the times of last use are kept.
fn uses_path(store: &Store) -> PathBuf {
    store.data().join("last-uses")
}

/// The times of last use of earlier runs. Without them everything counts from its publication.
fn known_uses(store: &Store, bytes: u64) -> LastUses {
    let path = uses_path(store);
    LastUses::load(&path, bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "the times of last use are lost; everything counts from its publication");
        LastUses::new(bytes)
    })
}

impl Artifacts {
    /// Keeps the times of last use for the next run. Blocks.
    ///
    /// # Errors
    /// Where they cannot be written; what was written before stays.
    pub fn save_uses(&self) -> std::io::Result<()> {
        self.uses.save(&uses_path(&self.store))
    }
}
