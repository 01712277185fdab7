//! What the command line may ask of the collector.

use super::control::Response;
use crate::store::collect::{Kind, Passes};

/// Asks for a full pass, or for a preview.
pub fn request(passes: &dyn Passes, dry_run: bool) -> Response {
    let kind = match dry_run {
        true => Kind::Preview,
        false => Kind::Full,
    };
    let run = passes.request(kind).run;
    tracing::info!(run, dry_run, "collection asked for from the command line");
    Response::Run { run }
}

/// How a pass ended, if it has.
pub fn outcome(passes: &dyn Passes, run: u64) -> Response {
    match passes.outcome(run) {
        None => Response::Running,
        Some(Ok(collected)) => Response::Collected { collected },
        Some(Err(message)) => Response::Failed { message },
    }
}
