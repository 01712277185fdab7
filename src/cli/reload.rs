//! `larder reload`.

use std::io::{self, Write};

use super::failure::Failure;
use super::output;
use super::store_args::StoreArgs;
use crate::daemon::control::{self, Request, Response};

/// Have the running daemon read its configuration again, as SIGHUP does
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Asks, and shows what has changed.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        match control::ask(&config.store.data, &Request::Reload).map_err(Failure::failed)? {
            Response::Reloaded {
                applied,
                needs_restart,
            } => show(&applied, &needs_restart, &mut output::stdout()).map_err(Failure::failed),
            Response::Failed { message } => Err(Failure::Failed(message)),
            other => Err(Failure::Failed(format!(
                "the daemon answered something else: {other:?}"
            ))),
        }
    }
}

fn show(applied: &[String], needs_restart: &[String], out: &mut impl Write) -> io::Result<()> {
    for key in applied {
        writeln!(out, "applied: {key}")?;
    }
    for key in needs_restart {
        writeln!(out, "holds after a restart: {key}")?;
    }
    match applied.is_empty() && needs_restart.is_empty() {
        true => writeln!(out, "nothing has changed"),
        false => Ok(()),
    }
}
