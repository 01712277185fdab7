//! Creating accounts and changing their passwords, for the HTTP API and the command line alike.

use super::clock::wall_millis;
use super::email::{self, BadEmail};
use super::names::{self, BadName};
use super::password::{self, BadPassword};
use super::{Access, ScopeError};
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Visibility};
use crate::telemetry::audit::set_fields;

/// How often a change that others got ahead of is made anew.
pub(super) const ATTEMPTS: usize = 8;

/// A user to be created.
#[derive(Clone)]
pub struct NewUser {
    /// 1 to 40 letters and digits with single `-`, `_`, `.` between them; unique in any ASCII case.
    pub name: String,
    /// 8 to 256 characters; `None`: signs in with tokens only.
    pub password: Option<String>,
    /// For people: `name@domain`, or empty.
    pub email: String,
    /// Who may read what the user owns.
    pub visibility: Visibility,
    /// Whether the user may sign in.
    pub active: bool,
    /// Whether the user may do everything.
    pub admin: bool,
}

/// What is to change of a user; `None` stays as it is.
#[derive(Clone, Default)]
pub struct AccountEdit {
    /// 8 to 256 characters.
    pub password: Option<String>,
    /// For people: `name@domain`, or empty.
    pub email: Option<String>,
    /// Who may read what the user owns.
    pub visibility: Option<Visibility>,
    /// Whether the user may sign in.
    pub active: Option<bool>,
    /// Whether the user may do everything.
    pub admin: Option<bool>,
}

