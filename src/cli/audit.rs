//! The audit log of commands that work on a store while no daemon runs.

use super::failure::Failure;
use crate::daemon::STORE;
use crate::telemetry::audit::{Audit, Event, Options, Output, Who};

/// Opens it, where there is one. Stdout is for the command's answer.
pub fn open(options: &Options) -> Result<Option<Audit>, Failure> {
    match options.output {
        Output::Stdout => Ok(None),
        _ => Audit::start(options).map_err(Failure::failed),
    }
}

/// Writes down what was done to the store as a whole, and closes it.
pub fn close(audit: Option<Audit>, action: &'static str, result: &'static str) {
    if let Some(audit) = audit {
        audit.record(Event::now(Who::CommandLine, action, STORE.to_owned(), result));
        audit.close();
    }
}
