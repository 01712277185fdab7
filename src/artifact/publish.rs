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
use crate::owner::names::{FileName, Names, Standing, committed};
use crate::owner::quota::{decide_quota, room};
use crate::owner::{Limits, OwnerError, Policy};
use crate::store::Health;
use crate::store::change::CommitError;
use crate::store::error::StoreError;
use crate::store::model::{Account, Id, OwnerSettings};
use crate::store::upload::NewBlob;

/// How long a complete body waits for an index that is being built again.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// Before it is tried again.
const INDEX_PAUSE: Duration = Duration::from_millis(20);

/// A publication that nothing was known against when it came. That promises nothing.
#[derive(Clone, Debug)]
pub struct Prechecked {
    request: PublishRequest,
    /// What held then.
    limits: Limits,
}

impl Artifacts {
    /// Refuses, from committed state and without waiting, a publication that cannot win: names, preconditions, policy,
    /// size, quota, and whether the store can write.
    pub fn precheck(&self, request: PublishRequest) -> Result<Prechecked, ArtifactError> {
        let limits = self.check(&request)?;
        Ok(Prechecked { request, limits })
    }

    fn check(&self, request: &PublishRequest) -> Result<Limits, ArtifactError> {
        request.at.validate()?;
        let (settings, policy) = self.governing(&request.owner, &request.at.package)?;
        let standing = committed(&self.store, request.owner.id, request.at.parts())?;
        let charged = check_names(&self.store, policy, &standing, request)?;
        let limits = self.rules.limits(&settings);
        if let (Some(length), Some(limit)) = (request.length, limits.file_size)
            && length > limit
        {
            return Err(ArtifactError::TooLarge { limit });
        }
        let quota = limits.quota();
        if charged && !request.by_admin && !quota.is_unlimited() {
            let held = self.store.held(request.owner.id)?;
            let size = request.length.unwrap_or(0);
            if let Err(refusal) = decide_quota(quota, held, &standing, size) {
                self.refused_by_quota(policy, request.owner.id, size);
                return Err(refusal.into());
            }
        }
        self.store.check_room(request.length.unwrap_or(0))?;
        self.check_writes()?;
        Ok(limits)
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
        let upload = self.begin(request).await?;
        self.take_in(upload, body).await
    }

