//! `larder backup`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::audit;
use super::failure::Failure;
use super::output;
use super::progress::Bar;
use super::store_args::{self, StoreArgs};
use crate::daemon::control::{self, AskError, Request};
use crate::store::Store;
use crate::store::backup::{self, BackupError, BackupReport};
use crate::telemetry;
use crate::telemetry::audit::Options;
use crate::upkeep::backups::{Backups, Ended};

/// Copy the store into a directory, or bring the copy there up to date, whether the daemon runs or not
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the backup is, or shall be
    dir: PathBuf,

    /// Copy sealed files even where they could be hard links that share the disk's blocks with the store
    #[arg(long)]
    copy: bool,

    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Copies.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        let data = config.store.data.clone();
        store_args::must_exist(&data)?;
        let bar = Bar::new("copying");
        let begun = Instant::now();
        let copied = match control::hold_files(&data) {
            Ok(held) => backup::backup(&data, &held.end, &self.dir, !self.copy, &bar),
            Err(AskError::NotRunning) => {
                let opening = Bar::new("replaying the log");
                let store = Store::open(config.store, &opening)?;
                opening.finish();
                let (end, _hold) = store.snapshot().map_err(Failure::failed)?;
                let copied = backup::backup(&data, &end, &self.dir, !self.copy, &bar);
                store.close();
                copied
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        bar.finish();
        tell(
            &data,
            &config.audit,
            Ended {
                ok: copied.is_ok(),
                millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
        );
        let report = copied.map_err(failure)?;
        let _ = writeln!(output::stdout(), "{}", line(&report));
        Ok(())
    }
}

/// Has the time of this backup kept: by the daemon, so that its metrics show it, or for the next one.
fn tell(data: &Path, log: &Options, ended: Ended) {
    match control::ask(data, &Request::BackedUp(ended)) {
        Ok(_) => {}
        Err(AskError::NotRunning) => {
            Backups::of(data).ended(ended);
            // The copy is there all the same.
            match audit::open(log) {
                Ok(audit) => audit::close(audit, "backup", if ended.ok { "done" } else { "failed" }),
                Err(failure) => failure.print(),
            }
        }
        Err(error) => tracing::warn!(%error, "the metrics of the daemon do not know of this backup"),
    }
}

fn line(report: &BackupReport) -> String {
    let size = |bytes| bytesize::ByteSize::b(bytes).display().iec();
    let BackupReport {
        files,
        bytes,
        copied,
        shared,
        removed,
    } = *report;
    format!(
        "backup complete: {files} files, {}; {} copied, {} linked, {removed} old files removed",
        size(bytes),
        size(copied),
        size(shared)
    )
}

/// How a backup or a restore ends badly.
pub fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::InUse(_) => Failure::InUse(error.to_string()),
        other => Failure::failed(other),
    }
}
