//! Who sends a request, whose packages it is about, and whether they may: the first three checks, in this order.

use std::sync::Arc;

use super::error::{Door, Refusal};
use super::head::Head;
use super::state::{Engine, State};
use crate::access::{Action, Caller, Denied, SignedIn, Target, permit};
use crate::store::model::{Account, Id};

/// The sender. Wrong credentials are refused here, also where none are needed.
pub async fn caller(state: &State, engine: &Engine, head: Head<'_>, door: Door) -> Result<Caller, Refusal> {
    let credentials = head.credentials(state.options().query_tokens);
    let caller = engine.access.authenticate(&credentials, head.peer).await;
    if let Some(trail) = head.trail {
        trail.signed_in(&caller);
    }
    if let (Some(record), Ok(Caller::User(signed_in))) = (head.record, &caller) {
        record.sent_by(&signed_in.account.name);
    }
    caller.map_err(|error| door.auth(error))
}

/// The owner of packages that the path names, if the sender may do this with this package there.
pub async fn permitted(
    state: &State,
    engine: &Engine,
    head: Head<'_>,
    owner: &str,
    package: &str,
    action: Action,
) -> Result<(Caller, Account), Refusal> {
    let caller = caller(state, engine, head, Door::Packages).await?;
    let owner = owner_for(engine, &caller, owner, package, action)?;
    Ok((caller, Arc::unwrap_or_clone(owner)))
}

/// The same for a sender who is known.
pub fn owner_for(
    engine: &Engine,
    caller: &Caller,
    owner: &str,
    package: &str,
    action: Action,
) -> Result<Arc<Account>, Refusal> {
    let owner = engine.access.owner(owner)?.ok_or_else(Refusal::no_owner)?;
    let target = Target {
        owner: &owner,
        package: Some(package),
        membership: engine.access.membership(caller, &owner)?,
    };
    permit(caller, target, action).map_err(|denied| Door::Packages.denied(denied))?;
    Ok(owner)
}

/// Who publishes, and whether as an admin. What a job without an account publishes counts as its owner's.
pub fn publisher(caller: &Caller, owner: &Account) -> Result<(Id, bool), Refusal> {
    match caller {
        Caller::User(who) => Ok((who.account.id, who.account.admin)),
        Caller::Workload(_) => Ok((owner.id, false)),
        Caller::Anonymous => Err(Door::Packages.denied(Denied::SignIn)),
    }
}

/// Refuses a caller who has not signed in at all.
pub fn not_anonymous(caller: &Caller, door: Door) -> Result<(), Refusal> {
    match caller {
        Caller::User(_) | Caller::Workload(_) => Ok(()),
        Caller::Anonymous => Err(door.denied(Denied::SignIn)),
    }
}

/// The account of a caller who has one.
pub fn signed_in(caller: &Caller, door: Door) -> Result<&SignedIn, Refusal> {
    match caller {
        Caller::User(signed_in) => Ok(signed_in),
        Caller::Workload(_) => Err(door.denied(Denied::Permission)),
        Caller::Anonymous => Err(door.denied(Denied::SignIn)),
    }
}
