//! Removing an owner, with all packages if so asked.

use actix_web::HttpResponse;

use super::error::Refusal;
use super::head::Head;
use super::state::Engine;
use crate::access::{Access, AccountError};
use crate::artifact::{ArtifactError, Artifacts};
use crate::store::model::Account;

/// How often packages that were published meanwhile are removed as well.
const ROUNDS: usize = 4;

/// Why an owner was not removed.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The account has to stay.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Its packages could not be removed.
    #[error(transparent)]
    Packages(#[from] ArtifactError),
}

/// Removes a user or an organisation; one that owns packages only with `purge`, and then these first.
///
/// # Errors
/// `HasPackages` without `purge`, and where others publish faster than this removes.
pub async fn remove(
    access: &Access,
    artifacts: &Artifacts,
    owner: &Account,
    purge: bool,
) -> Result<(), PurgeError> {
    if !purge {
        return Ok(access.remove_account(owner).await?);
    }
    access.may_be_removed(owner)?;
    for _ in 0..ROUNDS {
        artifacts.remove_all(owner).await?;
        match access.remove_account(owner).await {
            Err(AccountError::HasPackages) => continue,
            removed => return Ok(removed?),
        }
    }
    Err(AccountError::HasPackages.into())
}

/// Removes an owner as the request says, `?purge=true` or not.
pub(super) async fn remove_owner(
    engine: &Engine,
    owner: &Account,
    head: Head<'_>,
) -> Result<HttpResponse, Refusal> {
    head.about(owner);
    let purge = head.query_flag("purge")?;
    match remove(&engine.access, &engine.artifacts, owner, purge).await {
        Ok(()) => Ok(HttpResponse::NoContent().finish()),
        Err(PurgeError::Account(error)) => Err(error.into()),
        Err(PurgeError::Packages(error)) => Err(error.into()),
    }
}
