//! From credentials to a caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use super::clock::wall_millis;
use super::hashing::Lane;
use super::metrics::{self, Method};
use super::oidc::{self, Rejected};
use super::recent::{self, Recognised};
use super::remembered::Fingerprint;
use super::throttle::Guesser;
use super::token::{self, WellFormed};
use super::{Access, AuthError, Caller, Credentials, Gate, Scopes, SignedIn, password};
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Id, Millis, Token};

/// The password that marks the user of Basic credentials as a token, besides the empty one.
const TOKEN_AS_USER: &str = "x-oauth-basic";

/// A password about to be verified.
struct Attempt {
    /// The account that it is tried for; 0, which nobody has, if there is none of that name.
    account: Id,
    /// The hash that it is tried against.
    phc: String,
    password: String,
    fingerprint: Fingerprint,
    guesser: Guesser,
}

/// What credentials can only be meant as.
enum Presented<'a> {
    Nothing,
    Nonsense,
    Token(WellFormed<'a>),
    Workload(&'a str),
    Password(&'a str, &'a str),
}

impl<'a> Presented<'a> {
    /// Tokens are told from passwords by their form (no password has one, see [`password::check`]) and from user names by
    /// their length, so each of these is final: a revoked token is not tried as a password, at the price of an argon2
    /// run.
    fn of(credentials: &'a Credentials) -> Self {
        match credentials {
            Credentials::None => Presented::Nothing,
            Credentials::Malformed => Presented::Nonsense,
            Credentials::Token(text) => Self::token(text).unwrap_or(Presented::Nonsense),
            Credentials::Basic { user, password } => {
                if let Some(token) = Self::token(password) {
                    return token;
                }
                if (password.is_empty() || password == TOKEN_AS_USER) && token::looks_like_one(user) {
                    return Self::token(user).unwrap_or(Presented::Nonsense);
                }
                Presented::Password(user, password)
            }
        }
    }

    fn token(text: &'a str) -> Option<Self> {
        if let Some(token) = WellFormed::parse(text) {
            return Some(Presented::Token(token));
        }
        oidc::looks_like_one(text).then_some(Presented::Workload(text))
    }
}

impl Access {
    /// Finds out who sends a request. Tokens and remembered passwords take microseconds; a password seen first is
    /// verified off the caller's thread.
    ///
    /// `from` is the peer's address, by which guessing is slowed down. It goes on counting if this future is dropped.
    pub async fn authenticate(
        &self,
        credentials: &Credentials,
        from: Option<IpAddr>,
    ) -> Result<Caller, AuthError> {
        let (method, result) = match Presented::of(credentials) {
            Presented::Nothing => return Ok(Caller::Anonymous),
            Presented::Nonsense => (Method::Other, Err(AuthError::Wrong)),
            Presented::Token(token) => (Method::Token, self.by_token(token)),
            Presented::Workload(token) => (Method::Workload, self.by_workload(token).await),
            Presented::Password(user, password) => {
                let result = self.by_password(user, password, from).await;
                (Method::Password, result)
            }
        };
        metrics::attempted(method, &result);
        result
    }

    /// Who sends a request, if nobody needs to be waited for and nothing speaks against it: nobody, or the holder of a
    /// token that is good. Everything else is for [`Access::authenticate`]. Counted in [`Access::recognised`] alone, as the
    /// request may go there after all.
    pub fn recognise(&self, credentials: &Credentials) -> Option<Caller> {
        match Presented::of(credentials) {
            Presented::Nothing => Some(Caller::Anonymous),
            Presented::Token(token) => self.by_token(token).ok(),
            _ => None,
        }
    }

    /// Whom [`Access::recognise`] has recognised is about to be answered.
    pub fn recognised(&self, caller: &Caller) {
        if !matches!(caller, Caller::Anonymous) {
            metrics::attempted(Method::Token, &Ok(()));
        }
    }

    /// The owner of packages with this name, in any ASCII case.
    ///
    /// # Errors
    /// `Index`.
    pub fn owner(&self, name: &str) -> Result<Option<Arc<Account>>, StoreError> {
        let state = self.recent_state();
        if let Some(owner) = recent::recall_owner(state, name) {
            return Ok(Some(owner));
        }
        let Some(owner) = self.gate.directory.account(name)?.map(Arc::new) else {
            return Ok(None);
        };
        recent::remember_owner(state, name, owner.clone());
        Ok(Some(owner))
    }

    /// Of what is remembered. To be read before anything is looked up: what has changed meanwhile is looked up again.
    fn recent_state(&self) -> recent::State {
        recent::State {
            gate: self.gate.number,
            changes: self.gate.directory.sign_in_changes(),
        }
    }

    fn by_token(&self, token: WellFormed<'_>) -> Result<Caller, AuthError> {
        let gate = &self.gate;
        let hash = token.hash(&gate.token_key);
        let state = self.recent_state();
        let now = wall_millis();
        let Recognised { token, who } = match recent::recall(state, &hash) {
            Some(recognised) if !is_over(&recognised.token, now) => recognised,
            _ => {
                let recognised = self.look_up(&hash, now)?;
                recent::remember(state, recognised.clone());
                recognised
            }
        };
        gate.uses.note(&token, now);
        Ok(Caller::User(who))
    }

    /// Whose token has this hash.
    fn look_up(&self, hash: &[u8; 32], now: Millis) -> Result<Recognised, AuthError> {
        let directory = &self.gate.directory;
        let token = directory.token(hash)?.ok_or(AuthError::Wrong)?;
        if !bool::from(token.hash.ct_eq(hash)) || is_over(&token, now) {
            return Err(AuthError::Wrong);
        }
        let account = directory.account_by_id(token.account)?.ok_or(AuthError::Wrong)?;
        // Stored grants were good when they were made; a token whose grants cannot be read may do nothing.
        let grants = self.gate.grants.of(&token).map_err(|_| AuthError::Wrong)?;
        let who = SignedIn {
            account,
            scopes: Scopes(token.scopes),
            token: Some(token.id),
            grants,
        };
        Ok(Recognised {
            token: Arc::new(token),
            who: signed_in(who)?,
        })
    }

    async fn by_workload(&self, token: &str) -> Result<Caller, AuthError> {
        match self.gate.issuers.load_full().verify(token).await {
            Ok(workload) => Ok(Caller::Workload(Box::new(workload))),
            Err(Rejected::Unknown) => Err(AuthError::Wrong),
            Err(Rejected::Unreachable) => Err(AuthError::Unreachable),
            Err(why) => Err(AuthError::Workload(why)),
        }
    }

    async fn by_password(&self, user: &str, text: &str, from: Option<IpAddr>) -> Result<Caller, AuthError> {
        // No stored password has such a length, so it is wrong for every account and not worth a verification.
        if password::check_length(text).is_err() {
            return Err(AuthError::Wrong);
        }
        let attempt = self.attempt(user, text, from)?;
        let (account, phc) = (attempt.account, attempt.phc.clone());
        if !self.is_right(attempt).await? {
            return Err(AuthError::Wrong);
        }
        // Read (again): while the password was verified, it may have been changed, or the account deactivated.
        let account = self
            .gate
            .directory
            .account_by_id(account)?
            .ok_or(AuthError::Wrong)?;
        if account.password != Some(phc) {
            return Err(AuthError::Wrong);
        }
        let who = SignedIn {
            account,
            scopes: Scopes::ALL,
            token: None,
            grants: None,
        };
        signed_in(who).map(Caller::User)
    }

    fn attempt(&self, user: &str, password: &str, from: Option<IpAddr>) -> Result<Attempt, AuthError> {
        let found = self.gate.directory.account(user)?;
        let found = found.and_then(|account| Some((account.id, account.password?)));
        let (account, phc) = found.unwrap_or_else(|| (0, password::unmatchable()));
        let fingerprint = self.gate.remembered.fingerprint(account, &phc, password);
        Ok(Attempt {
            account,
            password: password.to_owned(),
            fingerprint: fingerprint.map_err(StoreError::from)?,
            guesser: Guesser::new(user, from),
            phc,
        })
    }

    /// Whether the attempt's password is right: from memory, else verified when its turn has come.
    async fn is_right(&self, attempt: Attempt) -> Result<bool, AuthError> {
        let gate = self.gate.clone();
        if gate.remembers(&attempt) {
            return Ok(true);
        }
        gate.admit(&attempt)?;
        let lane = gate.hashing.lane(&attempt.fingerprint).await;
        if gate.remembers(&attempt) {
            return Ok(true);
        }
        let verification = {
            let gate = gate.clone();
            move || gate.verify(&attempt, lane)
        };
        gate.hashing.run(verification).await.map_err(StoreError::from)?
    }
}

impl Gate {
    fn remembers(&self, attempt: &Attempt) -> bool {
        self.remembered.recall(&attempt.fingerprint, self.clock.now())
    }

    fn admit(&self, attempt: &Attempt) -> Result<(), AuthError> {
        match self.throttle.wait(&attempt.guesser, self.clock.now()) {
            None => Ok(()),
            Some(wait) => Err(AuthError::SlowDown {
                seconds: whole_seconds(wait),
            }),
        }
    }

    /// Verifies, and keeps the outcome. The lane is given back after that, so whoever waited for it finds the outcome.
    fn verify(&self, attempt: &Attempt, _lane: Lane) -> Result<bool, AuthError> {
        // Many guesses may have waited for a slot together: each looks again at what the ones before it have done.
        self.admit(attempt)?;
        let right = password::verify(&attempt.password, &attempt.phc);
        let now = self.clock.now();
        if right {
            self.remembered.remember(attempt.fingerprint, now);
            self.throttle.succeeded(&attempt.guesser);
        } else {
            self.throttle.failed(&attempt.guesser, now);
        }
        Ok(right)
    }
}

fn is_over(token: &Token, now: Millis) -> bool {
    token.expires.is_some_and(|expires| expires <= now)
}

fn signed_in(who: SignedIn) -> Result<Arc<SignedIn>, AuthError> {
    match who.account.kind {
        AccountKind::Organisation => Err(AuthError::Wrong),
        AccountKind::User if !who.account.active => Err(AuthError::Inactive),
        AccountKind::User => Ok(Arc::new(who)),
    }
}

/// Rounded up, so that who waits that long has waited enough.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
#[path = "sign_in_tests.rs"]
mod tests;