impl AccountEdit {
    /// Names of the fields that it sets, as the API calls them.
    pub fn fields(&self) -> Vec<&'static str> {
        set_fields([
            (self.password.is_some(), "password"),
            (self.email.is_some(), "email"),
            (self.visibility.is_some(), "visibility"),
            (self.active.is_some(), "active"),
            (self.admin.is_some(), "admin"),
        ])
    }
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
    /// Not an e-mail address.
    #[error(transparent)]
    BadEmail(#[from] BadEmail),
    /// Scopes that make no token.
    #[error(transparent)]
    BadScopes(#[from] ScopeError),
    /// Not a name for a token.
    #[error("{0}")]
    BadTokenName(String),
    /// The account has a token of this name.
    #[error("a token of this name already exists")]
    TokenNameTaken,
    /// Not what a token can be narrowed to.
    #[error("{0}")]
    BadGrants(String),
    /// It would be wrong from the start.
    #[error("the token would have expired already")]
    ExpiresInThePast,
    /// The server would have nobody to administer it.
    #[error("the last active admin cannot be removed, deactivated or lose its rights")]
    LastAdmin,
    /// It owns packages.
    #[error("the account still owns packages: remove them first, or ask with purge=true")]
    HasPackages,
    /// Not a member of the organisation.
    #[error("the user is not a member")]
    NoSuchMember,
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
            AccountError::BadEmail(_) => "bad-email",
            AccountError::BadScopes(_) => "bad-scopes",
            AccountError::BadTokenName(_) => "bad-token-name",
            AccountError::TokenNameTaken => "token-name-taken",
            AccountError::BadGrants(_) => "bad-grants",
            AccountError::ExpiresInThePast => "expires-in-the-past",
            AccountError::LastAdmin => "last-admin",
            AccountError::HasPackages => "has-packages",
            AccountError::NoSuchMember => "no-such-member",
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
        if let Some(password) = &new.password {
            password::check(password)?;
        }
        email::check(&new.email)?;
        if self.account(&new.name)?.is_some() {
            return Err(AccountError::NameTaken);
        }
        let password = match new.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let account = Account {
            id: self.gate.directory.next_id(),
            name: new.name,
            kind: AccountKind::User,
            visibility: new.visibility,
            active: new.active,
            admin: new.admin,
            email: new.email,
            password,
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
        let edit = AccountEdit {
            password: Some(password.to_owned()),
            ..AccountEdit::default()
        };
        self.edit_user(name, edit).await.map(drop)
    }

    /// Changes a user. Durable when this returns.
    pub async fn edit_user(&self, name: &str, edit: AccountEdit) -> Result<Account, AccountError> {
        if let Some(password) = &edit.password {
            password::check(password)?;
        }
        email::check(edit.email.as_deref().unwrap_or_default())?;
        self.user(name)?;
        let hash = match edit.password.clone() {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        for _ in 0..ATTEMPTS {
            let before = self.user(name)?;
            let after = edited(&before, &edit, hash.as_ref());
            if !is_active_admin(&after) {
                self.not_the_last_admin(&before)?;
            }
            let change = Change::PutAccount {
                account: after.clone(),
                expect: Some(before),
            };
            match self.gate.directory.commit(change).settled().await {
                Err(CommitError::Conflict) => continue,
                settled => return Ok(settled.map(|()| after)?),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Removes a user or an organisation that owns no packages, with its tokens and memberships. Durable when this
    /// returns.
    pub async fn remove_account(&self, account: &Account) -> Result<(), AccountError> {
        for _ in 0..ATTEMPTS {
            let found = self.gate.directory.account_by_id(account.id)?;
            let account = found.ok_or(AccountError::NoSuchUser)?;
            self.not_the_last_admin(&account)?;
            if self.gate.directory.has_packages(account.id)? {
                return Err(AccountError::HasPackages);
            }
            match self
                .gate
                .directory
                .commit(Change::RemoveAccount(account))
                .settled()
                .await
            {
                Err(CommitError::Conflict) => continue,
                settled => return Ok(settled?),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Whether the account may go, were its packages gone.
    ///
    /// # Errors
    /// `LastAdmin`.
    pub fn may_be_removed(&self, account: &Account) -> Result<(), AccountError> {
        self.not_the_last_admin(account)
    }

    fn not_the_last_admin(&self, account: &Account) -> Result<(), AccountError> {
        let another = |other: &Account| other.id != account.id && is_active_admin(other);
        match is_active_admin(account) && !self.accounts()?.iter().any(another) {
            true => Err(AccountError::LastAdmin),
            false => Ok(()),
        }
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

fn edited(before: &Account, edit: &AccountEdit, hash: Option<&String>) -> Account {
    Account {
        password: hash.cloned().or_else(|| before.password.clone()),
        email: edit.email.clone().unwrap_or_else(|| before.email.clone()),
        visibility: edit.visibility.unwrap_or(before.visibility),
        active: edit.active.unwrap_or(before.active),
        admin: edit.admin.unwrap_or(before.admin),
        ..before.clone()
    }
}

fn is_active_admin(account: &Account) -> bool {
    account.kind == AccountKind::User && account.active && account.admin
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
            password: Some("correct horse".to_owned()),
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
        let password = Some("1234567".to_owned());
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

    #[tokio::test]
    async fn an_edit_changes_what_it_names() {
        let bench = Bench::new();
        let before = bench.access.create_user(new_user("ann")).await.unwrap();
        let edit = AccountEdit {
            active: Some(false),
            visibility: Some(Visibility::Private),
            ..AccountEdit::default()
        };
        let after = bench.access.edit_user("ANN", edit).await.unwrap();
        let expected = Account {
            active: false,
            visibility: Visibility::Private,
            ..before
        };
        assert_eq!(after, expected);
        assert_eq!(bench.access.account("ann").unwrap(), Some(expected));
    }

    #[tokio::test]
    async fn the_last_admin_stays() {
        let bench = Bench::new();
        let admin = |name| NewUser {
            admin: true,
            ..new_user(name)
        };
        let ann = bench.access.create_user(admin("ann")).await.unwrap();
        bench.access.create_user(new_user("bob")).await.unwrap();
        let step_down = || AccountEdit {
            admin: Some(false),
            ..AccountEdit::default()
        };
        let rest = || AccountEdit {
            active: Some(false),
            ..AccountEdit::default()
        };
        for edit in [step_down(), rest()] {
            let error = bench.access.edit_user("ann", edit).await.err().unwrap();
            assert_eq!(error.code(), "last-admin");
        }
        let error = bench.access.remove_account(&ann).await.unwrap_err();
        assert_eq!(error.code(), "last-admin");
        bench.access.create_user(admin("eve")).await.unwrap();
        bench.access.edit_user("ann", step_down()).await.unwrap();
        bench.access.remove_account(&ann).await.unwrap();
        assert_eq!(bench.access.account("ann").unwrap(), None);
    }

    #[tokio::test]
    async fn an_owner_of_packages_is_not_removed() {
        let bench = Bench::new();
        let ann = bench.access.create_user(new_user("ann")).await.unwrap();
        locked(&bench.fake.publishers).push(ann.id);
        let error = bench.access.remove_account(&ann).await.unwrap_err();
        assert_eq!(error.code(), "has-packages");
        locked(&bench.fake.publishers).clear();
        bench.access.remove_account(&ann).await.unwrap();
        let error = bench.access.remove_account(&ann).await.unwrap_err();
        assert_eq!(error.code(), "no-such-user");
    }
}