    /// The same for an upload whose turn has come.
    pub async fn take_in<S, E>(&self, upload: Upload, body: S) -> Result<Published, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let Upload { request, limits, .. } = &upload;
        let mut allowance = Allowance {
            artifacts: self,
            owner: &request.owner,
            at: request.at.parts(),
            received: 0,
            // Of a body with a length this has been asked already.
            checked: match limits.bytes {
                Some(_) if request.length.is_none() && !request.by_admin => 0,
                _ => u64::MAX,
            },
        };
        let rules = Rules {
            length: request.length,
            max_size: limits.file_size,
            min_bytes_per_window: self.options.min_bytes_per_window,
            stall_window: self.options.stall_window,
        };
        let mut checksums = Checksums::new(request.checksums.clone());
        let mut writer = self.store.upload(request.length);
        receive(body, rules, &mut checksums, async |piece: Bytes| {
            allowance.take(piece.len())?;
            Ok(writer.write(piece).await?)
        })
        .await?;
        let blob = writer.finish().await?;
        let sha256 = checksums.verify(blob.digest)?;
        self.name(upload, blob, sha256).await
    }

    /// The same for a small body that is there already, with the length that was announced.
    pub async fn publish_whole(&self, request: Prechecked, body: Bytes) -> Result<Published, ArtifactError> {
        debug_assert_eq!(request.request.length, Some(body.len() as u64));
        let upload = self.begin(request).await?;
        let mut checksums = Checksums::new(upload.request.checksums.clone());
        checksums.update(&body);
        let blob = self.store.upload_whole(body).await?;
        let sha256 = checksums.verify(blob.digest)?;
        self.name(upload, blob, sha256).await
    }

    /// Begins an upload that need not wait for its turn; `None` where it would have to.
    pub fn begin_now(&self, request: Prechecked) -> Option<Upload> {
        let Prechecked { request, limits } = request;
        let permit = self.owners.admit_now(request.owner.id)?;
        Some(Upload {
            request,
            limits,
            permit,
        })
    }

    /// Waits for the turn of an upload.
    async fn begin(&self, request: Prechecked) -> Result<Upload, ArtifactError> {
        let Prechecked { request, mut limits } = request;
        let permit = self.owners.admit(request.owner.id).await?;
        if permit.waited() {
            limits = self.check(&request)?;
        }
        Ok(Upload {
            request,
            limits,
            permit,
        })
    }

    /// Gives a body that is all there its name.
    async fn name(
        &self,
        Upload { request, permit, .. }: Upload,
        blob: NewBlob,
        sha256: Option<[u8; 32]>,
    ) -> Result<Published, ArtifactError> {
        let publication = Publication {
            sha256,
            at: FileName::from(request.at),
            owner: request.owner.name,
            condition: request.condition,
            by: request.by,
            by_admin: request.by_admin,
            blob: Arc::new(blob),
        };
        let (owner, publication) = (request.owner.id, Arc::new(publication));
        let named = match self.name_patiently(owner, publication, &permit).await {
            // Of an owner who is gone each try was a conflict.
            Err(OwnerError::Busy(_)) if self.store.account_by_id(owner)?.is_none() => {
                return Err(ArtifactError::NoOwner);
            }
            named => named?,
        };
        metrics::published(named.file.size);
        if named.policy == Policy::Cache {
            self.cache_pressure.grew();
        }
        Ok(Published {
            file: named.file,
            ok: named.already_there || named.policy == Policy::Cache,
        })
    }

    /// The body cannot be had again, so an index that is being built again is waited for here.
    async fn name_patiently(
        &self,
        owner: Id,
        publication: Arc<Publication>,
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
    pub fn policy(&self, owner: &Account, package: &str) -> Result<Policy, StoreError> {
        Ok(self.governing(owner, package)?.1)
    }

    /// Whether a package is a cache, as far as can be told.
    pub fn is_cache(&self, owner: &Account, package: &str) -> bool {
        self.policy(owner, package)
            .is_ok_and(|policy| policy == Policy::Cache)
    }

    /// Has eviction make room in a cache, so that the next upload like this one finds some.
    fn refused_by_quota(&self, policy: Policy, owner: Id, bytes: u64) {
        if policy == Policy::Cache {
            self.cache_pressure.refused(owner, bytes);
        }
    }

    /// What is set for an owner, and the policy of its package.
    fn governing(&self, owner: &Account, package: &str) -> Result<(OwnerSettings, Policy), StoreError> {
        let settings = self.store.settings(owner.id)?;
        let policy = self.rules.policy((owner.id, &owner.name), &settings, package);
        Ok((settings, policy))
    }
}

/// An upload whose turn has come. Dropped, it lets the next one in.
#[derive(Debug)]
pub struct Upload {
    request: PublishRequest,
    /// What holds now.
    limits: Limits,
    permit: UploadPermit,
}

/// Cuts off a body of unknown length that has become too long for its owner's quota, as far as that can be told.
struct Allowance<'a> {
    artifacts: &'a Artifacts,
    owner: &'a Account,
    at: [&'a str; 3],
    received: u64,
    /// What may come until it is looked at again.
    checked: u64,
}

impl Allowance<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), ArtifactError> {
        self.received = self.received.saturating_add(bytes as u64);
        if self.received <= self.checked {
            return Ok(());
        }
        let Artifacts { store, rules, .. } = self.artifacts;
        let (settings, policy) = self.artifacts.governing(self.owner, self.at[0])?;
        let quota = rules.limits(&settings).quota();
        self.checked = match quota.bytes {
            Some(_) => {
                let standing = committed(store, self.owner.id, self.at)?;
                room(quota, store.held(self.owner.id)?, &standing)
            }
            None => u64::MAX,
        };
        match self.received <= self.checked {
            true => Ok(()),
            false => {
                let (owner, received) = (self.owner.id, self.received);
                self.artifacts.refused_by_quota(policy, owner, received);
                Err(ArtifactError::OverBytes)
            }
        }
    }
}

/// What the actor would say about the committed names, in doubt for the publication. False: it would not be charged
/// for, since nothing would be written, or only damaged bytes again.
fn check_names(
    names: &dyn Names,
    policy: Policy,
    standing: &Standing,
    request: &PublishRequest,
) -> Result<bool, ArtifactError> {
    let wish = Wish {
        condition: &request.condition,
        // A body with another digest than the announced one is refused anyway.
        digest: request.checksums.blake3,
    };
    let decision = decide_publish(policy, standing, wish);
    let refusal = match decision {
        Decision::Accept { .. } => return Ok(true),
        Decision::AlreadyThere(_) => return Ok(false),
        Decision::Refuse(refusal) => refusal,
    };
    match could_heal(&decision, standing, wish) {
        Some(file) if names.is_damaged(file)? => Ok(false),
        _ => Err(refusal.into()),
    }
}
