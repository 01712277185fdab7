//! `<data>/control.sock`: how the command line talks to the daemon that holds the store.
//!
//! One request and one response, each a line of JSON, then the connection closes. The socket has mode 0600 and the
//! daemon checks who connects: whoever may open it could as well change the files, so nobody signs in here.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::accounts;
use crate::store::collect::Collected;
use crate::store::snapshot::LogEnd;
use crate::store::stats::Stats;
use crate::upkeep::backups::Ended;

pub use client::{AskError, Held, ask, hold_files};
pub use server::{Answer, Control};

/// The line of a request is not longer than this, bytes.
const MAX_LINE: u64 = 8 * 1024;

/// The line of an answer is not longer than this, bytes: all accounts of a large company fit.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Do something with accounts.
    Accounts {
        /// What.
        request: accounts::Request,
    },
    /// Make a full pass of collection.
    Collect {
        /// Only find out what would go.
        dry_run: bool,
    },
    /// Ask how a pass has ended.
    Collected {
        /// Its number.
        run: u64,
    },
    /// Read the configuration again.
    Reload,
    /// Say what the store holds and takes.
    Stats,
    /// Say how far the log reaches, and delete none of its files as long as this connection is open.
    HoldFiles,
    /// Note that a backup has ended.
    BackedUp(Ended),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Response {
    /// It is done.
    Done,
    /// What was asked about accounts is done.
    Accounts {
        /// What came of it.
        answer: accounts::Answer,
    },
    /// A pass has been asked for.
    Run {
        /// Its number.
        run: u64,
    },
    /// The pass waits or is under way.
    Running,
    /// The pass has come to its end.
    Collected {
        /// What it did.
        collected: Collected,
    },
    /// The configuration has been read again; each list has names of settings.
    Reloaded {
        /// What holds now.
        applied: Vec<String>,
        /// What will hold after a restart.
        needs_restart: Vec<String>,
    },
    /// What the store holds and takes.
    Stats {
        /// The figures.
        stats: Stats,
        /// How long ago they were counted, seconds.
        age_seconds: u64,
    },
    /// No log file is deleted as long as the connection is open.
    Held {
        /// How far the log reaches.
        end: LogEnd,
    },
    /// It is not.
    Failed {
        /// Why.
        message: String,
    },
}

/// Where the socket of a store is.
fn socket(data: &Path) -> PathBuf {
    data.join("control.sock")
}

fn to_line(message: &impl Serialize) -> Vec<u8> {
    // Strings and enums: there is nothing in them that JSON cannot say.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
