//! What this room needs of the store: accounts and tokens, and a way to change them.

use crate::store::Store;
use crate::store::change::Change;
use crate::store::error::StoreError;
use crate::store::model::{Account, Id, Membership, Millis, Permission, Token};
use crate::store::ticket::Ticket;

/// The store, as this room sees it. Tests have one in memory.
pub(super) trait Directory: Send + Sync {
    fn account(&self, name: &str) -> Result<Option<Account>, StoreError>;
    fn account_by_id(&self, id: Id) -> Result<Option<Account>, StoreError>;
    fn accounts(&self) -> Result<Vec<Account>, StoreError>;
    fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError>;
    fn tokens_of(&self, account: Id) -> Result<Vec<Token>, StoreError>;
    fn token_use(&self, hash: &[u8; 32]) -> Result<Option<Millis>, StoreError>;
    fn membership(&self, organisation: Id, user: Id) -> Result<Option<Permission>, StoreError>;
    fn members(&self, organisation: Id) -> Result<Vec<Membership>, StoreError>;
    fn has_packages(&self, owner: Id) -> Result<bool, StoreError>;
    fn secret(&self) -> &[u8; 32];
    fn next_id(&self) -> Id;
    /// Goes up whenever an account or a token has changed, before whoever asked for it hears that it has.
    fn sign_in_changes(&self) -> u64;
    fn commit(&self, change: Change) -> Ticket;
}

impl Directory for Store {
    fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        Store::account(self, name)
    }

    fn account_by_id(&self, id: Id) -> Result<Option<Account>, StoreError> {
        Store::account_by_id(self, id)
    }

    fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        Store::accounts(self)
    }

    fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        Store::token(self, hash)
    }

    fn tokens_of(&self, account: Id) -> Result<Vec<Token>, StoreError> {
        Store::tokens_of(self, account)
    }

    fn token_use(&self, hash: &[u8; 32]) -> Result<Option<Millis>, StoreError> {
        Store::token_use(self, hash)
    }

    fn membership(&self, organisation: Id, user: Id) -> Result<Option<Permission>, StoreError> {
        Store::membership(self, organisation, user)
    }

    fn members(&self, organisation: Id) -> Result<Vec<Membership>, StoreError> {
        Store::members(self, organisation)
    }

    fn has_packages(&self, owner: Id) -> Result<bool, StoreError> {
        Ok(!Store::packages(self, owner, None, 1)?.is_empty())
    }

    fn secret(&self) -> &[u8; 32] {
        Store::secret(self)
    }

    fn next_id(&self) -> Id {
        Store::next_id(self)
    }

    fn sign_in_changes(&self) -> u64 {
        Store::sign_in_changes(self)
    }

    fn commit(&self, change: Change) -> Ticket {
        Store::commit(self, change)
    }
}
