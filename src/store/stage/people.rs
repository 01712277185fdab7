//! Staging what is set about accounts: they themselves, their tokens, memberships, settings and rules.

use super::{Stage, Staged};
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::log::record::{OwnerRules, OwnerSet, Record, RemovedAccount};
use crate::store::model::{Account, AccountKind, Id, Membership, OwnerSettings, Permission, Token, TokenUse};

impl Stage<'_, '_> {
    pub(super) fn put_account(
        &mut self,
        expect: Option<&Account>,
        account: &Account,
    ) -> Result<Staged, StoreError> {
        let stands: Option<Account> = self.batch.get(&keys::account(&account.name))?;
        if stands.as_ref() != expect {
            return Ok(Staged::Conflict);
        }
        self.record(Record::Account(account.clone()))
    }

    pub(super) fn remove_account(&mut self, account: &Account) -> Result<Staged, StoreError> {
        let stands: Option<Account> = self.batch.get(&keys::account(&account.name))?;
        if stands.as_ref() != Some(account) || !self.batch.keys(&keys::packages(account.id), 1)?.is_empty() {
            return Ok(Staged::Conflict);
        }
        let mut tokens = Vec::new();
        for key in self.batch.keys(&keys::tokens_of(account.id), usize::MAX)? {
            if let Some(((_, token), hash)) = keys::two_ids(&key).zip(self.batch.get(&key)?) {
                tokens.push((token, hash));
            }
        }
        let members = self.batch.keys(&keys::members(account.id), usize::MAX)?;
        let memberships = self.batch.keys(&keys::memberships(account.id), usize::MAX)?;
        let members = members.iter().filter_map(|key| keys::two_ids(key));
        let elsewhere = memberships.iter().filter_map(|key| keys::two_ids(key));
        let memberships = members
            .chain(elsewhere.map(|(user, organisation)| (organisation, user)))
            .collect();
        self.removed.insert(account.id);
        self.record(Record::RemoveAccount(RemovedAccount {
            account: account.clone(),
            tokens,
            memberships,
        }))
    }

    pub(super) fn put_member(&mut self, member: &Membership) -> Result<Staged, StoreError> {
        let both = self.is_a(member.organisation, AccountKind::Organisation)?
            && self.is_a(member.user, AccountKind::User)?;
        match both {
            true => self.record(Record::Member(*member)),
            false => Ok(Staged::Conflict),
        }
    }

    pub(super) fn remove_member(&mut self, member: &Membership) -> Result<Staged, StoreError> {
        let key = keys::member(member.organisation, member.user);
        match self.batch.get::<Permission>(&key)? == Some(member.permission) {
            true => self.record(Record::RemoveMember(*member)),
            false => Ok(Staged::Conflict),
        }
    }

    pub(super) fn put_settings(
        &mut self,
        owner: Id,
        expect: &OwnerSettings,
        settings: &OwnerSettings,
    ) -> Result<Staged, StoreError> {
        let stands: Option<OwnerSettings> = self.batch.get(&keys::settings(owner))?;
        if stands.unwrap_or_default() != *expect || !self.batch.contains(&keys::account_id(owner))? {
            return Ok(Staged::Conflict);
        }
        let settings = settings.clone();
        self.record(Record::Settings(OwnerSet { owner, settings }))
    }

    pub(super) fn put_token(&mut self, token: &Token) -> Result<Staged, StoreError> {
        if !self.batch.contains(&keys::account_id(token.account))?
            || self.batch.contains(&keys::token(&token.hash))?
        {
            return Ok(Staged::Conflict);
        }
        for key in self.batch.keys(&keys::tokens_of(token.account), usize::MAX)? {
            let hash: Option<[u8; 32]> = self.batch.get(&key)?;
            let other: Option<Token> = match hash {
                Some(hash) => self.batch.get(&keys::token(&hash))?,
                None => None,
            };
            if other.is_some_and(|other| other.name == token.name) {
                return Ok(Staged::Conflict);
            }
        }
        self.record(Record::Token(token.clone()))
    }

    pub(super) fn remove_token(&mut self, token: &Token) -> Result<Staged, StoreError> {
        match self.batch.contains(&keys::token(&token.hash))? {
            true => self.record(Record::RemoveToken(token.clone())),
            false => Ok(Staged::Conflict),
        }
    }

    pub(super) fn put_token_uses(&mut self, uses: &[TokenUse]) -> Result<Staged, StoreError> {
        let mut known = Vec::with_capacity(uses.len());
        for used in uses {
            if self.batch.contains(&keys::token(&used.token))? {
                known.push(*used);
            }
        }
        match known.is_empty() {
            true => Ok(Staged::In),
            false => self.record(Record::TokenUses(known)),
        }
    }

    pub(super) fn put_rules(&mut self, rules: &OwnerRules) -> Result<Staged, StoreError> {
        match self.batch.contains(&keys::account_id(rules.owner))? {
            true => self.record(Record::Rules(rules.clone())),
            false => Ok(Staged::Conflict),
        }
    }

    /// Whether there is an account with this id, of this kind.
    fn is_a(&self, id: Id, kind: AccountKind) -> Result<bool, StoreError> {
        let Some(name) = self.batch.get::<String>(&keys::account_id(id))? else {
            return Ok(false);
        };
        let account: Option<Account> = self.batch.get(&keys::account(&name))?;
        Ok(account.is_some_and(|account| account.kind == kind))
    }
}
