//! The actor of one owner: looks, lets [`decide`](super::decide) decide, hands the change to the store, answers.
//!
//! It never waits. An answer carries the ticket it depends on, and the asker waits for that; so one actor keeps any
//! number of commits under way, in its own order, and nothing queues for a name.
//!
//! Nothing here must outlive the actor: what it decided is in the committer's hands before it answers, and the
//! committer checks each change against everything before it. So when an actor dies, with commits under way that its
//! successor knows nothing of, the successor's decisions meet a conflict and are taken again.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use tokio::time::Instant;

use super::decide::{
    Decision, Refusal, Wish, could_heal, decide_expendable, decide_publish, decide_remove_file,
    decide_remove_package, decide_remove_version,
};
use super::directory::Shards;
use super::messages::{
    Answer, EvictFile, Named, Publication, Publish, RemoveFile, RemovePackage, RemoveVersion, RetireVersion,
};
use super::metrics::LiveActor;
use super::names::{FileName, Names};
use super::policy::Policy;
use super::quota::decide_quota;
use super::rules::Rules;
use super::tentative::{Found, Tentative};
use crate::store::change::{self, Change, Expected};
use crate::store::counts::Quota;
use crate::store::error::StoreError;
use crate::store::model::{File, Id, Millis, Package, Version};
use crate::store::ticket::Ticket;

/// Decides about the names of one owner.
#[derive(Debug)]
pub struct OwnerActor {
    owner: Id,
    names: Arc<dyn Names>,
    rules: Arc<Rules>,
    tentative: Tentative,
    /// Where the actor signs off when idle. Weak: the directory owns the actors.
    directory: Weak<Shards>,
    idle: Duration,
    last_used: Instant,
    _live: LiveActor,
}

/// A publication that may go on.
#[derive(Clone, Copy)]
struct Accepted {
    replaces: Option<Id>,
    policy: Policy,
    /// For the committer to prove.
    quota: Quota,
}

impl OwnerActor {
    /// An actor that stops after `idle` without a message.
    pub fn new(
        owner: Id,
        names: Arc<dyn Names>,
        rules: Arc<Rules>,
        directory: Weak<Shards>,
        idle: Duration,
    ) -> Self {
        OwnerActor {
            owner,
            names,
            rules,
            tentative: Tentative::default(),
            directory,
            idle,
            last_used: Instant::now(),
            _live: LiveActor::new(),
        }
    }

    fn publish(&mut self, wanted: &Publication) -> Result<Answer<Named>, StoreError> {
        let found = self.tentative.file(&*self.names, self.owner, &wanted.at)?;
        let wish = Wish {
            condition: &wanted.condition,
            digest: Some(wanted.blob.digest),
        };
        // Looked up for each decision: what is set on the owner counts at once.
        let settings = self.names.settings(self.owner)?;
        let owner = (self.owner, wanted.owner.as_str());
        let policy = self.rules.policy(owner, &settings, &wanted.at.package);
        let mut decision = decide_publish(policy, &found.standing, wish);
        // A file that is still on its way cannot be damaged, and the index cannot tell about it.
        if found.file_committed
            && let Some(file) = could_heal(&decision, &found.standing, wish)
            && self.names.is_damaged(file)?
        {
            decision = Decision::Accept {
                replaces: Some(file.id),
            };
        }
        match decision {
            Decision::Accept { replaces } => {
                let quota = match wanted.by_admin {
                    true => Quota::default(),
                    false => self.rules.limits(&settings).quota(),
                };
                match self.over_quota(quota, &found, wanted.blob.size)? {
                    Some(refusal) => Ok(Answer::refused(refusal, found.basis)),
                    None => {
                        let accepted = Accepted {
                            replaces,
                            policy,
                            quota,
                        };
                        Ok(self.commit_publication(wanted, found, accepted))
                    }
                }
            }
            Decision::AlreadyThere(file) => Ok(Answer::Decided {
                value: Ok(Named {
                    file,
                    already_there: true,
                    policy,
                }),
                basis: found.basis,
            }),
            Decision::Refuse(refusal) => Ok(Answer::refused(refusal, found.basis)),
        }
    }

