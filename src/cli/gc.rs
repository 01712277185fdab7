//! `larder gc`.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::audit;
use super::failure::Failure;
use super::output;
use super::progress::Bar;
use super::store_args::{self, StoreArgs};
use crate::config::Config;
use crate::daemon::control::{self, AskError, Request, Response};
use crate::store::collect::{Collected, Kind};
use crate::store::pace::Unthrottled;
use crate::store::{Health, Store};
use crate::telemetry;

/// How often the daemon is asked whether it is done.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Give back the space of everything that no name leads to any more, whether the daemon runs or not
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Makes a full pass, through the daemon if one runs, else in the store itself.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        telemetry::init(&config.log).map_err(Failure::Usage)?;
        store_args::must_exist(&config.store.data)?;
        let kind = match self.dry_run {
            true => Kind::Preview,
            false => Kind::Full,
        };
        let request = Request::Collect {
            dry_run: self.dry_run,
        };
        let collected = match control::ask(&config.store.data, &request) {
            Ok(Response::Run { run }) => wait(&config.store.data, run)?,
            Err(AskError::NotRunning) => in_store(config, kind)?,
            other => return Err(unexpected(other)),
        };
        show(kind, &collected, &mut output::stdout()).map_err(Failure::failed)
    }
}

/// Asks the daemon until the pass has ended.
fn wait(data: &Path, run: u64) -> Result<Collected, Failure> {
    loop {
        match control::ask(data, &Request::Collected { run }) {
            Ok(Response::Running) => std::thread::sleep(ASK_EVERY),
            Ok(Response::Collected { collected }) => return Ok(collected),
            other => return Err(unexpected(other)),
        }
    }
}

fn unexpected(answer: Result<Response, AskError>) -> Failure {
    match answer {
        Ok(Response::Failed { message }) => Failure::Failed(message),
        Ok(other) => Failure::Failed(format!("the daemon gave an answer that does not fit: {other:?}")),
        Err(error) => Failure::failed(error),
    }
}

fn in_store(config: Config, kind: Kind) -> Result<Collected, Failure> {
    let audit = match kind {
        Kind::Preview => None,
        Kind::Usual | Kind::Full => audit::open(&config.audit)?,
    };
    let bar = Bar::new("replaying the log");
    let store = Store::open(config.store, &bar)?;
    bar.finish();
    let collected = store.collect(kind, &Unthrottled).map_err(Failure::failed);
    audit::close(audit, "gc", if collected.is_ok() { "done" } else { "failed" });
    let health = store.health();
    store.close();
    match health {
        Health::Ready => collected,
        Health::Poisoned(why) | Health::Rebuilding { why, .. } => Err(Failure::Failed(why)),
    }
}

fn show(kind: Kind, collected: &Collected, out: &mut impl Write) -> io::Result<()> {
    let would = match kind {
        Kind::Preview => "would drop",
        Kind::Usual | Kind::Full => "dropped",
    };
    let size = |bytes| bytesize::ByteSize::b(bytes).display().iec();
    writeln!(
        out,
        "{would} {} chunks of {} and {} manifests; {} files stay",
        collected.chunks,
        size(collected.bytes),
        collected.manifests,
        collected.files
    )?;
    if kind != Kind::Preview {
        writeln!(
            out,
            "removed {} log files; the log is {} smaller",
            collected.log_files,
            size(collected.freed)
        )?;
    }
    match collected.damaged {
        0 => Ok(()),
        damaged => writeln!(out, "{damaged} files have a manifest that cannot be read"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_readable() {
        let collected = Collected {
            chunks: 3,
            manifests: 1,
            bytes: 5 << 20,
            files: 7,
            damaged: 0,
            log_files: 2,
            freed: 6 << 20,
        };
        let shown = |kind| {
            let mut out = Vec::new();
            show(kind, &collected, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(Kind::Preview),
            "would drop 3 chunks of 5.0 MiB and 1 manifests; 7 files stay\n"
        );
        assert_eq!(
            shown(Kind::Full),
            "dropped 3 chunks of 5.0 MiB and 1 manifests; 7 files stay\n\
             removed 2 log files; the log is 6.0 MiB smaller\n"
        );
    }
}
