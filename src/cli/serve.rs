//! `larder serve`, and `larder` alone.

use super::failure::Failure;
use super::progress::Bar;
use super::store_args::StoreArgs;
use crate::access::BootstrapError;
use crate::config::Flag;
use crate::{daemon, telemetry};

/// Run the daemon until SIGTERM or SIGINT; a second signal ends it at once
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// Where to listen (server.listen), several with commas between them; port 0 takes a free port and prints it
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

impl Args {
    /// Serves.
    pub fn run(self) -> Result<(), Failure> {
        let listen = self.listen.map(|value| Flag {
            name: "--listen",
            key: "server.listen",
            value: value.into(),
        });
        let config = self.store.load(listen.into_iter().collect())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        daemon::run(config, Bar::new("replaying the log")).map_err(failure)
    }
}

fn failure(error: daemon::Error) -> Failure {
    use BootstrapError::{BadPassword, BothSet, NotText, Unreadable};
    match error {
        daemon::Error::Open(error) => error.into(),
        // The variables for the first password are configuration too.
        daemon::Error::FirstAccount(BothSet | BadPassword { .. } | NotText { .. } | Unreadable { .. }) => {
            Failure::Usage(error.to_string())
        }
        daemon::Error::Tls(error) => Failure::Usage(error.to_string()),
        other => Failure::failed(other),
    }
}
