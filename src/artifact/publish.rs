//! Publish: refuse early, take the body in, let the owner's actor give it its name.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;

use super::checksum::Checksums;
use super::receive::{Rules, receive};
use super::{ArtifactError, Artifacts, PublishRequest, Published, metrics};
use crate::owner::decide::{Decision, Wish, could_heal, decide_publish};
use crate::owner::gate::UploadPermit;
use crate::owner::messages::{Named, Publication};
use crate::owner::names::{FileName, Names, committed};
use crate::owner::{OwnerError, Policy};
use crate::store::Health;
use crate::store::change::CommitError;
use crate::store::error::StoreError;
use crate::store::model::{Account, Id};

/// How long a complete body waits for an index that is being built again.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// Before it is tried again.
const INDEX_PAUSE: Duration = Duration::from_millis(20);

/// A publication that nothing was known against when it came. That promises nothing.
#[derive(Clone, Debug)]
pub struct Prechecked(PublishRequest);

impl Artifacts {
    /// Refuses, from committed state and without waiting, a publication that cannot win: names, preconditions, policy,
    /// size, and whether the store can write.
    pub fn precheck(&self, request: PublishRequest) -> Result<Prechecked, ArtifactError> {
        self.check(&request)?;
        Ok(Prechecked(request))
    }

    fn check(&self, request: &PublishRequest) -> Result<(), ArtifactError> {
        request.at.validate()?;
        let policy = self.policy(&request.owner, &request.at.package);
        check_names(&self.store, policy, request)?;
        if let (Some(length), Some(limit)) = (request.length, self.options.max_file_size)
            && length > limit
        {
            return Err(ArtifactError::TooLarge { limit });
        }
        self.store.check_room(request.length.unwrap_or(0))?;
        self.check_writes()
    }

    /// Whether the store can write.
    pub(super) fn check_writes(&self) -> Result<(), ArtifactError> {
        match self.store.health() {
            Health::Ready => Ok(()),
            Health::Poisoned(_) => Err(StoreError::Poisoned.into()),
            Health::Rebuilding { why, .. } => Err(StoreError::Index(why).into()),
        }
    }

    /// Takes a body in and gives it its name.
    ///
    /// Dropped before it returns, it has published the whole file or nothing: the body has no name until the owner's
    /// actor hands the change to the store, and from then on the store carries it through.
    pub async fn publish<S, E>(&self, request: Prechecked, body: S) -> Result<Published, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let Prechecked(request) = request;
        let permit = self.owners.admit(request.owner.id).await?;
        if permit.waited() {
            self.check(&request)?;
        }
        let policy = self.policy(&request.owner, &request.at.package);
        let mut checksums = Checksums::new(request.checksums);
        let mut writer = self.store.upload(request.length);
        let rules = Rules {
            length: request.length,
            max_size: self.options.max_file_size,
            min_bytes_per_window: self.options.min_bytes_per_window,
            stall_window: self.options.stall_window,
        };
        receive(body, rules, &mut checksums, async |piece| {
            writer.write(piece).await
        })
        .await?;
        let blob = writer.finish().await?;
        let publication = Publication {
            sha256: checksums.verify(blob.digest)?,
            at: request.at.into(),
            policy,
            condition: request.condition,
            by: request.by,
            blob: Arc::new(blob),
        };
        let named = self
            .name_patiently(request.owner.id, publication, &permit)
            .await?;
        metrics::published(named.file.size);
        Ok(Published {
            file: named.file,
            ok: named.already_there || policy == Policy::Cache,
        })
    }

    /// The body cannot be had again, so an index that is being built again is waited for here.
    async fn name_patiently(
        &self,
        owner: Id,
        publication: Publication,
        permit: &UploadPermit,
    ) -> Result<Named, OwnerError> {
        let deadline = Instant::now() + INDEX_PATIENCE;
        loop {
            match self.owners.publish(owner, publication.clone(), permit).await {
                Err(
                    OwnerError::Store(StoreError::Index(_)) | OwnerError::Commit(CommitError::Rebuilding),
                ) if Instant::now() < deadline => {}
                named => return named,
            }
            tokio::time::sleep(INDEX_PAUSE).await;
            let _ = tokio::time::timeout_at(deadline.into(), self.store.index_restored()).await;
        }
    }

    /// The policy of an owner's package.
    pub fn policy(&self, owner: &Account, package: &str) -> Policy {
        self.policies.load().policy(&owner.name, package)
    }
}

/// What the actor would say about the committed names, in doubt for the publication.
fn check_names(names: &dyn Names, policy: Policy, request: &PublishRequest) -> Result<(), ArtifactError> {
    let at = FileName::from(request.at.clone());
    let standing = committed(names, request.owner.id, &at)?;
    let wish = Wish {
        condition: &request.condition,
        // A body with another digest than the announced one is refused anyway.
        digest: request.checksums.blake3,
    };
    let decision = decide_publish(policy, &standing, wish);
    let Decision::Refuse(refusal) = decision else {
        return Ok(());
    };
    match could_heal(&decision, &standing, wish) {
        Some(file) if names.is_damaged(file)? => Ok(()),
        _ => Err(refusal.into()),
    }
}
