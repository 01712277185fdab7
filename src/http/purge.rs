//! Removing an owner, with all packages if so asked.

use actix_web::HttpResponse;

use super::error::Refusal;
use super::head::Head;
use super::state::Engine;
use crate::access::AccountError;
use crate::store::model::Account;

/// How often packages that were published meanwhile are removed as well.
const ROUNDS: usize = 4;

/// Removes a user or an organisation: one that owns packages only with `?purge=true`, and then these first.
pub async fn remove_owner(engine: &Engine, owner: &Account, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    let purge = head.query_flag("purge")?;
    if !purge {
        engine.access.remove_account(owner).await?;
        return Ok(HttpResponse::NoContent().finish());
    }
    engine.access.may_be_removed(owner)?;
    for _ in 0..ROUNDS {
        engine.artifacts.remove_all(owner).await?;
        match engine.access.remove_account(owner).await {
            Err(AccountError::HasPackages) => continue,
            removed => return Ok(removed.map(|()| HttpResponse::NoContent().finish())?),
        }
    }
    Err(AccountError::HasPackages.into())
}