    /// Refuses what the committer would not take. What relies on commits under way is left to it: only it knows what
    /// the owner holds after them.
    fn over_quota(&self, quota: Quota, found: &Found, size: u64) -> Result<Option<Refusal>, StoreError> {
        if quota.is_unlimited() || !found.basis.is_empty() {
            return Ok(None);
        }
        let held = self.names.held(self.owner)?;
        Ok(decide_quota(quota, held, &found.standing, size).err())
    }

    fn commit_publication(
        &mut self,
        wanted: &Publication,
        found: Found,
        accepted: Accepted,
    ) -> Answer<Named> {
        let now = now();
        let standing = found.standing;
        let package = expected(standing.package, || Package {
            id: self.names.next_id(),
            name: wanted.at.package.clone(),
            exact_case: accepted.policy.exact_case(),
            created: now,
        });
        let version = expected(standing.version, || Version {
            id: self.names.next_id(),
            name: wanted.at.version.clone(),
            created: now,
            creator: wanted.by,
        });
        let file = File {
            id: self.names.next_id(),
            // A name keeps its first spelling when its file is replaced.
            name: standing
                .file
                .map_or_else(|| wanted.at.file.clone(), |file| file.name),
            blob: wanted.blob.digest,
            size: wanted.blob.size,
            shape: wanted.blob.shape(),
            created: now,
            creator: wanted.by,
            sha256: wanted.sha256,
        };
        let ticket = self.names.commit(Change::Publish(change::Publish {
            owner: self.owner,
            package: package.clone(),
            version: version.clone(),
            file: file.clone(),
            replaces: accepted.replaces,
            quota: accepted.quota,
            blob: wanted.blob.clone(),
        }));
        // Nothing from here on can panic: an actor that ends without an answer has committed nothing for it.
        if is_under_way(&ticket) {
            self.tentative
                .published(with_novelty(&package), with_novelty(&version), &file, &ticket);
        }
        let value = Named {
            file,
            already_there: false,
            policy: accepted.policy,
        };
        Answer::UnderWay { value, ticket }
    }

    /// `judged`: upkeep has decided about the file with this id, and spares what is pinned.
    fn remove_file(&mut self, at: &FileName, judged: Option<Id>) -> Result<Answer<()>, StoreError> {
        let found = self.tentative.file(&*self.names, self.owner, at)?;
        let (package, version, file) = match decide_remove_file(found.standing) {
            Ok(target) => target,
            Err(refusal) => return Ok(Answer::refused(refusal, found.basis)),
        };
        if let Some(judged) = judged {
            let is_pinned = self.names.is_pinned(&version)?;
            if let Err(refusal) = decide_expendable(file.id, judged, is_pinned, Refusal::NoFile) {
                return Ok(Answer::refused(refusal, found.basis));
            }
        }
        let ticket = self.names.commit(Change::RemoveFile(change::RemoveFile {
            owner: self.owner,
            package: package.clone(),
            version: version.clone(),
            file: file.clone(),
            spare_pinned: judged.is_some(),
        }));
        if is_under_way(&ticket) {
            self.tentative.file_removed(&package, version, &file, &ticket);
        }
        Ok(Answer::UnderWay { value: (), ticket })
    }

    /// `judged`: upkeep has decided about the version with this id, and spares what is pinned.
    fn remove_version(
        &mut self,
        message: &RemoveVersion,
        judged: Option<Id>,
    ) -> Result<Answer<()>, StoreError> {
        let found = self
            .tentative
            .version(&*self.names, self.owner, &message.package, &message.version)?;
        let (package, version) = match decide_remove_version(found.standing) {
            Ok(target) => target,
            Err(refusal) => return Ok(Answer::refused(refusal, found.basis)),
        };
        if let Some(judged) = judged {
            let is_pinned = self.names.is_pinned(&version)?;
            if let Err(refusal) = decide_expendable(version.id, judged, is_pinned, Refusal::NoVersion) {
                return Ok(Answer::refused(refusal, found.basis));
            }
        }
        let ticket = self.names.commit(Change::RemoveVersion(change::RemoveVersion {
            owner: self.owner,
            package: package.clone(),
            version: version.clone(),
            spare_pinned: judged.is_some(),
        }));
        if is_under_way(&ticket) {
            self.tentative.version_removed(&package, &version, &ticket);
        }
        Ok(Answer::UnderWay { value: (), ticket })
    }

