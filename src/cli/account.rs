//! `larder account …`: what an administrator does with a shell on the machine.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Subcommand;

use super::failure::Failure;
use super::progress::Bar;
use super::store_args::{self, StoreArgs};
use crate::access::Access;
use crate::config::Config;
use crate::daemon::control::{self, AskError, Request, Response};
use crate::store::Store;
use crate::telemetry;

/// A line with a password is not longer than this, bytes.
const MAX_LINE: u64 = 4096;

/// Manage accounts, whether the daemon runs or not
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Give an account a new password: asked for twice on a terminal, else one line of stdin
    Password {
        /// The account
        name: String,

        /// Make a random password and print it
        #[arg(long)]
        generate: bool,

        #[command(flatten)]
        store: StoreArgs,
    },
}

impl Args {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let Command::Password {
            name,
            generate,
            store,
        } = self.command;
        let config = store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        store_args::must_exist(&config.store.data)?;
        let password = match generate {
            true => random_password()?,
            false => read_password()?,
        };
        set_password(config, &name, &password)?;
        match generate {
            true => writeln!(io::stdout(), "{password}").map_err(Failure::failed),
            false => Ok(()),
        }
    }
}

/// Through the daemon if one runs, else in the store itself.
fn set_password(config: Config, account: &str, password: &str) -> Result<(), Failure> {
    let request = Request::SetPassword {
        account: account.to_owned(),
        password: password.to_owned(),
    };
    match control::ask(&config.store.data, &request) {
        Ok(Response::Done | Response::Held { .. }) => Ok(()),
        Ok(Response::Failed { message }) => Err(Failure::Failed(message)),
        Ok(other) => Err(Failure::Failed(format!(
            "the daemon gave an answer that does not fit: {other:?}"
        ))),
        Err(AskError::NotRunning) => set_in_store(config, account, password),
        Err(error) => Err(Failure::failed(error)),
    }
}

fn set_in_store(config: Config, account: &str, password: &str) -> Result<(), Failure> {
    let bar = Bar::new("replaying the log");
    let store = Store::open(config.store, &bar)?;
    bar.finish();
    let access = Access::new(store.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let set = runtime
        .block_on(access.set_password(account, password))
        .map_err(Failure::failed);
    store.close();
    set
}

/// A password of 128 random bits.
fn random_password() -> Result<String, Failure> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(Failure::failed)?;
    Ok(hex::encode(bits))
}

/// Twice from a terminal, once from anything else.
fn read_password() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return first_line(io::stdin().lock());
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map_err(Failure::failed);
    let password = ask("New password: ")?;
    match ask("Again: ")? == password {
        true => Ok(password),
        false => Err(Failure::Failed("the passwords differ".to_owned())),
    }
}

/// The first line, without its end.
fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    input
        .take(MAX_LINE)
        .read_line(&mut line)
        .map_err(Failure::failed)?;
    match line.strip_suffix('\n') {
        None if line.is_empty() => Err(Failure::Usage("stdin has no line with the password".to_owned())),
        None if line.len() as u64 == MAX_LINE => {
            Err(Failure::Usage("the line on stdin is too long".to_owned()))
        }
        Some(line) => Ok(line.strip_suffix('\r').unwrap_or(line).to_owned()),
        None => Ok(line),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        assert_eq!(
            first_line(&b"correct horse\nmore\n"[..]).unwrap(),
            "correct horse"
        );
        assert_eq!(first_line(&b"correct horse\r\n"[..]).unwrap(), "correct horse");
        assert_eq!(first_line(&b" spaces stay "[..]).unwrap(), " spaces stay ");
        assert!(matches!(first_line(&b""[..]), Err(Failure::Usage(_))));
        assert!(matches!(first_line(&[b'x'; 5000][..]), Err(Failure::Usage(_))));
        assert!(matches!(first_line(&b"\xff\n"[..]), Err(Failure::Failed(_))));
    }
}
