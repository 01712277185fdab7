//! `larder stats`.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;
use super::output;
use super::progress::Bar;
use super::store_args::{self, StoreArgs};
use crate::daemon::control::{self, AskError, Request, Response};
use crate::store::Store;
use crate::store::pace::Unthrottled;
use crate::store::stats::Stats;
use crate::telemetry;

/// Show what the store holds and what it takes on the disk, whether the daemon runs or not
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the figures as JSON: bytes and counts
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// The figures as they are printed.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    stats: Stats,
    /// `null` where nothing is stored.
    dedupe_ratio: Option<f64>,
    /// How long ago they were counted.
    age_seconds: u64,
}

impl Args {
    /// Counts, through the daemon if one runs, else in the store itself.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        store_args::must_exist(&config.store.data)?;
        let (stats, age_seconds) = match control::ask(&config.store.data, &Request::Stats) {
            Ok(Response::Stats { stats, age_seconds }) => (stats, age_seconds),
            Ok(Response::Failed { message }) => return Err(Failure::Failed(message)),
            Ok(other) => {
                let message = format!("the daemon gave an answer that does not fit: {other:?}");
                return Err(Failure::Failed(message));
            }
            Err(AskError::NotRunning) => {
                let bar = Bar::new("replaying the log");
                let store = Store::open(config.store, &bar)?;
                bar.finish();
                let counted = store.stats(&Unthrottled).map_err(Failure::failed);
                store.close();
                (counted?, 0)
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        let shown = Shown {
            stats,
            dedupe_ratio: stats.dedupe_ratio(),
            age_seconds,
        };
        let mut out = output::stdout();
        let written = match self.json {
            true => serde_json::to_writer_pretty(&mut out, &shown)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
            false => show(&shown, &mut out),
        };
        written.map_err(Failure::failed)
    }
}

fn show(shown: &Shown, out: &mut impl Write) -> io::Result<()> {
    let Shown { stats, .. } = shown;
    for (name, count) in [
        ("packages", stats.packages),
        ("versions", stats.versions),
        ("files", stats.files),
        ("blobs", stats.blobs),
        ("chunks", stats.chunks),
    ] {
        writeln!(out, "{name:<10}{count:>12}")?;
    }
    for (name, bytes, what) in [
        ("logical", stats.logical_bytes, "all files, each counted in full"),
        ("unique", stats.unique_bytes, "all chunks, each counted once"),
        ("live", stats.live_bytes, "of the log: what the index leads to"),
        (
            "dead",
            stats.dead_bytes,
            "of the log: what compaction can take away",
        ),
        (
            "reserved",
            stats.reserved_bytes,
            "room in log files and for the index, ballast",
        ),
        ("index", stats.index_bytes, "the index's files"),
        ("physical", stats.physical_bytes, "the data directory on the disk"),
    ] {
        let size = bytesize::ByteSize::b(bytes).display().iec().to_string();
        writeln!(out, "{name:<10}{size:>12}  {what}")?;
    }
    match shown.dedupe_ratio {
        Some(ratio) => writeln!(out, "{:<10}{ratio:>12.2}  logical / unique", "dedupe")?,
        None => writeln!(out, "{:<10}{:>12}  nothing is stored", "dedupe", "-")?,
    }
    match shown.age_seconds {
        0 => Ok(()),
        age => writeln!(out, "counted {age} seconds ago"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable_in_both_forms() {
        let stats = Stats {
            packages: 2,
            files: 3,
            logical_bytes: 3 << 20,
            unique_bytes: 2 << 20,
            ..Stats::default()
        };
        let shown = Shown {
            stats,
            dedupe_ratio: stats.dedupe_ratio(),
            age_seconds: 7,
        };
        let mut out = Vec::new();
        show(&shown, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in [
            "packages             2\n",
            "logical        3.0 MiB  all files, each counted in full\n",
            "dedupe            1.50  logical / unique\n",
            "counted 7 seconds ago\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json["logical_bytes"], 3 << 20);
        assert_eq!(json["dedupe_ratio"], 1.5);
    }
}
