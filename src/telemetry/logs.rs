//! Logs: structured events on stderr, for people or for machines.

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::OnceLock;

use tracing_subscriber::fmt::format::{self, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::lines::{Bounded, WithRequest};

/// The filter in use, to be exchanged.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

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
    super::dropped::init();
    let (filter, handle) = reload::Layer::new(filter(&options.level)?);
    let terminal = io::stderr().is_terminal();
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match json {
        true => {
            let format = WithRequest::json(format().json().flatten_event(true));
            lines.fmt_fields(JsonFields::new()).event_format(format).boxed()
        }
        false => {
            let format = format().compact().with_target(false).with_ansi(colours);
            lines
                .with_ansi(colours)
                .event_format(WithRequest::human(format))
                .boxed()
        }
    };
    let lines = lines.with_filter(Bounded::default());
    // An error means that a subscriber is there already, which is what a second call wants.
    if tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_ok()
    {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Changes what is logged from now on. See [`check_level`].
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    match FILTER.get() {
        Some(handle) => handle.reload(filter).map_err(|error| error.to_string()),
        // Nothing is logged at all.
        None => Ok(()),
    }
}

fn format() -> format::Format {
    format::format()
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
