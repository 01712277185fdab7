//! Creating, listing and revoking tokens.

use super::accounts::ATTEMPTS;
use super::clock::wall_millis;
use super::grants::Grants;
use super::token;
use super::{Access, AccountError, Scopes, Secret};
use crate::store::change::{Change, CommitError};
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Grant, Millis, Token};

/// Longest name of a token in bytes.
const MAX_NAME: usize = 255;

/// A token to be created.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// Unique within the account.
    pub name: String,
    /// Names of scopes, see [`Scopes::from_names`].
    pub scopes: Vec<String>,
    /// From when on it is wrong; `None`: never.
    pub expires: Option<Millis>,
    /// What it is narrowed to; empty: everything that its account may do.
    pub grants: Vec<Grant>,
}

impl Access {
    /// Creates a token for a user. The secret is in the answer and nowhere else. Durable when this returns.
    pub async fn create_token(
        &self,
        account: &Account,
        new: &NewToken,
    ) -> Result<(Token, Secret), AccountError> {
        check_name(&new.name)?;
        let scopes = Scopes::from_names(&new.scopes)?;
        Grants::new(&new.grants)?;
        if new.expires.is_some_and(|expires| expires <= wall_millis()) {
            return Err(AccountError::ExpiresInThePast);
        }
        for _ in 0..ATTEMPTS {
            // Asked each time: a conflict is a name taken meanwhile, or an account that went away.
            self.still_a_user(account)?;
            if self.tokens(account)?.iter().any(|token| token.name == new.name) {
                return Err(AccountError::TokenNameTaken);
            }
            let (token, secret) = self.new_token(account, new, scopes)?;
            match self
                .gate
                .directory
                .commit(Change::PutToken(token.clone()))
                .settled()
                .await
            {
                Err(CommitError::Conflict) => continue,
                settled => return Ok(settled.map(|()| (token, secret))?),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// The tokens of an account, oldest first.
    pub fn tokens(&self, account: &Account) -> Result<Vec<Token>, StoreError> {
        self.gate.directory.tokens_of(account.id)
    }

    /// Revokes the token with this id, or else of this name. It is wrong from then on. Durable when this returns.
    pub async fn revoke_token(&self, account: &Account, id_or_name: &str) -> Result<Token, AccountError> {
        let tokens = self.tokens(account)?;
        let by_id = tokens.iter().find(|token| token.id.to_string() == id_or_name);
        let found = by_id.or_else(|| tokens.iter().find(|token| token.name == id_or_name));
        let token = found.cloned().ok_or(AccountError::NoSuchToken)?;
        match self
            .gate
            .directory
            .commit(Change::RemoveToken(token.clone()))
            .settled()
            .await
        {
            Err(CommitError::Conflict) => Err(AccountError::NoSuchToken),
            settled => Ok(settled.map(|()| token)?),
        }
    }

    fn still_a_user(&self, account: &Account) -> Result<(), AccountError> {
        let found = self.gate.directory.account_by_id(account.id)?;
        match found.map(|account| account.kind) {
            Some(AccountKind::User) => Ok(()),
            Some(AccountKind::Organisation) | None => Err(AccountError::NoSuchUser),
        }
    }

    fn new_token(
        &self,
        account: &Account,
        new: &NewToken,
        scopes: Scopes,
    ) -> Result<(Token, Secret), StoreError> {
        let made = token::generate()?;
        let token = Token {
            id: self.gate.directory.next_id(),
            account: account.id,
            name: new.name.clone(),
            hash: made.form().hash(&self.gate.token_key),
            last_eight: made.form().last_eight().to_owned(),
            scopes: scopes.0,
            created: wall_millis(),
            expires: new.expires,
            grants: new.grants.clone(),
        };
        Ok((token, made.into_secret()))
    }
}

fn check_name(name: &str) -> Result<(), AccountError> {
    let why = if name.is_empty() || name.len() > MAX_NAME {
        format!("a token name has 1 to {MAX_NAME} bytes, not {}", name.len())
    } else if name.chars().all(char::is_whitespace) {
        "a token name needs more than white space".to_owned()
    } else if name.contains(char::is_control) {
        format!("a token name has no control characters, unlike {name:?}")
    } else {
        return Ok(());
    };
    Err(AccountError::BadTokenName(why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::access::fake::{self, Bench};
    use crate::access::locked;

    fn new(name: &str, scopes: &[&str]) -> NewToken {
        NewToken {
            name: name.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..NewToken::default()
        }
    }

    fn bench() -> (Bench, Account) {
        let bench = Bench::new();
        let ann = fake::account(1, "ann");
        bench.fake.set(ann.clone());
        (bench, ann)
    }

    async fn refused(bench: &Bench, account: &Account, name: &str, scopes: &[&str]) -> &'static str {
        bench
            .access
            .create_token(account, &new(name, scopes))
            .await
            .unwrap_err()
            .code()
    }

    #[tokio::test]
    async fn a_token_is_stored_as_a_hash() {
        let (bench, ann) = bench();
        let (token, secret) = bench
            .access
            .create_token(&ann, &new("ci", &["write:package"]))
            .await
            .unwrap();
        assert_eq!(bench.access.tokens(&ann).unwrap(), std::slice::from_ref(&token));
        assert_eq!((token.account, token.name.as_str()), (ann.id, "ci"));
        assert_eq!(Scopes(token.scopes).names(), ["write:package"]);
        assert!(secret.expose().ends_with(&token.last_eight));
        assert_eq!(token.last_eight.len(), 8);
        assert!(!format!("{token:?}").contains(secret.expose()));
    }

    #[tokio::test]
    async fn what_makes_no_token_is_refused() {
        let (bench, ann) = bench();
        bench
            .access
            .create_token(&ann, &new("ci", &["all"]))
            .await
            .unwrap();
        assert_eq!(refused(&bench, &ann, "ci", &["all"]).await, "token-name-taken");
        assert_eq!(refused(&bench, &ann, "b", &[]).await, "bad-scopes");
        assert_eq!(
            refused(&bench, &ann, "b", &["write:everything"]).await,
            "bad-scopes"
        );
        for name in ["", " ", "a\nb", &"a".repeat(256)] {
            assert_eq!(refused(&bench, &ann, name, &["all"]).await, "bad-token-name");
        }
        assert_eq!(
            refused(&bench, &fake::account(77, "nobody"), "ci", &["all"]).await,
            "no-such-user"
        );
        let org = Account {
            kind: AccountKind::Organisation,
            ..fake::account(2, "org")
        };
        bench.fake.set(org.clone());
        assert_eq!(refused(&bench, &org, "ci", &["all"]).await, "no-such-user");
        assert_eq!(bench.access.tokens(&ann).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn grants_and_the_end_of_a_token_are_checked() {
        let (bench, ann) = bench();
        let code = async |edit: fn(&mut NewToken)| {
            let mut token = new("ci", &["all"]);
            edit(&mut token);
            bench
                .access
                .create_token(&ann, &token)
                .await
                .map_err(|error| error.code())
        };
        let bad: fn(&mut NewToken) = |token| {
            token.grants = vec![Grant {
                packages: "no slash".to_owned(),
                write: true,
            }];
        };
        assert_eq!(code(bad).await.unwrap_err(), "bad-grants");
        assert_eq!(
            code(|token| token.expires = Some(wall_millis()))
                .await
                .unwrap_err(),
            "expires-in-the-past"
        );
        let (token, _) = code(|token| token.expires = Some(wall_millis() + 60_000))
            .await
            .unwrap();
        assert!(token.expires.is_some());
    }

    #[tokio::test]
    async fn conflicts_are_tried_again_but_not_for_ever() {
        let (bench, ann) = bench();
        locked(&bench.fake.forced).extend(vec![CommitError::Conflict; ATTEMPTS - 1]);
        bench
            .access
            .create_token(&ann, &new("ci", &["all"]))
            .await
            .unwrap();
        locked(&bench.fake.forced).extend(vec![CommitError::Conflict; ATTEMPTS]);
        assert_eq!(refused(&bench, &ann, "b", &["all"]).await, "commit-failed");
    }

    #[tokio::test]
    async fn a_token_is_revoked_by_id_before_name() {
        let (bench, ann) = bench();
        let (first, _) = bench
            .access
            .create_token(&ann, &new("first", &["all"]))
            .await
            .unwrap();
        let id = first.id.to_string();
        let (confusing, _) = bench
            .access
            .create_token(&ann, &new(&id, &["all"]))
            .await
            .unwrap();
        bench.access.revoke_token(&ann, &id).await.unwrap();
        assert_eq!(bench.access.tokens(&ann).unwrap(), [confusing]);
        bench.access.revoke_token(&ann, &id).await.unwrap();
        let error = bench.access.revoke_token(&ann, &id).await.unwrap_err();
        assert_eq!(error.code(), "no-such-token");
    }

    #[tokio::test]
    async fn a_token_of_somebody_else_cannot_be_revoked() {
        let (bench, ann) = bench();
        let (token, _) = bench
            .access
            .create_token(&ann, &new("ci", &["all"]))
            .await
            .unwrap();
        let bob = fake::account(2, "bob");
        bench.fake.set(bob.clone());
        for name in ["ci".to_owned(), token.id.to_string()] {
            let error = bench.access.revoke_token(&bob, &name).await.unwrap_err();
            assert_eq!(error.code(), "no-such-token");
        }
    }
}
