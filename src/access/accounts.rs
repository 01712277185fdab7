//! Creating accounts and changing their passwords, for the HTTP API and the command line alike.

use super::clock::wall_millis;
use super::names::{self, BadName};
use super::password::{self, BadPassword};
use super::{Access, ScopeError};
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Visibility};

/// How often a change that others got ahead of is made anew.
pub(super) const ATTEMPTS: usize = 8;
/// Longest e-mail address in bytes.
const MAX_EMAIL: usize = 254;

/// A user to be created.
#[derive(Clone)]
pub struct NewUser {
    /// 1 to 40 letters and digits with single `-`, `_`, `.` between them; unique in any ASCII case.
    pub name: String,
    /// 8 to 256 characters.
    pub password: String,
    /// For people; may be empty.
    pub email: String,
    /// Who may read what the user owns.
    pub visibility: Visibility,
    /// Whether the user may sign in.
    pub active: bool,
    /// Whether the user may do everything.
    pub admin: bool,
}

/// Why an account or token was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Another account has this name.
    #[error("an account of this name already exists")]
    NameTaken,
    /// Not a name for an account.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// Not a password that can be set.
    #[error(transparent)]
    BadPassword(#[from] BadPassword),
    /// Too long for an e-mail address, or with white space in it.
    #[error("an e-mail address has at most 254 bytes and no white space")]
    BadEmail,
    /// Scopes that make no token.
    #[error(transparent)]
    BadScopes(#[from] ScopeError),
    /// Not a name for a token.
    #[error("a token name has 1 to 255 bytes, not only white space and no control characters")]
    BadTokenName,
    /// The account has a token of this name.
    #[error("a token of this name already exists")]
    TokenNameTaken,
    /// No such user.
    #[error("the user does not exist")]
    NoSuchUser,
    /// No such token of this user.
    #[error("the token does not exist")]
    NoSuchToken,
    /// The change could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AccountError {
    /// A word for the kind of error that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            AccountError::NameTaken => "name-taken",
            AccountError::BadName(_) => "bad-name",
            AccountError::BadPassword(_) => "bad-password",
            AccountError::BadEmail => "bad-email",
            AccountError::BadScopes(_) => "bad-scopes",
            AccountError::BadTokenName => "bad-token-name",
            AccountError::TokenNameTaken => "token-name-taken",
            AccountError::NoSuchUser => "no-such-user",
            AccountError::NoSuchToken => "no-such-token",
            AccountError::Commit(_) => "commit-failed",
            AccountError::Store(_) => "store-failed",
        }
    }
}

