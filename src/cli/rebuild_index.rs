//! `larder rebuild-index`.

use std::io::Write;

use super::failure::Failure;
use super::output;
use super::progress::Bar;
use super::store_args::{self, StoreArgs};
use crate::{store, telemetry};

/// Throw the index away and build it again from the log; the daemon must not be running
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Rebuilds. Damage in the log is a failure, though the index is then as good as it can be.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        store_args::must_exist(&config.store.data)?;
        let bar = Bar::new("reading the log");
        let report = store::rebuild_index(config.store, &bar)?;
        bar.finish();
        let _ = writeln!(
            output::stdout(),
            "index rebuilt: {} records of {} groups of the journal read",
            report.records,
            report.groups
        );
        match report.damaged {
            0 => Ok(()),
            damaged => Err(Failure::Failed(format!(
                "{damaged} records of the log are damaged"
            ))),
        }
    }
}
