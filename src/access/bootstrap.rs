//! The first account of a new store.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::password::{self, BadPassword, MAX_CHARS};
use super::{Access, AccountError, NewUser, Secret, random};
use crate::store::error::StoreError;
use crate::store::model::Visibility;

/// The name of the first account.
pub const ADMIN: &str = "admin";
/// The variable that gives its password.
pub const PASSWORD_VARIABLE: &str = "LARDER_ADMIN_PASSWORD";
/// The variable that names a file with its password.
pub const PASSWORD_FILE_VARIABLE: &str = "LARDER_ADMIN_PASSWORD_FILE";

/// Where a password that nobody gave is left, in the data directory.
const FILE_NAME: &str = "initial-admin-password";
/// Letters and digits that are not taken for each other.
const ALPHABET: &[u8] = b"23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";
/// Characters of a random password, worth 116 bits.
const RANDOM_CHARS: usize = 20;
/// Most bytes of a password, in the widest characters and with its line end.
const MAX_FILE: u64 = 4 * MAX_CHARS as u64 + 2;

/// What the first start is given.
#[derive(Clone, Default)]
pub struct Bootstrap {
    /// The value of [`PASSWORD_VARIABLE`].
    pub password: Option<OsString>,
    /// The value of [`PASSWORD_FILE_VARIABLE`].
    pub password_file: Option<OsString>,
    /// Whether somebody watches the terminal that messages go to.
    pub on_terminal: bool,
    /// The data directory; it exists.
    pub data: PathBuf,
}

/// What was done. As text, what to tell the operator: on a terminal when it holds a password, else in the log.
#[derive(Debug)]
pub enum Bootstrapped {
    /// The store has accounts; nothing was done, and nothing is to be told.
    NotNew,
    /// The store has accounts, so the variables were ignored.
    Ignored,
    /// The account has the password that was given.
    Given,
    /// The account has a random password, which is nowhere else.
    Shown(Secret),
    /// The account has a random password, which is in this file.
    Written(PathBuf),
}

/// Why the first account was not created. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Two passwords.
    #[error("{PASSWORD_VARIABLE} and {PASSWORD_FILE_VARIABLE} are both set; set one of them")]
    BothSet,
    /// Not a password.
    #[error("{variable}: {reason}")]
    BadPassword {
        /// The variable that gives it.
        variable: &'static str,
        /// The rule that it breaks.
        reason: BadPassword,
    },
    /// Not text.
    #[error("{variable}: the password is not valid UTF-8")]
    NotText {
        /// The variable that gives it.
        variable: &'static str,
    },
    /// The file that should hold the password cannot be read.
    #[error("{PASSWORD_FILE_VARIABLE}: cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The password of an earlier attempt is in the way.
    #[error("{} exists already, but the store has no accounts; remove the file and start again", .0.display())]
    InTheWay(PathBuf),
    /// The random password could not be left.
    #[error("cannot write the password of the first account to {}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The account could not be created.
    #[error("cannot create the first account: {0}")]
    Account(#[from] AccountError),
    /// The store or the machine failed.
    #[error("cannot create the first account: {0}")]
    Store(#[from] StoreError),
}

impl Access {
    /// Creates the account `admin` in a store without accounts: public, active, an admin. Its password is the one that
    /// is given, else a random one, to be shown on the terminal or left in the data directory.
    pub async fn bootstrap(&self, given: Bootstrap) -> Result<Bootstrapped, BootstrapError> {
        let any_given = given.password.is_some() || given.password_file.is_some();
        if !self.accounts()?.is_empty() {
            return Ok(if any_given {
                Bootstrapped::Ignored
            } else {
                Bootstrapped::NotNew
            });
        }
        if let Some(password) = given_password(&given)? {
            self.create_admin(password).await?;
            return Ok(Bootstrapped::Given);
        }
        let password = random::text(ALPHABET, RANDOM_CHARS).map_err(StoreError::from)?;
        if given.on_terminal {
            self.create_admin(password.clone()).await?;
            return Ok(Bootstrapped::Shown(Secret::new(password)));
        }
        // The file before the account: an account whose password nobody knows would be worse than a file too many.
        let path = given.data.join(FILE_NAME);
        leave(&path, &password)?;
        if let Err(error) = self.create_admin(password).await {
            // What went wrong is the better news; if the file stays, the next start says so.
            let _ = fs::remove_file(&path);
            return Err(error.into());
        }
        Ok(Bootstrapped::Written(path))
    }

    async fn create_admin(&self, password: String) -> Result<(), AccountError> {
        let admin = NewUser {
            name: ADMIN.to_owned(),
            password: Some(password),
            email: String::new(),
            visibility: Visibility::Public,
            active: true,
            admin: true,
        };
        self.create_user(admin).await.map(drop)
    }
}

/// What to tell the operator; empty if there is nothing to tell.
impl fmt::Display for Bootstrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bootstrapped::NotNew => Ok(()),
            Bootstrapped::Ignored => write!(
                f,
                "the store has accounts: {PASSWORD_VARIABLE} and {PASSWORD_FILE_VARIABLE} are ignored \
                 (`larder account password NAME` resets a password)"
            ),
            Bootstrapped::Given => write!(f, "created the account {ADMIN:?} with the given password"),
            Bootstrapped::Shown(password) => write!(
                f,
                "created the account {ADMIN:?} with the password {} (shown only now)",
                password.expose()
            ),
            Bootstrapped::Written(path) => write!(
                f,
                "created the account {ADMIN:?}; its password is in {} (remove the file when you have read it)",
                path.display()
            ),
        }
    }
}

