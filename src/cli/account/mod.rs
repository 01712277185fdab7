//! `larder account …`: what an administrator does with a shell on the machine.

mod ask;
mod password;
mod show;

use std::path::PathBuf;

use clap::{ArgAction, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::failure::Failure;
use super::store_args::{self, StoreArgs};
use crate::daemon::accounts::Request;
use crate::store::model::{self, Grant, Millis};
use crate::telemetry;
use password::Wanted;

/// Manage accounts, organisations and tokens, whether the daemon runs or not
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,

    /// Configuration file; else the one that the variable LARDER_CONFIG names; else none
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Data directory (store.data)
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// List all accounts
    List,
    /// Show an account
    Show {
        /// The account
        name: String,
    },
    /// Create a user
    Create(Create),
    /// Change a user, or an organisation's visibility
    Edit(Edit),
    /// Remove a user or an organisation
    Delete {
        /// The account
        name: String,

        /// Remove its packages too
        #[arg(long)]
        purge: bool,
    },
    /// Give an account a new password: asked for twice on a terminal, else one line of stdin
    Password {
        /// The account
        name: String,

        /// Make a random password and print it
        #[arg(long)]
        generate: bool,
    },
    /// Create an organisation
    #[command(visible_alias = "org")]
    Organisation {
        #[command(subcommand)]
        command: Organisation,
    },
    /// Who belongs to an organisation
    Member {
        #[command(subcommand)]
        command: Member,
    },
    /// Access tokens of an account
    Token {
        #[command(subcommand)]
        command: Token,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Create {
    /// 1 to 40 letters and digits, with single '-', '_' or '.' between them
    name: String,

    /// Make a random password and print it; without this it is asked for, or is one line of stdin
    #[arg(long, conflicts_with = "no_password")]
    generate: bool,

    /// Without a password: the account signs in with tokens only
    #[arg(long)]
    no_password: bool,

    /// For people
    #[arg(long, default_value = "")]
    email: String,

    /// Who may read what it owns
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,

    /// It may do everything
    #[arg(long)]
    admin: bool,

    /// It may not sign in
    #[arg(long)]
    inactive: bool,

    /// Becomes a member of this organisation: read, write or admin; repeatable
    #[arg(long = "member", value_name = "ORGANISATION=PERMISSION", value_parser = membership)]
    members: Vec<(String, model::Permission)>,
}

#[derive(Clone, Debug, clap::Args)]
struct Edit {
    /// The account
    name: String,

    /// For people
    #[arg(long)]
    email: Option<String>,

    /// Who may read what it owns
    #[arg(long, value_enum)]
    visibility: Option<Visibility>,

    /// Whether it may sign in
    #[arg(long, action = ArgAction::Set, value_name = "true|false")]
    active: Option<bool>,

    /// Whether it may do everything
    #[arg(long, action = ArgAction::Set, value_name = "true|false")]
    admin: Option<bool>,
}

#[derive(Clone, Debug, Subcommand)]
enum Organisation {
    /// Create an organisation
    Create {
        /// As an account's name
        name: String,

        /// Who may read what it owns
        #[arg(long, value_enum, default_value_t)]
        visibility: Visibility,

        /// The user who manages it; without one, the admins of the server do
        #[arg(long, value_name = "USER")]
        admin: Option<String>,
    },
    /// Remove an organisation
    Delete {
        /// The organisation
        name: String,

        /// Remove its packages too
        #[arg(long)]
        purge: bool,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Member {
    /// List the members of an organisation
    List {
        /// The organisation
        organisation: String,
    },
    /// Make a user a member, or give a member another permission
    Set {
        /// The organisation
        organisation: String,
        /// The user
        user: String,
        /// What the member may do
        #[arg(value_enum)]
        permission: Permission,
    },
    /// Take a member out
    Remove {
        /// The organisation
        organisation: String,
        /// The user
        user: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Token {
    /// List the tokens of an account, with their last use
    List {
        /// The account
        name: String,
    },
    /// Create a token and print it; it is shown only now
    Create {
        /// The account it speaks for
        name: String,

        /// What it is called
        token: String,

        /// read:package, write:package, admin, all, public-only; repeatable
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<String>,

        /// When it ends: a time like 2027-01-31T12:00:00Z, or a duration from now like 90days
        #[arg(long, value_name = "WHEN", value_parser = when)]
        expires: Option<Millis>,

        /// Narrow it to these packages, read or write; repeatable
        #[arg(long = "grant", value_name = "OWNER/PACKAGE=PERMISSION", value_parser = grant)]
        grants: Vec<Grant>,
    },
    /// Revoke a token at once
    Revoke {
        /// The account
        name: String,

        /// Id or name of the token
        token: String,
    },
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Visibility {
    /// Anyone reads
    #[default]
    Public,
    /// Anyone signed in reads
    Limited,
    /// Only the owner, members and admins read
    Private,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Permission {
    /// Download
    Read,
    /// Publish and remove
    Write,
    /// Manage members and settings
    Admin,
}

impl From<Visibility> for model::Visibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Public => model::Visibility::Public,
            Visibility::Limited => model::Visibility::Limited,
            Visibility::Private => model::Visibility::Private,
        }
    }
}

impl From<Permission> for model::Permission {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::Read => model::Permission::Read,
            Permission::Write => model::Permission::Write,
            Permission::Admin => model::Permission::Admin,
        }
    }
}

impl Args {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let store = StoreArgs {
            config: self.config,
            data: self.data,
        };
        let config = store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        store_args::must_exist(&config.store.data)?;
        let (request, generated) = self.command.request()?;
        let answer = ask::ask(config, request)?;
        show::show(&answer, generated.as_deref(), self.json).map_err(Failure::failed)
    }
}

impl Command {
    /// What is asked for, and the password that was made for it, if any.
    fn request(self) -> Result<(Request, Option<String>), Failure> {
        Ok((
            match self {
                Command::List => Request::List,
                Command::Show { name } => Request::Show { name },
                Command::Create(create) => return create.request(),
                Command::Edit(edit) => Request::Edit {
                    name: edit.name,
                    email: edit.email,
                    visibility: edit.visibility.map(Into::into),
                    active: edit.active,
                    admin: edit.admin,
                },
                Command::Delete { name, purge }
                | Command::Organisation {
                    command: Organisation::Delete { name, purge },
                } => Request::Delete { name, purge },
                Command::Password { name, generate } => {
                    let (password, generated) = Wanted::of(generate).get()?;
                    return Ok((Request::SetPassword { name, password }, generated));
                }
                Command::Organisation {
                    command:
                        Organisation::Create {
                            name,
                            visibility,
                            admin,
                        },
                } => Request::CreateOrganisation {
                    name,
                    visibility: visibility.into(),
                    admin,
                },
                Command::Member { command } => command.request(),
                Command::Token { command } => command.request(),
            },
            None,
        ))
    }
}

impl Create {
    fn request(self) -> Result<(Request, Option<String>), Failure> {
        let (password, generated) = match self.no_password {
            true => (None, None),
            false => {
                let (password, generated) = Wanted::of(self.generate).get()?;
                (Some(password), generated)
            }
        };
        let request = Request::Create {
            name: self.name,
            password,
            email: self.email,
            visibility: self.visibility.into(),
            active: !self.inactive,
            admin: self.admin,
            members: self.members,
        };
        Ok((request, generated))
    }
}

impl Member {
    fn request(self) -> Request {
        match self {
            Member::List { organisation } => Request::Members { organisation },
            Member::Set {
                organisation,
                user,
                permission,
            } => Request::PutMember {
                organisation,
                user,
                permission: permission.into(),
            },
            Member::Remove { organisation, user } => Request::RemoveMember { organisation, user },
        }
    }
}

impl Token {
    fn request(self) -> Request {
        match self {
            Token::List { name } => Request::Tokens { name },
            Token::Create {
                name,
                token,
                scopes,
                expires,
                grants,
            } => Request::CreateToken {
                name,
                token,
                scopes,
                expires,
                grants,
            },
            Token::Revoke { name, token } => Request::RevokeToken { name, token },
        }
    }
}

/// `organisation=permission`
fn membership(text: &str) -> Result<(String, model::Permission), String> {
    let (organisation, permission) = text
        .rsplit_once('=')
        .ok_or("write organisation=read, =write or =admin")?;
    let permission = Permission::from_str(permission, false)
        .map_err(|_| format!("{permission:?} is not read, write or admin"))?;
    Ok((organisation.to_owned(), permission.into()))
}

/// `owner/package=read` or `=write`
fn grant(text: &str) -> Result<Grant, String> {
    let (packages, write) = match text.rsplit_once('=') {
        Some((packages, "read")) => (packages, false),
        Some((packages, "write")) => (packages, true),
        _ => return Err("write owner/package=read or owner/package=write".to_owned()),
    };
    Ok(Grant {
        packages: packages.to_owned(),
        write,
    })
}

/// A time, or a duration from now.
fn when(text: &str) -> Result<Millis, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let duration = humantime::parse_duration(text)
        .map_err(|_| "write a time like 2027-01-31T12:00:00Z or a duration like 90days".to_owned())?;
    let millis = i64::try_from(duration.as_millis()).map_err(|_| "that is too far away".to_owned())?;
    let end = Timestamp::now().as_millisecond().checked_add(millis);
    end.ok_or_else(|| "that is too far away".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn members_and_grants_are_read() {
        let (organisation, permission) = membership("tools=write").unwrap();
        assert_eq!(
            (organisation.as_str(), permission),
            ("tools", model::Permission::Write)
        );
        let read = grant("ci/*=read").unwrap();
        assert_eq!((read.packages.as_str(), read.write), ("ci/*", false));
        for bad in ["tools", "tools=", "tools=own", "tools=Write"] {
            assert!(membership(bad).is_err(), "{bad}");
            assert!(grant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_a_time_or_a_duration() {
        assert_eq!(when("1970-01-02T00:00:00Z"), Ok(86_400_000));
        let now = Timestamp::now().as_millisecond();
        let tomorrow = when("1day").unwrap();
        assert!((now + 86_399_000..now + 86_500_000).contains(&tomorrow));
        for bad in ["", "soon", "-1day", "99999999999999years"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
