//! `larder verify`.

use std::io::{self, Write};

use super::failure::Failure;
use super::output;
use super::progress::Bar;
use super::store_args::{self, StoreArgs};
use crate::store::log::files;
use crate::store::verify::{Problem, VerifyReport, verify};
use crate::telemetry;

/// Read every record of a store that is not in use, and change nothing
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Compare the index with the log too, on a temporary copy of the index
    #[arg(long)]
    index: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Verifies. Damage is a failure.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        let data = &config.store.data;
        store_args::must_exist(data)?;
        let bar = Bar::new("reading the log");
        let report = verify(data, self.index, config.store.index_cache, &bar)?;
        bar.finish();
        let mut out = output::stdout();
        let shown = match self.json {
            true => serde_json::to_writer_pretty(&mut out, &report)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
            false => show(&report, &mut out),
        };
        shown.map_err(Failure::failed)?;
        match report.problems.len() {
            0 => Ok(()),
            problems => Err(Failure::Failed(format!("{problems} places are damaged"))),
        }
    }
}

fn show(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    for problem in &report.problems {
        let Problem {
            kind,
            file,
            offset,
            len,
            what,
            used_by,
            used_by_more,
        } = problem;
        match (kind, file) {
            (Some(kind), Some(file)) => {
                let path = files::path(std::path::Path::new(""), *kind, *file);
                writeln!(
                    out,
                    "damaged: {}, {len} bytes at {offset}: {what}",
                    path.display()
                )?;
            }
            _ => writeln!(out, "damaged: {what}")?,
        }
        for name in used_by {
            writeln!(out, "    used by {name}")?;
        }
        if *used_by_more > 0 {
            writeln!(out, "    and {used_by_more} more files")?;
        }
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(
        out,
        "{} files, {} records, {} bytes read; {} places damaged",
        report.files,
        report.records,
        report.bytes,
        report.problems.len()
    )
}
