//! `larder restore`.

use std::io::Write;
use std::path::PathBuf;

use super::backup::failure;
use super::failure::Failure;
use super::output;
use super::progress::Bar;
use crate::store::backup;

/// Make a store from a backup, and check every record of it
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The backup
    backup: PathBuf,

    /// The data directory of the new store: empty, or to be created
    data: PathBuf,

    /// Restore what is damaged as it is: such files answer with an error, all others are served
    #[arg(long)]
    accept_damage: bool,
}

impl Args {
    /// Restores. Damage is a failure, also where it was to be accepted.
    pub fn run(self) -> Result<(), Failure> {
        let bar = Bar::new("restoring");
        let restored = backup::restore(&self.backup, &self.data, self.accept_damage, &bar);
        bar.finish();
        let restored = restored.map_err(failure)?;
        let _ = writeln!(
            output::stdout(),
            "restored: {} files, {} bytes; the index is built at the first start",
            restored.files,
            restored.bytes
        );
        match restored.damage.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(restored.damage.join("\n"))),
        }
    }
}
