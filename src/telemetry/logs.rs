//! Logs: structured events on stderr, for people or for machines.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// One short line an event.
    Human,
    /// One JSON object an event.
    Json,
}

/// A log format that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log format; write \"auto\", \"human\" or \"json\"")]
pub struct UnknownFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: a level, also by module (`info,larder::store=debug`). See [`check_level`].
    pub level: String,
}

/// Says what is wrong with a level, if anything.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(drop)
}

/// Sends events to stderr from now on. Events before are lost; a second call changes nothing.
pub fn init(options: &LogOptions) -> Result<(), String> {
    let filter = filter(&options.level)?;
    let terminal = io::stderr().is_terminal();
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // An error means that a subscriber is there already, which is what a second call wants.
    let _ = match json {
        true => builder.json().flatten_event(true).try_init(),
        false => builder.compact().with_target(false).with_ansi(colours).try_init(),
    };
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    // The parser takes any single word for a module's name, so `inof` would silently switch logging off.
    for part in level.split(',') {
        let word = part.rsplit('=').next().unwrap_or(part).trim();
        if !["off", "error", "warn", "info", "debug", "trace"].contains(&word) {
            return Err(format!(
                "{word:?} is not a level; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\""
            ));
        }
    }
    EnvFilter::try_new(level).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        for good in ["info", "info,larder::store=debug", "off"] {
            assert_eq!(check_level(good), Ok(()));
        }
        for bad in ["", "inof", "larder", "info,larder=loud", "=[", "info,[{=info"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn formats_are_three_words() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