    fn remove_package(&mut self, message: &RemovePackage) -> Result<Answer<()>, StoreError> {
        let found = self
            .tentative
            .package(&*self.names, self.owner, &message.package)?;
        let package = match decide_remove_package(found.standing) {
            Ok(package) => package,
            Err(refusal) => return Ok(Answer::refused(refusal, found.basis)),
        };
        let ticket = self.names.commit(Change::RemovePackage(change::RemovePackage {
            owner: self.owner,
            package: package.clone(),
        }));
        if is_under_way(&ticket) {
            self.tentative.package_removed(&package, &ticket);
        }
        Ok(Answer::UnderWay { value: (), ticket })
    }

    fn stop_when_idle(&mut self, ctx: &mut Context<Self>) {
        let rest = self.idle.saturating_sub(self.last_used.elapsed());
        if rest.is_zero() && self.tentative.is_settled() && self.sign_off(ctx) {
            ctx.stop();
            return;
        }
        // Idle, but held by somebody: look again after another idle time.
        let rest = if rest.is_zero() { self.idle } else { rest };
        ctx.run_later(rest, Self::stop_when_idle);
    }

    /// Whether nobody holds this actor and nobody can find it any more.
    fn sign_off(&self, ctx: &Context<Self>) -> bool {
        self.directory
            .upgrade()
            .is_none_or(|directory| directory.sign_off(self.owner, &ctx.address()))
    }
}

impl Actor for OwnerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(self.idle, Self::stop_when_idle);
    }
}

impl Handler<Publish> for OwnerActor {
    type Result = Result<Answer<Named>, StoreError>;

    fn handle(&mut self, message: Publish, _: &mut Self::Context) -> Self::Result {
        self.last_used = Instant::now();
        self.publish(&message.0)
    }
}

impl Handler<RemoveFile> for OwnerActor {
    type Result = Result<Answer<()>, StoreError>;

    fn handle(&mut self, message: RemoveFile, _: &mut Self::Context) -> Self::Result {
        self.last_used = Instant::now();
        self.remove_file(&message.0, None)
    }
}

impl Handler<EvictFile> for OwnerActor {
    type Result = Result<Answer<()>, StoreError>;

    fn handle(&mut self, message: EvictFile, _: &mut Self::Context) -> Self::Result {
        self.last_used = Instant::now();
        self.remove_file(&message.at, Some(message.file))
    }
}

impl Handler<RetireVersion> for OwnerActor {
    type Result = Result<Answer<()>, StoreError>;

    fn handle(&mut self, message: RetireVersion, _: &mut Self::Context) -> Self::Result {
        self.last_used = Instant::now();
        self.remove_version(&message.named, Some(message.version))
    }
}

impl Handler<RemoveVersion> for OwnerActor {
    type Result = Result<Answer<()>, StoreError>;

    fn handle(&mut self, message: RemoveVersion, _: &mut Self::Context) -> Self::Result {
        self.last_used = Instant::now();
        self.remove_version(&message, None)
    }
}

impl Handler<RemovePackage> for OwnerActor {
    type Result = Result<Answer<()>, StoreError>;

    fn handle(&mut self, message: RemovePackage, _: &mut Self::Context) -> Self::Result {
        self.last_used = Instant::now();
        self.remove_package(&message)
    }
}

fn expected<T>(found: Option<T>, new: impl FnOnce() -> T) -> Expected<T> {
    match found {
        Some(found) => Expected::Present(found),
        None => Expected::Absent(new()),
    }
}

/// The value, and whether the commit brings it along.
fn with_novelty<T>(expected: &Expected<T>) -> (&T, bool) {
    (expected.get(), matches!(expected, Expected::Absent(_)))
}

/// A commit that was refused at once, for want of room in the queue, changes nothing, and must not hide one that is
/// still under way.
fn is_under_way(ticket: &Ticket) -> bool {
    ticket.peek().is_none()
}

/// Milliseconds since the epoch; 0 on a clock that is set before it.
fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| {
        Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
    })
}

/// Makes the handler panic, for tests.
#[cfg(test)]
pub struct Crash;

#[cfg(test)]
impl actix::Message for Crash {
    type Result = ();
}

#[cfg(test)]
impl Handler<Crash> for OwnerActor {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("crashed on command");
    }
}
