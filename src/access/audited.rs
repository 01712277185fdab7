//! How the audit log names accounts and tokens.

use crate::store::model::{Account, AccountKind, Token};
use crate::telemetry::audit::{Kind, Target};

impl From<&Account> for Target {
    fn from(account: &Account) -> Self {
        Target {
            kind: match account.kind {
                AccountKind::User => Kind::User,
                AccountKind::Organisation => Kind::Organisation,
            },
            name: account.name.clone(),
            id: Some(account.id),
        }
    }
}

impl From<&Token> for Target {
    fn from(token: &Token) -> Self {
        Target {
            kind: Kind::Token,
            name: token.name.clone(),
            id: Some(token.id),
        }
    }
}
