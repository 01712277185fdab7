//! What the command line may do with accounts: by the daemon, or in the store itself while none runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::{Access, AccountEdit, AccountError, NewToken, NewUser, Scopes};
use crate::artifact::Artifacts;
use crate::http::purge;
use crate::store::error::StoreError;
use crate::store::model::{Account, AccountKind, Grant, Millis, Permission, Token, Visibility};
use crate::telemetry::audit::{Audit, Event, Target, Who};

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// All accounts.
    List,
    /// One account.
    Show {
        /// Its name.
        name: String,
    },
    /// Create a user.
    Create {
        /// Its name.
        name: String,
        /// `None`: it signs in with tokens only.
        password: Option<String>,
        /// May be empty.
        email: String,
        /// Who may read what it owns.
        visibility: Visibility,
        /// Whether it may sign in.
        active: bool,
        /// Whether it may do everything.
        admin: bool,
        /// Organisations that it becomes a member of.
        members: Vec<(String, Permission)>,
    },
    /// Change a user or an organisation; `None` stays as it is.
    Edit {
        /// Its name.
        name: String,
        /// May be empty.
        email: Option<String>,
        /// Who may read what it owns.
        visibility: Option<Visibility>,
        /// Whether it may sign in.
        active: Option<bool>,
        /// Whether it may do everything.
        admin: Option<bool>,
    },
    /// Remove a user or an organisation.
    Delete {
        /// Its name.
        name: String,
        /// Its packages too.
        purge: bool,
    },
    /// Give a user a new password.
    SetPassword {
        /// Its name.
        name: String,
        /// The password.
        password: String,
    },
    /// Create an organisation.
    CreateOrganisation {
        /// Its name.
        name: String,
        /// Who may read what it owns.
        visibility: Visibility,
        /// Its first admin.
        admin: Option<String>,
    },
    /// The members of an organisation.
    Members {
        /// Which.
        organisation: String,
    },
    /// Make somebody a member, or give a member another permission.
    PutMember {
        /// Of which organisation.
        organisation: String,
        /// Who.
        user: String,
        /// What the member may do.
        permission: Permission,
    },
    /// Take a member out.
    RemoveMember {
        /// Of which organisation.
        organisation: String,
        /// Who.
        user: String,
    },
    /// The tokens of a user.
    Tokens {
        /// Whose.
        name: String,
    },
    /// Create a token.
    CreateToken {
        /// Whose.
        name: String,
        /// What it is called.
        token: String,
        /// Names of scopes.
        scopes: Vec<String>,
        /// From when on it is wrong.
        expires: Option<Millis>,
        /// What it is narrowed to; empty: nothing.
        grants: Vec<Grant>,
    },
    /// Revoke a token.
    RevokeToken {
        /// Whose.
        name: String,
        /// Its id or name.
        token: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// A token was created.
    Created {
        /// The token itself, shown once.
        secret: String,
        /// What there is to know about it.
        token: TokenInfo,
    },
    /// One account.
    Account(AccountInfo),
    /// Accounts, by name.
    Accounts {
        /// All of them.
        accounts: Vec<AccountInfo>,
    },
    /// Members of an organisation.
    Members {
        /// All of them.
        members: Vec<MemberInfo>,
    },
    /// Tokens of an account, oldest first.
    Tokens {
        /// All of them.
        tokens: Vec<TokenInfo>,
    },
    /// It is done, and durable.
    Done {},
}

/// An account, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `user` or `organisation`.
    pub kind: String,
    /// Who may read what it owns.
    pub visibility: Visibility,
    /// Whether it may sign in.
    pub active: bool,
    /// Whether it may do everything.
    pub admin: bool,
    /// Whether it has a password.
    pub password: bool,
    /// May be empty.
    pub email: String,
    /// When it was created.
    pub created: String,
}

/// A member of an organisation, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Who.
    pub name: String,
    /// What the member may do.
    pub permission: Permission,
}

/// A token, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its id.
    pub id: u64,
    /// What it is called.
    pub name: String,
    /// Its last eight characters.
    pub last_eight: String,
    /// Names of scopes.
    pub scopes: Vec<String>,
    /// When it was created.
    pub created: String,
    /// From when on it is wrong.
    pub expires: Option<String>,
    /// When it was last used.
    pub last_used: Option<String>,
    /// What it is narrowed to.
    pub grants: Vec<Grant>,
}

/// The rooms that are needed.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The gate.
    pub access: Access,
    /// The verbs, for packages that go with their owner.
    pub artifacts: Artifacts,
    /// The audit log, if there is one.
    pub audit: Option<Audit>,
}

