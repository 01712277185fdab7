//! Who is asking, and what they may do: accounts, tokens, passwords, permissions.

use std::net::IpAddr;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{Account, Id};

/// What a request brings to say who sends it. Parsed by `credentials`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// `Authorization: Basic`: a user and password, or a token in either place.
    Basic {
        /// As sent.
        user: String,
        /// As sent.
        password: String,
    },
    /// A token, from the header or the query.
    Token(String),
    /// An `Authorization` header that cannot be understood; counts as wrong credentials.
    Malformed,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// No credentials.
    Anonymous,
    /// Signed in.
    User(Box<SignedIn>),
}

/// An account that has proved itself.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The account.
    pub account: Account,
    /// What this credential may be used for; a password may do everything.
    pub scopes: Scopes,
    /// The token, or `None` for a password.
    pub token: Option<Id>,
}

/// What a token may be used for: a bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(pub u32);

/// What a caller wants to do with an owner's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Download.
    Read,
    /// Publish.
    Write,
    /// Remove.
    Delete,
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

/// Why credentials were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong, unknown, revoked or malformed.
    #[error("invalid username, password or token")]
    Wrong,
    /// Right, but the account is not active.
    #[error("the account is not active")]
    Inactive,
    /// Too many failures; wait this long.
    #[error("too many failed attempts")]
    SlowDown {
        /// Seconds to wait.
        seconds: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The gate. Clones share everything.
#[derive(Clone, Debug)]
pub struct Access {
    store: Store,
}

impl Access {
    /// The gate of a store.
    pub fn new(store: Store) -> Self {
        Access { store }
    }

    /// Finds out who sends a request. Tokens and remembered passwords take microseconds; a password seen first is
    /// verified off the caller's thread.
    pub async fn authenticate(
        &self,
        credentials: &Credentials,
        from: Option<IpAddr>,
    ) -> Result<Caller, AuthError> {
        let _ = (&self.store, credentials, from);
        todo!()
    }
}

/// Decides who may do what. The only place that does.
pub fn permit(caller: &Caller, owner: &Account, action: Action) -> Result<(), Denied> {
    let _ = (caller, owner, action);
    todo!()
}
