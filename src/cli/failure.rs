//! How a command ends badly, and the exit code that says so.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::store::OpenError;

/// Exit code of wrong usage or configuration; clap uses the same.
pub const USAGE: u8 = 2;

/// Why a command did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// It failed, or found damage.
    Failed(String),
    /// The command line or the configuration is wrong.
    Usage(String),
    /// Another process has the store.
    InUse(String),
}

impl Failure {
    /// A failure with the error as its text.
    pub fn failed(error: impl ToString) -> Self {
        Failure::Failed(error.to_string())
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => USAGE,
            Failure::InUse(_) => 3,
        })
    }

    /// Tells the user, a line at a time. With stderr closed there is nobody to tell; the exit code still does.
    pub fn print(&self) {
        let (Failure::Failed(message) | Failure::Usage(message) | Failure::InUse(message)) = self;
        let mut err = io::stderr().lock();
        for line in message.lines() {
            let _ = writeln!(err, "larder: {line}");
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InUse(_) => Failure::InUse(error.to_string()),
            other => Failure::failed(other),
        }
    }
}
