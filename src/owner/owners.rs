//! The door to the actors: asks, waits for what the answer depends on, and asks again where that did not come about.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Context, Handler, Message};
use tokio::time::Instant;

use super::actor::OwnerActor;
use super::decide::Refusal;
use super::directory::Directory;
use super::gate::{Admission, UploadPermit};
use super::messages::{
    Answer, EvictFile, Named, Publication, Publish, RemoveFile, RemovePackage, RemoveVersion, RetireVersion,
};
use super::metrics::METRICS;
use super::names::{FileName, Names};
use super::rules::Rules;
use crate::store::change::CommitError;
use crate::store::error::StoreError;
use crate::store::model::{Id, Version};

/// How often one request is decided before it is refused as busy, beside once for each upload that its owner may have at
/// once: where writers race near a quota, each that does not fit makes those decide again that relied on it, and in each
/// round at least one of them is settled. So this bounds a storm of faults, not contention.
const SPARE_TRIES: usize = 16;

/// Bounds of the actors.
#[derive(Clone, Debug)]
pub struct Options {
    /// Uploads in progress, over all owners.
    pub max_uploads: usize,
    /// Uploads in progress for one owner.
    pub max_uploads_per_owner: usize,
    /// How long an upload waits for its turn before it is refused.
    pub upload_wait: Duration,
    /// Removals in progress, over all owners; more are refused at once.
    pub max_removals: usize,
    /// An actor stops after this time without a message.
    pub idle: Duration,
    /// Policies and quotas.
    pub rules: Arc<Rules>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_uploads: 1024,
            max_uploads_per_owner: 256,
            upload_wait: Duration::from_secs(10),
            max_removals: 1024,
            idle: Duration::from_secs(60),
            rules: Arc::default(),
        }
    }
}

/// Why a write did not happen.
#[derive(Debug)]
pub enum OwnerError {
    /// The names do not allow it.
    Refused(Refusal),
    /// A bound is reached, and nothing was decided.
    Busy(&'static str),
    /// A look-up failed.
    Store(StoreError),
    /// The commit failed.
    Commit(CommitError),
    /// No actor can run here any more.
    Closed,
}

impl From<StoreError> for OwnerError {
    fn from(error: StoreError) -> Self {
        OwnerError::Store(error)
    }
}

/// All owners' actors. Clones share them.
#[derive(Clone, Debug)]
pub struct Owners(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Decisions about one request, at most.
    tries: usize,
    directory: Directory,
    admission: Admission,
}

impl Owners {
    /// No actor runs yet; each starts with its first request, on the thread that brings it.
    pub fn new(names: Arc<dyn Names>, options: Options) -> Self {
        // Shows the families at zero from the start.
        std::sync::LazyLock::force(&METRICS);
        Owners(Arc::new(Inner {
            tries: options.max_uploads_per_owner.saturating_add(SPARE_TRIES),
            directory: Directory::new(names, options.rules, options.max_uploads_per_owner, options.idle),
            admission: Admission::new(options.max_uploads, options.max_removals, options.upload_wait),
        }))
    }

    /// Waits for the turn of an upload.
    ///
    /// # Errors
    /// `Busy` if it does not come in time.
    pub async fn admit(&self, owner: Id) -> Result<UploadPermit, OwnerError> {
        let lease = self.0.directory.lease(owner)?;
        self.0
            .admission
            .upload(&lease.gate)
            .await
            .ok_or(OwnerError::Busy("too many uploads"))
    }

    /// The turn of an upload, if it need not wait for it.
    pub fn admit_now(&self, owner: Id) -> Option<UploadPermit> {
        let lease = self.0.directory.lease(owner).ok()?;
        self.0.admission.upload_now(&lease.gate)
    }

    /// Gives a complete body its name. Durable on return. The permit is the upload's.
    pub async fn publish(
        &self,
        owner: Id,
        publication: Arc<Publication>,
        permit: &UploadPermit,
    ) -> Result<Named, OwnerError> {
        let _held = permit;
        self.ask(owner, Publish(publication)).await
    }

    /// Removes a file, and its version with the last one. Durable on return.
    pub async fn remove_file(&self, owner: Id, at: FileName) -> Result<(), OwnerError> {
        let _permit = self.admit_removal()?;
        self.ask(owner, RemoveFile(Arc::new(at))).await
    }

    /// Removes a version with all its files. Durable on return.
    pub async fn remove_version(&self, owner: Id, package: &str, version: &str) -> Result<(), OwnerError> {
        let _permit = self.admit_removal()?;
        let message = RemoveVersion {
            package: package.into(),
            version: version.into(),
        };
        self.ask(owner, message).await
    }

    /// Removes a package with all its versions. Durable on return.
    pub async fn remove_package(&self, owner: Id, package: &str) -> Result<(), OwnerError> {
        let _permit = self.admit_removal()?;
        let message = RemovePackage {
            package: package.into(),
        };
        self.ask(owner, message).await
    }

    /// Removes the file with this id, and its version with the last one, unless it is pinned. Durable on return.
    ///
    /// # Errors
    /// `Refused` where another file or none stands there by now, or the version is pinned.
    pub async fn evict_file(&self, owner: Id, at: FileName, file: Id) -> Result<(), OwnerError> {
        let _permit = self.admit_removal()?;
        let at = Arc::new(at);
        self.ask(owner, EvictFile { at, file }).await
    }

    /// Removes the version with this id, unless it is pinned. Durable on return.
    ///
    /// # Errors
    /// `Refused` where another version or none has the name by now, or it is pinned.
    pub async fn retire_version(
        &self,
        owner: Id,
        package: &str,
        version: &Version,
    ) -> Result<(), OwnerError> {
        let _permit = self.admit_removal()?;
        let named = RemoveVersion {
            package: package.into(),
            version: version.name.as_str().into(),
        };
        let version = version.id;
        self.ask(owner, RetireVersion { named, version }).await
    }

    fn admit_removal(&self) -> Result<super::gate::RemovalPermit, OwnerError> {
        self.0
            .admission
            .removal()
            .ok_or(OwnerError::Busy("too many removals"))
    }

    async fn ask<M, T>(&self, owner: Id, message: M) -> Result<T, OwnerError>
    where
        M: Message<Result = Result<Answer<T>, StoreError>> + Clone + Send + 'static,
        OwnerActor: Handler<M>,
        Context<OwnerActor>: ToEnvelope<OwnerActor, M>,
        T: Send + 'static,
    {
        for _ in 0..self.0.tries {
            // Held until the answer is final, so that the actor does not retire with this commit under way.
            let lease = self.0.directory.lease(owner)?;
            let asked = Instant::now();
            // An actor that is gone before it answers has committed nothing for us: the commit is its last step.
            if let Ok(answer) = lease.actor.send(message.clone()).await {
                let answered = Instant::now();
                METRICS.waited_for_actor(answered - asked);
                let settled = answer?.settled().await;
                METRICS.waited_for_commit(answered.elapsed());
                match settled {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => {}
                    Err(error) => {
                        if let OwnerError::Refused(refusal) = error {
                            METRICS.refused(refusal);
                        }
                        return Err(error);
                    }
                }
            }
            METRICS.asks_again();
        }
        Err(OwnerError::Busy("too many conflicting writes"))
    }
}

#[cfg(test)]
impl Owners {
    /// The directory, to look into and to harm its actors.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }
}