impl Desk {
    /// Does what is asked.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn perform(&self, request: Request) -> Result<Answer, String> {
        let noted = noted(&request);
        let changed = changed(&request);
        let mut target = None;
        let done = self.answer(request, &mut target).await;
        if let Some((action, object)) = noted {
            match &done {
                Ok(_) => tracing::info!(action, object, "done from the command line"),
                Err(error) => tracing::info!(action, object, %error, "refused to the command line"),
            }
            let result = if done.is_ok() { "done" } else { "refused" };
            self.record_event(Event {
                target,
                changed,
                ..Event::now(Who::CommandLine, action, object, result)
            });
        }
        done.map_err(|error| error.to_string())
    }

    /// Writes down what somebody with a shell has done, or tried.
    pub fn record(&self, action: &'static str, object: String, result: &'static str) {
        self.record_event(Event::now(Who::CommandLine, action, object, result));
    }

    fn record_event(&self, event: Event) {
        if let Some(audit) = &self.audit {
            audit.record(event);
        }
    }

    /// Does it, and says in `target` which account or token was created, changed or removed.
    async fn answer(&self, request: Request, target: &mut Option<Target>) -> Result<Answer, DeskError> {
        let access = &self.access;
        match request {
            Request::List => Ok(Answer::Accounts {
                accounts: access.accounts()?.iter().map(shown).collect(),
            }),
            Request::Show { name } => Ok(Answer::Account(shown(&self.account(&name)?))),
            Request::Create { .. } => self.create(request, target).await,
            Request::Edit { .. } => self.edit(request, target).await,
            Request::Delete { name, purge } => {
                let account = self.account(&name)?;
                *target = Some((&account).into());
                purge::remove(access, &self.artifacts, &account, purge).await?;
                Ok(Answer::Done {})
            }
            Request::SetPassword { name, password } => {
                access.set_password(&name, &password).await?;
                *target = self.access.account(&name)?.as_ref().map(Target::from);
                Ok(Answer::Done {})
            }
            Request::CreateOrganisation {
                name,
                visibility,
                admin,
            } => {
                let admin = admin.map(|admin| self.account(&admin)).transpose()?;
                let created = access
                    .create_organisation(&name, visibility, admin.as_ref())
                    .await?;
                *target = Some((&created).into());
                Ok(Answer::Account(shown(&created)))
            }
            Request::Members { organisation } => {
                let members = access.members(&self.organisation(&organisation)?)?;
                let member = |(account, permission): (Account, Permission)| MemberInfo {
                    name: account.name,
                    permission,
                };
                Ok(Answer::Members {
                    members: members.into_iter().map(member).collect(),
                })
            }
            Request::PutMember {
                organisation,
                user,
                permission,
            } => {
                let organisation = self.organisation(&organisation)?;
                access.put_member(&organisation, &user, permission).await?;
                Ok(Answer::Done {})
            }
            Request::RemoveMember { organisation, user } => {
                access
                    .remove_member(&self.organisation(&organisation)?, &user)
                    .await?;
                Ok(Answer::Done {})
            }
            Request::Tokens { name } => {
                let tokens = access.tokens(&self.account(&name)?)?;
                let tokens: Result<_, StoreError> = tokens.iter().map(|token| self.token(token)).collect();
                Ok(Answer::Tokens { tokens: tokens? })
            }
            Request::CreateToken {
                name,
                token,
                scopes,
                expires,
                grants,
            } => {
                let new = NewToken {
                    name: token,
                    scopes,
                    expires,
                    grants,
                };
                let (token, secret) = access.create_token(&self.account(&name)?, &new).await?;
                *target = Some((&token).into());
                Ok(Answer::Created {
                    secret: secret.expose().to_owned(),
                    token: self.token(&token)?,
                })
            }
            Request::RevokeToken { name, token } => {
                let revoked = access.revoke_token(&self.account(&name)?, &token).await?;
                *target = Some((&revoked).into());
                Ok(Answer::Done {})
            }
        }
    }

    async fn create(&self, request: Request, target: &mut Option<Target>) -> Result<Answer, DeskError> {
        let Request::Create {
            name,
            password,
            email,
            visibility,
            active,
            admin,
            members,
        } = request
        else {
            return Err(DeskError::NoAccount);
        };
        // Asked before anything is created: half of it would be of no use.
        let mut organisations = Vec::new();
        for (organisation, permission) in members {
            organisations.push((self.organisation(&organisation)?, permission));
        }
        let new = NewUser {
            name,
            password,
            email,
            visibility,
            active,
            admin,
        };
        let created = self.access.create_user(new).await?;
        *target = Some((&created).into());
        for (organisation, permission) in organisations {
            self.access
                .put_member(&organisation, &created.name, permission)
                .await?;
            let object = format!("{}/{}", organisation.name, created.name);
            self.record("member.put", object, "done");
        }
        Ok(Answer::Account(shown(&created)))
    }

    async fn edit(&self, request: Request, target: &mut Option<Target>) -> Result<Answer, DeskError> {
        let Request::Edit {
            name,
            email,
            visibility,
            active,
            admin,
        } = request
        else {
            return Err(DeskError::NoAccount);
        };
        let account = self.account(&name)?;
        *target = Some((&account).into());
        if account.kind == AccountKind::Organisation {
            if email.is_some() || active.is_some() || admin.is_some() {
                return Err(DeskError::OnlyVisibility);
            }
            let edited = self.access.edit_organisation(&account, visibility).await?;
            return Ok(Answer::Account(shown(&edited)));
        }
        let edit = AccountEdit {
            password: None,
            email,
            visibility,
            active,
            admin,
        };
        let edited = self.access.edit_user(&name, edit).await?;
        Ok(Answer::Account(shown(&edited)))
    }

    fn account(&self, name: &str) -> Result<Account, DeskError> {
        self.access.account(name)?.ok_or(DeskError::NoAccount)
    }

    fn organisation(&self, name: &str) -> Result<Account, DeskError> {
        self.access.organisation(name)?.ok_or(DeskError::NoOrganisation)
    }

    fn token(&self, token: &Token) -> Result<TokenInfo, StoreError> {
        Ok(TokenInfo {
            id: token.id,
            name: token.name.clone(),
            last_eight: token.last_eight.clone(),
            scopes: Scopes(token.scopes)
                .names()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            created: time(token.created),
            expires: token.expires.map(time),
            last_used: self.access.last_use(token)?.map(time),
            grants: token.grants.clone(),
        })
    }
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum DeskError {
    #[error("there is no such account")]
    NoAccount,
    #[error("there is no such organisation")]
    NoOrganisation,
    #[error("of an organisation only the visibility can be changed")]
    OnlyVisibility,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Purge(#[from] purge::PurgeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is worth a line in the logs: whatever changes something, and what it is about.
fn noted(request: &Request) -> Option<(&'static str, String)> {
    let (action, object) = match request {
        Request::List | Request::Show { .. } | Request::Members { .. } | Request::Tokens { .. } => {
            return None;
        }
        Request::Create { name, .. } => ("account.create", name.clone()),
        Request::Edit { name, .. } => ("account.edit", name.clone()),
        Request::Delete { name, .. } => ("account.delete", name.clone()),
        Request::SetPassword { name, .. } => ("account.password", name.clone()),
        Request::CreateOrganisation { name, .. } => ("organisation.create", name.clone()),
        Request::PutMember {
            organisation, user, ..
        } => ("member.put", format!("{organisation}/{user}")),
        Request::RemoveMember { organisation, user } => ("member.remove", format!("{organisation}/{user}")),
        Request::CreateToken { name, token, .. } => ("token.create", format!("{name}/{token}")),
        // It may be the token itself, by mistake.
        Request::RevokeToken { name, .. } => ("token.revoke", name.clone()),
    };
    Some((action, object))
}

/// Names of the fields that a change sets.
fn changed(request: &Request) -> Vec<&'static str> {
    match request {
        Request::Edit {
            email,
            visibility,
            active,
            admin,
            ..
        } => {
            let edit = AccountEdit {
                password: None,
                email: email.clone(),
                visibility: *visibility,
                active: *active,
                admin: *admin,
            };
            edit.fields()
        }
        Request::SetPassword { .. } => vec!["password"],
        Request::PutMember { .. } => vec!["permission"],
        _ => Vec::new(),
    }
}

fn shown(account: &Account) -> AccountInfo {
    AccountInfo {
        id: account.id,
        name: account.name.clone(),
        kind: match account.kind {
            AccountKind::User => "user".to_owned(),
            AccountKind::Organisation => "organisation".to_owned(),
        },
        visibility: account.visibility,
        active: account.active,
        admin: account.admin,
        password: account.password.is_some(),
        email: account.email.clone(),
        created: time(account.created),
    }
}

/// RFC 3339, in whole seconds.
fn time(millis: Millis) -> String {
    let time = Timestamp::from_second(millis.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}
