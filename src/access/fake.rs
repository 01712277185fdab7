//! A directory in memory, and an `Access` over it whose clock is set by hand.

#![allow(clippy::expect_used)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::directory::Directory;
use super::{Access, locked};
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{
    Account, AccountKind, Id, Membership, Millis, Permission, Token, TokenUse, Visibility,
};
use crate::store::ticket::{Outcome, Ticket, ticket};

/// An ordinary, active, public user without a password.
pub(super) fn account(id: Id, name: &str) -> Account {
    Account {
        id,
        name: name.to_owned(),
        kind: AccountKind::User,
        visibility: Visibility::Public,
        active: true,
        admin: false,
        email: String::new(),
        password: None,
        created: 0,
    }
}

/// A token of an account, without a secret that anybody knows.
pub(super) fn token(id: Id, account: Id) -> Token {
    Token {
        id,
        account,
        name: format!("token {id}"),
        hash: *blake3::hash(&id.to_le_bytes()).as_bytes(),
        last_eight: String::new(),
        scopes: 0,
        created: 0,
        expires: None,
        grants: Vec::new(),
    }
}

/// The directory. Settles every commit at once.
#[derive(Default)]
pub(super) struct Fake {
    accounts: Mutex<Vec<Account>>,
    tokens: Mutex<Vec<Token>>,
    members: Mutex<Vec<Membership>>,
    /// Uses of tokens that were kept.
    pub(super) uses: Mutex<Vec<TokenUse>>,
    /// Owners of packages.
    pub(super) publishers: Mutex<Vec<Id>>,
    last_id: AtomicU64,
    /// Outcomes to give to the next commits instead of looking at them.
    pub(super) forced: Mutex<Vec<CommitError>>,
    /// How often a token was looked up.
    pub(super) token_lookups: AtomicUsize,
    changes: AtomicU64,
}

/// An `Access` over a [`Fake`].
pub(super) struct Bench {
    pub(super) access: Access,
    pub(super) fake: Arc<Fake>,
    elapsed: Arc<Mutex<Duration>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let elapsed = Arc::new(Mutex::new(Duration::ZERO));
        let start = Instant::now();
        let clock = Clock::from_fn({
            let elapsed = elapsed.clone();
            move || start + *locked(&elapsed)
        });
        Bench {
            access: Access::over(fake.clone(), clock, Vec::new()),
            fake,
            elapsed,
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&self, time: Duration) {
        *locked(&self.elapsed) += time;
    }
}

impl Fake {
    /// Puts an account, whatever was there.
    pub(super) fn set(&self, account: Account) {
        let mut accounts = locked(&self.accounts);
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.last_id.fetch_max(account.id, Ordering::SeqCst);
        accounts.retain(|other| other.id != account.id);
        accounts.push(account);
    }

    /// Changes the account of this name.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Account)) {
        let mut accounts = locked(&self.accounts);
        self.changes.fetch_add(1, Ordering::SeqCst);
        edit(
            accounts
                .iter_mut()
                .find(|account| account.name == name)
                .expect("a known account"),
        );
    }

    /// Lets all tokens expire at this time.
    pub(super) fn expire_tokens(&self, at: Millis) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        locked(&self.tokens)
            .iter_mut()
            .for_each(|token| token.expires = Some(at));
    }

    /// Takes the account of this name away.
    pub(super) fn remove(&self, name: &str) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        locked(&self.accounts).retain(|account| account.name != name);
    }

    fn apply(&self, change: Change) -> Outcome {
        if let Some(error) = locked(&self.forced).pop() {
            return Err(error);
        }
        match change {
            Change::PutAccount { expect, account } => {
                if self.account(&account.name).ok().flatten() != expect {
                    return Err(CommitError::Conflict);
                }
                self.set(account);
            }
            Change::PutToken(token) => {
                let mut tokens = locked(&self.tokens);
                if tokens
                    .iter()
                    .any(|other| (other.account, &other.name) == (token.account, &token.name))
                {
                    return Err(CommitError::Conflict);
                }
                tokens.push(token);
            }
            Change::RemoveToken(token) => {
                let mut tokens = locked(&self.tokens);
                let at = tokens
                    .iter()
                    .position(|other| *other == token)
                    .ok_or(CommitError::Conflict)?;
                tokens.remove(at);
            }
            Change::PutTokenUses(uses) => locked(&self.uses).extend(uses),
            Change::RemoveAccount(account) => {
                if self.account(&account.name).ok().flatten().as_ref() != Some(&account) {
                    return Err(CommitError::Conflict);
                }
                self.remove(&account.name);
                locked(&self.tokens).retain(|token| token.account != account.id);
                locked(&self.members)
                    .retain(|member| ![member.user, member.organisation].contains(&account.id));
            }
            Change::PutMember(new) => {
                let mut members = locked(&self.members);
                members.retain(|member| (member.user, member.organisation) != (new.user, new.organisation));
                members.push(new);
            }
            Change::RemoveMember(old) => locked(&self.members).retain(|member| *member != old),
            other => panic!("not a change of accounts: {other:?}"),
        }
        Ok(())
    }
}

impl Directory for Fake {
    fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let accounts = locked(&self.accounts);
        Ok(accounts
            .iter()
            .find(|account| account.name.eq_ignore_ascii_case(name))
            .cloned())
    }

    fn account_by_id(&self, id: Id) -> Result<Option<Account>, StoreError> {
        Ok(locked(&self.accounts)
            .iter()
            .find(|account| account.id == id)
            .cloned())
    }

    fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        Ok(locked(&self.accounts).clone())
    }

    fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.token_lookups.fetch_add(1, Ordering::SeqCst);
        Ok(locked(&self.tokens)
            .iter()
            .find(|token| token.hash == *hash)
            .cloned())
    }

    fn tokens_of(&self, account: Id) -> Result<Vec<Token>, StoreError> {
        let tokens = locked(&self.tokens);
        Ok(tokens
            .iter()
            .filter(|token| token.account == account)
            .cloned()
            .collect())
    }

    fn token_use(&self, hash: &[u8; 32]) -> Result<Option<Millis>, StoreError> {
        let uses = locked(&self.uses);
        Ok(uses
            .iter()
            .rev()
            .find(|used| used.token == *hash)
            .map(|used| used.at))
    }

    fn membership(&self, organisation: Id, user: Id) -> Result<Option<Permission>, StoreError> {
        let members = self.members(organisation)?;
        let found = members.iter().find(|member| member.user == user);
        Ok(found.map(|member| member.permission))
    }

    fn members(&self, organisation: Id) -> Result<Vec<Membership>, StoreError> {
        let members = locked(&self.members);
        let of = members
            .iter()
            .filter(|member| member.organisation == organisation);
        Ok(of.copied().collect())
    }

    fn has_packages(&self, owner: Id) -> Result<bool, StoreError> {
        Ok(locked(&self.publishers).contains(&owner))
    }

    fn secret(&self) -> &[u8; 32] {
        &[42; 32]
    }

    fn next_id(&self) -> Id {
        self.last_id.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn sign_in_changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn commit(&self, change: Change) -> Ticket {
        let (settle, ticket) = ticket();
        let changes_sign_in = change.changes_sign_in();
        let outcome = self.apply(change);
        if changes_sign_in {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        settle.settle(outcome);
        ticket
    }
}
