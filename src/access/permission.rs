//! Who may do what. Nothing else decides it.

use super::oidc::Workload;
use super::{Caller, SignedIn};
use crate::store::model::{Account, AccountKind, Permission, Visibility};

/// What a caller wants to do with an owner's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Download.
    Read,
    /// See what there is.
    List,
    /// Publish.
    Write,
    /// Remove.
    Delete,
}

impl Action {
    /// Whether it changes something.
    pub fn writes(self) -> bool {
        matches!(self, Action::Write | Action::Delete)
    }
}

/// What is acted on.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Whose packages.
    pub owner: &'a Account,
    /// Which package; `None`: everything that the owner has.
    pub package: Option<&'a str>,
    /// What the caller may do there as a member.
    pub membership: Option<Permission>,
}

/// Why not. `http::error` turns these into status codes: differently for /api/packages and /api/v1 (API.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credentials, and they are needed.
    #[error("authentication is required")]
    SignIn,
    /// Too little permission, too little scope, or an inactive account.
    #[error("permission denied")]
    Permission,
    /// A `public-only` token on an owner that is not public.
    #[error("the token is limited to public owners")]
    PublicOnly,
}

/// Whether a caller may do this with packages of an owner.
///
/// A token can only narrow what its account may do, an admin's too: its scopes count first, then `public-only`, then
/// what it is narrowed to, then the account.
pub fn permit(caller: &Caller, target: Target<'_>, action: Action) -> Result<(), Denied> {
    let public = target.owner.visibility == Visibility::Public;
    let signed_in = match caller {
        Caller::Anonymous if public && action == Action::Read => return Ok(()),
        Caller::Anonymous => return Err(Denied::SignIn),
        Caller::Workload(workload) => return workload_may(workload, target, action),
        Caller::User(signed_in) => signed_in,
    };
    if !signed_in.account.active {
        return Err(Denied::Permission);
    }
    let in_scope = match action.writes() {
        true => signed_in.scopes.writes_packages(),
        false => signed_in.scopes.reads_packages(),
    };
    if !in_scope {
        return Err(Denied::Permission);
    }
    if signed_in.scopes.is_public_only() && !public {
        return Err(Denied::PublicOnly);
    }
    let covered = |grants: &super::Grants| grants.cover(&target.owner.name, target.package, action);
    let granted = signed_in.grants.as_ref().is_none_or(covered);
    if granted && account_may(&signed_in.account, target, action) {
        Ok(())
    } else {
        Err(Denied::Permission)
    }
}

/// A workload may do what its rules grant, and what anybody may.
fn workload_may(workload: &Workload, target: Target<'_>, action: Action) -> Result<(), Denied> {
    let owner = target.owner;
    let anybody = owner.visibility == Visibility::Public && action == Action::Read;
    let granted = owner.active && workload.grants.cover(&owner.name, target.package, action);
    match anybody || granted {
        true => Ok(()),
        false => Err(Denied::Permission),
    }
}

/// Whether a caller may administer: accounts, owners, the store. A `public-only` or narrowed token may not, since it
/// could make itself a token without that limit.
pub fn permit_admin(caller: &Caller) -> Result<(), Denied> {
    let SignedIn {
        account,
        scopes,
        grants,
        ..
    } = signed_in(caller)?;
    if !(account.active && account.admin && scopes.administers()) || grants.is_some() {
        return Err(Denied::Permission);
    }
    if scopes.is_public_only() {
        return Err(Denied::PublicOnly);
    }
    Ok(())
}

/// Whether a caller may list, create and revoke the tokens of `account`: its user by password, so that a token cannot
/// make more of itself, and admins.
pub fn permit_tokens(caller: &Caller, account: &Account) -> Result<(), Denied> {
    let signed_in = signed_in(caller)?;
    let own = signed_in.account.active && signed_in.account.id == account.id;
    if own && signed_in.token.is_none() {
        return Ok(());
    }
    permit_admin(caller)
}

/// Whether a caller may manage an organisation: its members and whether it exists. Its admins may, by password or with
/// a token of scope `all` that nothing narrows, and those who administer the server.
pub fn permit_management(caller: &Caller, membership: Option<Permission>) -> Result<(), Denied> {
    let who = signed_in(caller)?;
    if who.account.active && is_unlimited(who) && membership == Some(Permission::Admin) {
        return Ok(());
    }
    permit_admin(caller)
}

/// Whether a caller may take `user` out of an organisation: whoever manages it, and any member themself, by password or
/// with a token of scope `all` that nothing narrows.
pub fn permit_removal(caller: &Caller, user: &str, membership: Option<Permission>) -> Result<(), Denied> {
    let who = signed_in(caller)?;
    let leaves = membership.is_some() && who.account.name.eq_ignore_ascii_case(user);
    match leaves && who.account.active && is_unlimited(who) {
        true => Ok(()),
        false => permit_management(caller, membership),
    }
}

/// Whether a caller may create an organisation: whoever administers the server, and `by_users` any user, by password or
/// with a token of scope `all` that nothing narrows.
pub fn permit_new_organisation(caller: &Caller, by_users: bool) -> Result<(), Denied> {
    let who = signed_in(caller)?;
    match by_users && who.account.active && is_unlimited(who) {
        true => Ok(()),
        false => permit_admin(caller),
    }
}

fn is_unlimited(who: &SignedIn) -> bool {
    who.scopes.is_all() && !who.scopes.is_public_only() && who.grants.is_none()
}

fn account_may(account: &Account, target: Target<'_>, action: Action) -> bool {
    let owner = target.owner;
    let needed = match action.writes() {
        true => Permission::Write,
        false => Permission::Read,
    };
    let member = owner.kind == AccountKind::Organisation
        && target.membership.is_some_and(|permission| permission >= needed);
    let readable = matches!(owner.visibility, Visibility::Public | Visibility::Limited);
    account.id == owner.id || account.admin || member || (!action.writes() && readable)
}

fn signed_in(caller: &Caller) -> Result<&SignedIn, Denied> {
    match caller {
        Caller::Anonymous => Err(Denied::SignIn),
        Caller::Workload(_) => Err(Denied::Permission),
        Caller::User(signed_in) => Ok(signed_in),
    }
}

#[cfg(test)]
#[path = "permission_tests.rs"]
mod tests;
