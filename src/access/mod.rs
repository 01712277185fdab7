//! Who is asking, and what they may do: accounts, tokens, passwords, permissions.
//!
//! A request's [`Credentials`] become a [`Caller`] in [`Access::authenticate`]; [`permit`] and its siblings decide what
//! that caller may do, as pure functions, and nothing else decides it. Accounts and tokens are changed in `accounts` and
//! `issued`, for the HTTP API and the command line alike.
//!
//! What this room promises:
//! - Workload tokens of CI platforms are verified in `oidc`; what they may do stands in the configuration.
//! - A password is verified with argon2, off the threads that serve requests, at most two at a time; then it is
//!   remembered for a while, and costs what a token costs. A change of the account counts at once all the same.
//! - Tokens and passwords are stored as hashes only, and no `Debug` shows one.
//! - Answers take as long for accounts that do not exist as for wrong passwords.

mod accounts;
mod aging;
mod audited;
mod bootstrap;
mod clock;
mod credentials;
mod directory;
mod email;
#[cfg(test)]
mod fake;
mod grants;
mod hashing;
mod issued;
mod metrics;
mod names;
pub mod oidc;
mod organisations;
mod password;
mod permission;
mod random;
mod recent;
mod remembered;
mod scopes;
mod secret;
mod sign_in;
mod throttle;
mod token;
mod uses;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use accounts::{AccountEdit, AccountError, NewUser};
pub use bootstrap::{
    ADMIN, Bootstrap, BootstrapError, Bootstrapped, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE,
};
pub use credentials::Credentials;
pub use grants::Grants;
pub use issued::NewToken;
pub use names::BadName;
pub use password::BadPassword;
pub use permission::{
    Action, Denied, Target, permit, permit_admin, permit_management, permit_new_organisation, permit_removal,
    permit_tokens,
};
pub use scopes::{ScopeError, Scopes};
pub use secret::Secret;

use arc_swap::ArcSwap;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{Account, Id};
use clock::Clock;
use directory::Directory;
use grants::KnownGrants;
use hashing::Hashing;
use oidc::{Issuer, Issuers, Rejected, Workload};
use remembered::Remembered;
use throttle::Throttle;
use token::HashKey;
use uses::Uses;

/// Who sends a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// No credentials.
    Anonymous,
    /// Signed in.
    User(Arc<SignedIn>),
    /// A CI job that its platform vouches for. It has no account.
    Workload(Box<Workload>),
}

/// An account that has proved itself.
#[derive(Clone)]
pub struct SignedIn {
    /// The account, as stored when the request came.
    pub account: Account,
    /// What this credential may be used for; a password may do everything.
    pub scopes: Scopes,
    /// The token, or `None` for a password.
    pub token: Option<Id>,
    /// What the token is narrowed to, if it is.
    pub grants: Option<Grants>,
}

/// Leaves the account's password hash out.
impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn")
            .field("account", &self.account.name)
            .field("scopes", &self.scopes.names())
            .field("token", &self.token)
            .field("grants", &self.grants)
            .finish()
    }
}

/// Why credentials were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong, unknown, revoked or malformed.
    #[error("invalid username, password or token")]
    Wrong,
    /// Right, but the account is not active.
    #[error("the account is not active")]
    Inactive,
    /// A workload token that is not accepted.
    #[error(transparent)]
    Workload(Rejected),
    /// A workload token that cannot be verified for the moment.
    #[error("{}", Rejected::Unreachable)]
    Unreachable,
    /// Too many failures; wait this long.
    #[error("too many failed attempts")]
    SlowDown {
        /// Seconds to wait, at least 1.
        seconds: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The gate. Clones share everything.
#[derive(Clone)]
pub struct Access {
    gate: Arc<Gate>,
}

/// What the clones share.
struct Gate {
    /// See [`recent::number`].
    number: u64,
    directory: Arc<dyn Directory>,
    token_key: HashKey,
    clock: Clock,
    remembered: Remembered,
    throttle: Throttle,
    hashing: Hashing,
    grants: KnownGrants,
    uses: Uses,
    /// May be exchanged while the server runs.
    issuers: ArcSwap<Issuers>,
}

impl Access {
    /// The gate of a store.
    pub fn new(store: Store) -> Self {
        Self::believing(store, Vec::new())
    }

    /// The gate of a store where jobs of these issuers come in too.
    pub fn believing(store: Store, issuers: Vec<Issuer>) -> Self {
        Self::over(Arc::new(store), Clock::system(), issuers)
    }

    fn over(directory: Arc<dyn Directory>, clock: Clock, issuers: Vec<Issuer>) -> Self {
        metrics::init();
        let gate = Gate {
            number: recent::number(),
            token_key: HashKey::of(directory.secret()),
            directory,
            issuers: ArcSwap::from_pointee(Issuers::new(issuers, clock.clone())),
            uses: Uses::default(),
            clock,
            remembered: Remembered::new(),
            throttle: Throttle::new(),
            hashing: Hashing::new(),
            grants: KnownGrants::default(),
        };
        Access { gate: Arc::new(gate) }
    }

    /// Believes these issuers, and no others, from the next request on; whether they differ from those before. If so,
    /// their keys are fetched anew, and what was verified before has to be verified again.
    pub fn believe(&self, issuers: Vec<Issuer>) -> bool {
        let differ = !self.gate.issuers.load().are(&issuers);
        if differ {
            let issuers = Issuers::new(issuers, self.gate.clock.clone());
            self.gate.issuers.store(Arc::new(issuers));
        }
        differ
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Locks a mutex whose data is whole at every step, so that a panic elsewhere while it was held does no harm.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
