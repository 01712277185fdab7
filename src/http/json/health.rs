//! What the daemon says about itself and its work.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::collect::Collected;

/// The version, as Gitea's clients read it: the part before the plus.
#[derive(Serialize, ToSchema)]
pub struct ServerVersion {
    #[schema(example = "1.27.0+larder-0.1.0")]
    pub version: String,
}

/// Health as Gitea says it.
#[derive(Serialize, ToSchema)]
pub struct Health {
    pub status: HealthStatus,
    pub description: &'static str,
    pub checks: BTreeMap<String, Vec<HealthCheck>>,
}

/// One thing that readiness depends on.
#[derive(Serialize, ToSchema)]
pub struct HealthCheck {
    pub status: HealthStatus,
    /// How it is, for people.
    pub output: String,
}

/// Whether it is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Pass,
    Fail,
}

impl From<bool> for HealthStatus {
    fn from(passes: bool) -> Self {
        match passes {
            true => HealthStatus::Pass,
            false => HealthStatus::Fail,
        }
    }
}

/// What became of a call for collection.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Collection {
    /// A pass has been asked for.
    Requested {
        /// The number of the pass.
        run: u64,
        /// Whether it waits for one that is under way.
        queued: bool,
    },
    /// What a pass would drop.
    Preview {
        /// Always true.
        dry_run: bool,
        /// Chunks that nothing refers to.
        chunks: u64,
        /// Manifests that nothing refers to.
        manifests: u64,
        /// Bytes of those chunks.
        bytes: u64,
        /// Files in the index when the pass looked.
        files: u64,
        /// Manifests of files that could not be read: their chunks are not known.
        damaged: u64,
    },
}

impl From<&Collected> for Collection {
    fn from(found: &Collected) -> Self {
        Collection::Preview {
            dry_run: true,
            chunks: found.chunks,
            manifests: found.manifests,
            bytes: found.bytes,
            files: found.files,
            damaged: found.damaged,
        }
    }
}