impl Access {
    /// The account of this name, in any ASCII case.
    pub fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.gate.directory.account(name)
    }

    /// All accounts, by name.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.gate.directory.accounts()
    }

    /// Creates a user. Durable when this returns.
    pub async fn create_user(&self, new: NewUser) -> Result<Account, AccountError> {
        names::check(&new.name)?;
        password::check(&new.password)?;
        check_email(&new.email)?;
        if self.account(&new.name)?.is_some() {
            return Err(AccountError::NameTaken);
        }
        let account = Account {
            id: self.gate.directory.next_id(),
            name: new.name,
            kind: AccountKind::User,
            visibility: new.visibility,
            active: new.active,
            admin: new.admin,
            email: new.email,
            password: Some(self.hash(new.password).await?),
            created: wall_millis(),
        };
        let change = Change::PutAccount {
            expect: None,
            account: account.clone(),
        };
        match self.gate.directory.commit(change).settled().await {
            Ok(()) => Ok(account),
            Err(CommitError::Conflict) => Err(AccountError::NameTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a user another password; the old one is wrong from then on. Durable when this returns.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<(), AccountError> {
        password::check(password)?;
        self.user(name)?;
        let hash = self.hash(password.to_owned()).await?;
        for _ in 0..ATTEMPTS {
            let before = self.user(name)?;
            let change = Change::PutAccount {
                account: Account {
                    password: Some(hash.clone()),
                    ..before.clone()
                },
                expect: Some(before),
            };
            match self.gate.directory.commit(change).settled().await {
                Err(CommitError::Conflict) => continue,
                settled => return Ok(settled?),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// The user of this name. Organisations have neither passwords nor tokens.
    pub(super) fn user(&self, name: &str) -> Result<Account, AccountError> {
        let account = self.account(name)?;
        let user = account.filter(|account| account.kind == AccountKind::User);
        user.ok_or(AccountError::NoSuchUser)
    }

    /// Hashes a password within the bounds on hashing.
    async fn hash(&self, password: String) -> Result<String, StoreError> {
        Ok(self.gate.hashing.run(move || password::hash(&password)).await??)
    }
}

fn check_email(email: &str) -> Result<(), AccountError> {
    let odd = |character: char| character.is_whitespace() || character.is_control();
    if email.len() > MAX_EMAIL || email.contains(odd) {
        return Err(AccountError::BadEmail);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::access::fake::{self, Bench};
    use crate::access::locked;

    fn new_user(name: &str) -> NewUser {
        NewUser {
            name: name.to_owned(),
            password: "correct horse".to_owned(),
            email: "ann@example.com".to_owned(),
            visibility: Visibility::Limited,
            active: true,
            admin: false,
        }
    }

    async fn refused(bench: &Bench, new: NewUser) -> &'static str {
        bench.access.create_user(new).await.unwrap_err().code()
    }

    #[tokio::test]
    async fn a_created_user_is_stored_with_a_hash() {
        let bench = Bench::new();
        let created = bench.access.create_user(new_user("Ann")).await.unwrap();
        let stored = bench.access.account("ann").unwrap().unwrap();
        assert_eq!(stored, created);
        assert_eq!(
            (stored.name.as_str(), stored.visibility),
            ("Ann", Visibility::Limited)
        );
        assert!(password::verify(
            "correct horse",
            stored.password.as_deref().unwrap()
        ));
        assert!(stored.created > 1_700_000_000_000);
    }

    #[tokio::test]
    async fn what_makes_no_user_is_refused() {
        let bench = Bench::new();
        bench.access.create_user(new_user("ann")).await.unwrap();
        assert_eq!(refused(&bench, new_user("ANN")).await, "name-taken");
        assert_eq!(refused(&bench, new_user("a--b")).await, "bad-name");
        let password = "1234567".to_owned();
        assert_eq!(
            refused(
                &bench,
                NewUser {
                    password,
                    ..new_user("bob")
                }
            )
            .await,
            "bad-password"
        );
        let email = "a b".to_owned();
        assert_eq!(
            refused(
                &bench,
                NewUser {
                    email,
                    ..new_user("bob")
                }
            )
            .await,
            "bad-email"
        );
        assert_eq!(bench.access.accounts().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_name_that_was_taken_meanwhile_is_taken() {
        let bench = Bench::new();
        locked(&bench.fake.forced).push(CommitError::Conflict);
        assert_eq!(refused(&bench, new_user("ann")).await, "name-taken");
        locked(&bench.fake.forced).push(CommitError::Busy);
        let error = bench.access.create_user(new_user("ann")).await.unwrap_err();
        assert!(matches!(error, AccountError::Commit(CommitError::Busy)));
    }

    #[tokio::test]
    async fn a_new_password_replaces_the_old_and_nothing_else() {
        let bench = Bench::new();
        let before = bench.access.create_user(new_user("ann")).await.unwrap();
        locked(&bench.fake.forced).extend(vec![CommitError::Conflict; ATTEMPTS - 1]);
        bench.access.set_password("ANN", "battery staple").await.unwrap();
        let after = bench.access.account("ann").unwrap().unwrap();
        assert!(password::verify(
            "battery staple",
            after.password.as_deref().unwrap()
        ));
        assert_eq!(
            Account {
                password: before.password.clone(),
                ..after
            },
            before
        );
    }

    #[tokio::test]
    async fn a_password_that_cannot_be_set_is_an_error() {
        let bench = Bench::new();
        let code = async |name: &str, password: &str| {
            bench
                .access
                .set_password(name, password)
                .await
                .unwrap_err()
                .code()
        };
        assert_eq!(code("nobody", "battery staple").await, "no-such-user");
        bench.access.create_user(new_user("ann")).await.unwrap();
        bench.fake.set(Account {
            kind: AccountKind::Organisation,
            ..fake::account(99, "org")
        });
        assert_eq!(code("org", "battery staple").await, "no-such-user");
        assert_eq!(code("ann", "short").await, "bad-password");
        locked(&bench.fake.forced).extend(vec![CommitError::Conflict; ATTEMPTS]);
        assert_eq!(code("ann", "battery staple").await, "commit-failed");
    }
}