fn given_password(given: &Bootstrap) -> Result<Option<String>, BootstrapError> {
    let (variable, bytes) = match (&given.password, &given.password_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(BootstrapError::BothSet),
        (Some(password), None) => (PASSWORD_VARIABLE, password.as_encoded_bytes().to_vec()),
        (None, Some(path)) => (PASSWORD_FILE_VARIABLE, read(path)?),
    };
    let password = String::from_utf8(bytes).map_err(|_| BootstrapError::NotText { variable })?;
    password::check(&password).map_err(|reason| BootstrapError::BadPassword { variable, reason })?;
    Ok(Some(password))
}

/// The file's content without the line end that editors put there. Reads no more than a password can have.
fn read(path: &OsStr) -> Result<Vec<u8>, BootstrapError> {
    let path = Path::new(path);
    let read = || {
        let mut content = Vec::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
        io::Result::Ok(content)
    };
    let mut content = read().map_err(|error| BootstrapError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    if content.pop_if(|last| *last == b'\n').is_some() {
        content.pop_if(|last| *last == b'\r');
    }
    Ok(content)
}

/// Writes a password to a new file that only its owner reads.
fn leave(path: &Path, password: &str) -> Result<(), BootstrapError> {
    let unwritable = |error| BootstrapError::Unwritable {
        path: path.to_owned(),
        error,
    };
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BootstrapError::InTheWay(path.to_owned()));
        }
        opened => opened.map_err(unwritable)?,
    };
    let written = file.write_all(format!("{password}\n").as_bytes());
    if let Err(error) = written.and_then(|()| file.sync_all()) {
        // Half a password is of no use to anyone; the error matters more than whether this works.
        let _ = fs::remove_file(path);
        return Err(unwritable(error));
    }
    sync_directory_of(path).map_err(unwritable)
}

