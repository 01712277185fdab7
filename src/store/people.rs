//! Accounts, their tokens and memberships.

use super::Store;
use super::error::StoreError;
use super::index::keys;
use super::model::{Account, Id, Membership, Millis, Permission, Token};

impl Store {
    /// The account of this name, in any ASCII case.
    pub fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.get(&keys::account(name))
    }

    /// The account with this id.
    pub fn account_by_id(&self, id: Id) -> Result<Option<Account>, StoreError> {
        match self.get::<String>(&keys::account_id(id))? {
            Some(name) => self.account(&name),
            None => Ok(None),
        }
    }

    /// All accounts, by name.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.inner.index.scan_as(&keys::accounts())
    }

    /// The token with this hash.
    pub fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.get(&keys::token(hash))
    }

    /// When a token was last used, as far as that has been kept.
    pub fn token_use(&self, hash: &[u8; 32]) -> Result<Option<Millis>, StoreError> {
        self.get(&keys::token_use(hash))
    }

    /// The tokens of an account, oldest first.
    pub fn tokens_of(&self, account: Id) -> Result<Vec<Token>, StoreError> {
        let hashes: Vec<[u8; 32]> = self.inner.index.scan_as(&keys::tokens_of(account))?;
        let mut tokens = Vec::with_capacity(hashes.len());
        for hash in hashes {
            // One that was revoked since the scan is left out.
            tokens.extend(self.token(&hash)?);
        }
        Ok(tokens)
    }

    /// What a user may do in an organisation as its member.
    pub fn membership(&self, organisation: Id, user: Id) -> Result<Option<Permission>, StoreError> {
        self.get(&keys::member(organisation, user))
    }

    /// The members of an organisation, by id.
    pub fn members(&self, organisation: Id) -> Result<Vec<Membership>, StoreError> {
        let members = self
            .inner
            .index
            .page_as(&keys::members(organisation), None, usize::MAX)?;
        let member = |(key, permission): (keys::Key, Permission)| {
            let (organisation, user) = keys::two_ids(&key)?;
            Some(Membership {
                organisation,
                user,
                permission,
            })
        };
        Ok(members.into_iter().filter_map(member).collect())
    }
}
