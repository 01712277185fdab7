//! `larder reload`.

use super::failure::Failure;
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
            } => {
                show("applied", &applied);
                show("holds after a restart", &needs_restart);
                if applied.is_empty() && needs_restart.is_empty() {
                    println!("nothing has changed");
                }
                Ok(())
            }
            Response::Failed { message } => Err(Failure::Failed(message)),
            other => Err(Failure::Failed(format!(
                "the daemon answered something else: {other:?}"
            ))),
        }
    }
}

fn show(what: &str, keys: &[String]) {
    for key in keys {
        println!("{what}: {key}");
    }
}
