//! What can be asked of an owner's actor, and how it answers.

use std::sync::Arc;

use actix::Message;

use super::decide::Refusal;
use super::names::FileName;
use super::owners::OwnerError;
use super::policy::Policy;
use super::precondition::WriteCondition;
use crate::store::change::CommitError;
use crate::store::error::StoreError;
use crate::store::model::{File, Id};
use crate::store::ticket::Ticket;
use crate::store::upload::NewBlob;

/// A complete body that wants a name.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The name.
    pub at: FileName,
    /// The name of the owner: patterns of the configuration go by it.
    pub owner: String,
    /// Preconditions.
    pub condition: WriteCondition,
    /// The account that publishes.
    pub by: Id,
    /// Admins are exempt from quotas.
    pub by_admin: bool,
    /// The SHA-256 of the body, where it was computed.
    pub sha256: Option<[u8; 32]>,
    /// The body. Its pins live as long as the publication or the commit, whichever lasts longer.
    pub blob: Arc<NewBlob>,
}

/// Decide about a publication. Clones ask the same again.
#[derive(Clone, Debug)]
pub struct Publish(pub Arc<Publication>);

/// Remove a file, and its version with the last one.
#[derive(Clone, Debug)]
pub struct RemoveFile(pub Arc<FileName>);

/// Remove a version with all its files.
#[derive(Clone, Debug)]
pub struct RemoveVersion {
    /// Package name.
    pub package: Arc<str>,
    /// Version.
    pub version: Arc<str>,
}

/// Remove a file as [`RemoveFile`] does, but only the one with this id, and not from a pinned version.
#[derive(Clone, Debug)]
pub struct EvictFile {
    /// Its name.
    pub at: Arc<FileName>,
    /// Its id.
    pub file: Id,
}

/// Remove a version as [`RemoveVersion`] does, but only the one with this id, and only if it is not pinned.
#[derive(Clone, Debug)]
pub struct RetireVersion {
    /// Its name.
    pub named: RemoveVersion,
    /// Its id.
    pub version: Id,
}

/// Remove a package with all its versions.
#[derive(Clone, Debug)]
pub struct RemovePackage {
    /// Package name.
    pub package: Arc<str>,
}

impl Message for RemovePackage {
    type Result = Result<Answer<()>, StoreError>;
}

impl Message for Publish {
    type Result = Result<Answer<Named>, StoreError>;
}

impl Message for RemoveFile {
    type Result = Result<Answer<()>, StoreError>;
}

impl Message for RemoveVersion {
    type Result = Result<Answer<()>, StoreError>;
}

impl Message for EvictFile {
    type Result = Result<Answer<()>, StoreError>;
}

impl Message for RetireVersion {
    type Result = Result<Answer<()>, StoreError>;
}

/// What a publication came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The file as it now stands.
    pub file: File,
    /// It was there before, with the same bytes; nothing was written.
    pub already_there: bool,
    /// The policy that decided.
    pub policy: Policy,
}

/// A decision, and what it still depends on.
#[derive(Debug)]
pub enum Answer<T> {
    /// The change is on its way; true once the ticket says so.
    UnderWay {
        /// What has happened then.
        value: T,
        /// The change's own ticket.
        ticket: Ticket,
    },
    /// Nothing is written.
    Decided {
        /// The answer.
        value: Result<T, Refusal>,
        /// What it relies on.
        basis: Basis,
    },
}

impl<T> Answer<T> {
    /// The names do not allow it.
    pub fn refused(refusal: Refusal, basis: Basis) -> Self {
        Answer::Decided {
            value: Err(refusal),
            basis,
        }
    }

    /// Waits for what the answer depends on. `None`: it did not come about; the actor must be asked again.
    pub async fn settled(self) -> Result<Option<T>, OwnerError> {
        match self {
            Answer::UnderWay { value, ticket } => match ticket.settled().await {
                Ok(()) => Ok(Some(value)),
                Err(CommitError::Conflict) => Ok(None),
                Err(error) => Err(OwnerError::Commit(error)),
            },
            Answer::Decided { value, basis } => {
                if basis.holds().await {
                    value.map(Some).map_err(OwnerError::Refused)
                } else {
                    Ok(None)
                }
            }
        }
    }
}

/// The commits under way that a look at the names has relied on.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    tickets: Vec<Ticket>,
    doubtful: bool,
}

impl Basis {
    /// Relies on this commit's success.
    pub fn rely_on(&mut self, ticket: &Ticket) {
        self.tickets.push(ticket.clone());
    }

    /// Only the end of this commit, good or bad, will tell what there is.
    pub fn doubt(&mut self, ticket: &Ticket) {
        self.tickets.push(ticket.clone());
        self.doubtful = true;
    }

    /// Whether nothing under way was met.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Waits until all of it is settled; says whether it has come about.
    pub async fn holds(self) -> bool {
        let mut holds = !self.doubtful;
        for ticket in self.tickets {
            holds &= ticket.settled().await.is_ok();
        }
        holds
    }
}
