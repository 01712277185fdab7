//! Organisations and their members.

use super::accounts::ATTEMPTS;
use super::clock::wall_millis;
use super::{Access, AccountError, Caller, names};
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Membership, Permission, Visibility};

impl Access {
    /// What a caller may do in an owner's packages as a member.
    pub fn membership(&self, caller: &Caller, owner: &Account) -> Result<Option<Permission>, StoreError> {
        match caller {
            Caller::User(who) if owner.kind == AccountKind::Organisation => {
                self.gate.directory.membership(owner.id, who.account.id)
            }
            _ => Ok(None),
        }
    }

    /// The organisation of this name, in any ASCII case.
    pub fn organisation(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let found = self.account(name)?;
        Ok(found.filter(|account| account.kind == AccountKind::Organisation))
    }

    /// Creates an organisation whose first admin is `creator`; without one, server admins see to it. Durable when this returns.
    pub async fn create_organisation(
        &self,
        name: &str,
        visibility: Visibility,
        creator: Option<&Account>,
    ) -> Result<Account, AccountError> {
        names::check(name)?;
        let organisation = Account {
            id: self.gate.directory.next_id(),
            name: name.to_owned(),
            kind: AccountKind::Organisation,
            visibility,
            active: true,
            admin: false,
            email: String::new(),
            password: None,
            created: wall_millis(),
        };
        let change = Change::PutAccount {
            expect: None,
            account: organisation.clone(),
        };
        match self.gate.directory.commit(change).settled().await {
            Err(CommitError::Conflict) => return Err(AccountError::NameTaken),
            settled => settled?,
        }
        // Should this fail, the organisation is there without members, and a server admin can add some.
        if let Some(creator) = creator {
            self.put_member(&organisation, &creator.name, Permission::Admin)
                .await?;
        }
        Ok(organisation)
    }

    /// Changes who may read what an organisation owns; `None` stays as it is. Durable when this returns.
    pub async fn edit_organisation(
        &self,
        organisation: &Account,
        visibility: Option<Visibility>,
    ) -> Result<Account, AccountError> {
        for _ in 0..ATTEMPTS {
            let found = self.gate.directory.account_by_id(organisation.id)?;
            let before = found.ok_or(AccountError::NoSuchUser)?;
            let after = Account {
                visibility: visibility.unwrap_or(before.visibility),
                ..before.clone()
            };
            if after == before {
                return Ok(after);
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

    /// The members of an organisation that have accounts, by id.
    pub fn members(&self, organisation: &Account) -> Result<Vec<(Account, Permission)>, StoreError> {
        let mut members = Vec::new();
        for member in self.gate.directory.members(organisation.id)? {
            let account = self.gate.directory.account_by_id(member.user)?;
            members.extend(account.map(|account| (account, member.permission)));
        }
        Ok(members)
    }

    /// Makes a user a member, or gives a member another permission. Durable when this returns.
    pub async fn put_member(
        &self,
        organisation: &Account,
        user: &str,
        permission: Permission,
    ) -> Result<(), AccountError> {
        let user = self.user(user)?;
        let change = Change::PutMember(Membership {
            organisation: organisation.id,
            user: user.id,
            permission,
        });
        match self.gate.directory.commit(change).settled().await {
            // One of the two went away meanwhile.
            Err(CommitError::Conflict) => Err(AccountError::NoSuchUser),
            settled => Ok(settled?),
        }
    }

    /// Takes a member out. Durable when this returns.
    pub async fn remove_member(&self, organisation: &Account, user: &str) -> Result<(), AccountError> {
        let user = self.user(user)?;
        for _ in 0..ATTEMPTS {
            let permission = self.gate.directory.membership(organisation.id, user.id)?;
            let change = Change::RemoveMember(Membership {
                organisation: organisation.id,
                user: user.id,
                permission: permission.ok_or(AccountError::NoSuchMember)?,
            });
            match self.gate.directory.commit(change).settled().await {
                Err(CommitError::Conflict) => continue,
                settled => return Ok(settled?),
            }
        }
        Err(CommitError::Conflict.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::access::fake::{self, Bench};

    #[tokio::test]
    async fn who_creates_an_organisation_is_its_admin() {
        let bench = Bench::new();
        let ann = fake::account(1, "ann");
        bench.fake.set(ann.clone());
        let created = bench
            .access
            .create_organisation("Tools", Visibility::Private, Some(&ann))
            .await
            .unwrap();
        assert_eq!(bench.access.organisation("TOOLS").unwrap(), Some(created.clone()));
        assert_eq!(bench.access.organisation("ann").unwrap(), None);
        assert_eq!(
            bench.access.members(&created).unwrap(),
            [(ann.clone(), Permission::Admin)]
        );
        for taken in ["tools", "ANN"] {
            let again = bench
                .access
                .create_organisation(taken, Visibility::Public, Some(&ann))
                .await;
            assert_eq!(again.unwrap_err().code(), "name-taken");
        }
    }

    #[tokio::test]
    async fn members_come_change_and_go() {
        let bench = Bench::new();
        let (ann, bob) = (fake::account(1, "ann"), fake::account(2, "bob"));
        bench.fake.set(ann.clone());
        bench.fake.set(bob.clone());
        let tools = bench
            .access
            .create_organisation("tools", Visibility::Public, Some(&ann))
            .await
            .unwrap();
        for permission in [Permission::Read, Permission::Write] {
            bench.access.put_member(&tools, "BOB", permission).await.unwrap();
            assert_eq!(
                bench.access.members(&tools).unwrap(),
                [(ann.clone(), Permission::Admin), (bob.clone(), permission)]
            );
        }
        bench.access.remove_member(&tools, "bob").await.unwrap();
        let again = bench.access.remove_member(&tools, "bob").await.unwrap_err();
        assert_eq!(again.code(), "no-such-member");
        for nobody in ["nobody", "tools"] {
            let error = bench.access.put_member(&tools, nobody, Permission::Read).await;
            assert_eq!(error.unwrap_err().code(), "no-such-user");
        }
    }
}