/// Makes a new file's name survive a power cut, as the account will.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::access::fake::{self, Bench};
    use crate::access::{Caller, Credentials, locked};
    use crate::store::change::CommitError;

    struct Start {
        bench: Bench,
        data: tempfile::TempDir,
    }

    impl Start {
        fn new() -> Self {
            Start {
                bench: Bench::new(),
                data: tempfile::tempdir().unwrap(),
            }
        }

        fn given(&self) -> Bootstrap {
            Bootstrap {
                data: self.data.path().to_owned(),
                ..Bootstrap::default()
            }
        }

        fn file(&self, content: &[u8]) -> Option<OsString> {
            let path = self.data.path().join("given");
            fs::write(&path, content).unwrap();
            Some(path.into())
        }

        async fn run(&self, given: Bootstrap) -> Result<Bootstrapped, BootstrapError> {
            self.bench.access.bootstrap(given).await
        }

        async fn error(&self, given: Bootstrap) -> String {
            let error = self.run(given).await.unwrap_err().to_string();
            assert!(self.bench.access.accounts().unwrap().is_empty());
            error
        }

        async fn assert_admin_has(&self, password: &str) {
            let credentials = Credentials::Basic {
                user: ADMIN.to_owned(),
                password: password.to_owned(),
            };
            let caller = self.bench.access.authenticate(&credentials, None).await.unwrap();
            let Caller::User(user) = caller else {
                panic!("{caller:?}")
            };
            assert!(user.account.admin && user.account.visibility == Visibility::Public);
        }
    }

    #[tokio::test]
    async fn a_given_password_is_taken() {
        let start = Start::new();
        let password = Some("correct horse".into());
        let done = start
            .run(Bootstrap {
                password,
                ..start.given()
            })
            .await
            .unwrap();
        assert!(matches!(done, Bootstrapped::Given));
        start.assert_admin_has("correct horse").await;
    }

    #[tokio::test]
    async fn one_line_end_is_no_part_of_a_password_in_a_file() {
        let table: [(&[u8], &str); 5] = [
            (b"correct horse", "correct horse"),
            (b"correct horse\n", "correct horse"),
            (b"correct horse\r\n", "correct horse"),
            (b"correct horse\n\n", "correct horse\n"),
            (b"correct horse ", "correct horse "),
        ];
        for (content, password) in table {
            let start = Start::new();
            let password_file = start.file(content);
            let done = start
                .run(Bootstrap {
                    password_file,
                    ..start.given()
                })
                .await
                .unwrap();
            assert!(matches!(done, Bootstrapped::Given));
            start.assert_admin_has(password).await;
        }
    }

    #[tokio::test]
    async fn what_is_given_wrongly_is_named() {
        let start = Start::new();
        let with = |password: &[u8]| Bootstrap {
            password: Some(OsString::from_vec(password.to_vec())),
            ..start.given()
        };
        let short = start.error(with(b"1234567")).await;
        assert_eq!(
            short,
            "LARDER_ADMIN_PASSWORD: a password needs at least 8 characters, not 7: take a longer one"
        );
        assert!(
            start
                .error(with(b""))
                .await
                .starts_with("LARDER_ADMIN_PASSWORD: ")
        );
        assert!(
            start
                .error(with(b"\xff1234567"))
                .await
                .contains("not valid UTF-8")
        );

        let file = |content: &[u8]| Bootstrap {
            password_file: start.file(content),
            ..start.given()
        };
        let short = start.error(file(b"1234567\n")).await;
        assert_eq!(
            short,
            "LARDER_ADMIN_PASSWORD_FILE: a password needs at least 8 characters, not 7: take a longer one"
        );
        let long = start.error(file(&[b'a'; 100_000])).await;
        assert_eq!(
            long,
            "LARDER_ADMIN_PASSWORD_FILE: a password has at most 256 characters, not more than 1000: take a shorter one"
        );
        let both = Bootstrap {
            password: Some("correct horse".into()),
            ..file(b"correct horse")
        };
        assert!(start.error(both).await.contains("are both set"));
        let password_file = Some(start.data.path().join("absent").into());
        let absent = start
            .error(Bootstrap {
                password_file,
                ..start.given()
            })
            .await;
        assert!(
            absent.starts_with("LARDER_ADMIN_PASSWORD_FILE: cannot read "),
            "{absent}"
        );
    }

    #[tokio::test]
    async fn a_random_password_is_shown_on_a_terminal() {
        let start = Start::new();
        let given = Bootstrap {
            on_terminal: true,
            ..start.given()
        };
        let Bootstrapped::Shown(password) = start.run(given).await.unwrap() else {
            panic!("not shown");
        };
        assert_eq!(password.expose().len(), 20);
        assert!(!password.expose().contains(['0', 'O', '1', 'I', 'l']));
        start.assert_admin_has(password.expose()).await;
        assert!(
            Bootstrapped::Shown(password.clone())
                .to_string()
                .contains(password.expose())
        );
        assert_eq!(fs::read_dir(start.data.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn without_a_terminal_it_is_left_in_a_file_for_the_owner_alone() {
        let start = Start::new();
        let done = start.run(start.given()).await.unwrap();
        let path = start.data.path().join("initial-admin-password");
        assert!(matches!(&done, Bootstrapped::Written(written) if *written == path));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let content = fs::read_to_string(&path).unwrap();
        let password = content.strip_suffix('\n').unwrap();
        start.assert_admin_has(password).await;
        assert!(!done.to_string().contains(password));
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let start = Start::new();
        let path = start.data.path().join("initial-admin-password");
        fs::write(&path, "precious").unwrap();
        assert!(start.error(start.given()).await.contains("remove the file"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn no_file_stays_without_an_account() {
        let start = Start::new();
        locked(&start.bench.fake.forced).push(CommitError::NoSpace);
        assert!(start.error(start.given()).await.contains("no space left"));
        assert_eq!(fs::read_dir(start.data.path()).unwrap().count(), 0);
        let gone = Bootstrap {
            data: start.data.path().join("gone"),
            ..start.given()
        };
        assert!(start.error(gone).await.starts_with("cannot write the password"));
    }

    #[tokio::test]
    async fn a_store_with_accounts_stays_as_it_is() {
        let start = Start::new();
        start.bench.fake.set(fake::account(1, "ann"));
        let done = start.run(start.given()).await.unwrap();
        assert!(matches!(done, Bootstrapped::NotNew) && done.to_string().is_empty());
        // Not even looked at: neither both, nor a file that is not there.
        let given = Bootstrap {
            password: Some("x".into()),
            password_file: Some("/nowhere/at/all".into()),
            ..start.given()
        };
        let done = start.run(given).await.unwrap();
        assert!(matches!(done, Bootstrapped::Ignored) && done.to_string().contains("LARDER_ADMIN_PASSWORD"));
        assert_eq!(start.bench.access.accounts().unwrap().len(), 1);
    }
}
