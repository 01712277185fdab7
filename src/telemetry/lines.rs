//! What is added to each line of the log, and how many lines there may be.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::dropped::DROPPED;
use super::{rate, request};

/// Lines that one place in the code may write in a second. A broken disk makes every request say so.
const LINES: u32 = 50;

thread_local! {
    /// Lines that were left out before the one that is being written.
    static LEFT_OUT: Cell<u64> = const { Cell::new(0) };
}

/// Adds the request that a line is about, and how many lines like it were left out.
#[derive(Debug)]
pub struct WithRequest<F> {
    inner: F,
    json: bool,
}

impl<F> WithRequest<F> {
    /// For lines that are JSON objects.
    pub fn json(inner: F) -> Self {
        WithRequest { inner, json: true }
    }

    /// For lines that are text.
    pub fn human(inner: F) -> Self {
        WithRequest { inner, json: false }
    }

    fn add(&self, line: &mut String, key: &str, value: impl fmt::Display) -> fmt::Result {
        match self.json {
            true => write!(line, ",\"{key}\":\"{value}\""),
            false => write!(line, " {key}={value}"),
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (request, left_out) = (request::current(), LEFT_OUT.take());
        if request.is_none() && left_out == 0 {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let end = if self.json { "}" } else { "" };
        let kept = line.trim_end_matches('\n').strip_suffix(end).map(str::len);
        line.truncate(kept.unwrap_or(line.len()));
        if let Some(request) = request {
            // Neither has a character that JSON would have escaped.
            self.add(&mut line, "request_id", request.id())?;
            if let Some(traceparent) = request.traceparent() {
                self.add(&mut line, "traceparent", traceparent)?;
            }
        }
        if left_out > 0 {
            self.add(&mut line, "left_out", left_out)?;
        }
        writeln!(writer, "{line}{end}")
    }
}

/// Lets each place in the code write so many lines in a second, and counts the rest. Debug lines are not bounded: who
/// asks for them wants them.
#[derive(Debug, Default)]
pub struct Bounded(Mutex<HashMap<Identifier, Window>>);

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: u32,
    lines: u32,
    left_out: u64,
}

impl Window {
    /// Whether one more line may be written in this second; with the number of those left out before it.
    fn take(&mut self, second: u32) -> Option<u64> {
        if self.second != second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines >= LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<S: Subscriber> Filter<S> for Bounded {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = windows
            .entry(metadata.callsite())
            .or_default()
            .take(rate::second());
        drop(windows);
        match taken {
            Some(left_out) => LEFT_OUT.set(left_out),
            None => DROPPED.daemon_rate.inc(),
        }
        taken.is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::fmt::format::{JsonFields, format};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, fmt as subscriber};

    use super::*;
    use crate::telemetry::request::RequestContext;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `work` logs.
    fn written(json: bool, work: impl FnOnce()) -> Vec<String> {
        let memory = Memory::default();
        let sink = memory.clone();
        let layer = subscriber::layer().with_writer(move || sink.clone());
        let layer = match json {
            true => layer
                .fmt_fields(JsonFields::new())
                .event_format(WithRequest::json(format().json().flatten_event(true)))
                .boxed(),
            false => layer
                .event_format(WithRequest::human(format().compact().with_ansi(false)))
                .boxed(),
        };
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(Bounded::default()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn log_in_and_out_of_a_request() {
        tracing::info!(size = 5, "outside");
        RequestContext::new(Some("a-1"), Some(TRACE)).sync_scope(|| tracing::warn!(size = 6, "inside"));
    }

    #[test]
    fn lines_name_the_request_they_are_about() {
        let human = written(false, log_in_and_out_of_a_request);
        assert!(human[0].ends_with("outside size=5"), "{human:?}");
        let end = format!("inside size=6 request_id=a-1 traceparent={TRACE}");
        assert!(human[1].ends_with(&end), "{human:?}");

        let json = written(true, log_in_and_out_of_a_request);
        let parsed: Vec<serde_json::Value> = json
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(parsed[0].get("request_id").is_none(), "{json:?}");
        assert_eq!(
            (
                &parsed[1]["request_id"],
                &parsed[1]["traceparent"],
                &parsed[1]["size"]
            ),
            (&"a-1".into(), &TRACE.into(), &6.into())
        );
    }

    #[test]
    fn one_place_in_the_code_cannot_flood_the_log() {
        let first = rate::second();
        let lines = written(false, || {
            for _ in 0..10_000 {
                tracing::warn!("again");
            }
            tracing::warn!("another place");
        });
        let again = lines.iter().filter(|line| line.contains("again")).count();
        // Seconds turn while they are written: more of them on a busy machine.
        let seconds = (rate::second() - first + 1) as usize;
        let most = LINES as usize * seconds;
        assert!(
            most < 10_000 && (LINES as usize..=most).contains(&again),
            "{again} in {seconds} s"
        );
        assert!(lines.iter().any(|line| line.contains("another place")), "{again}");
    }

    #[test]
    fn what_was_left_out_is_said_in_the_next_second() {
        let mut window = Window::default();
        let taken: Vec<_> = (0..LINES + 2).map(|_| window.take(1)).collect();
        assert_eq!(taken[0], Some(0));
        assert_eq!(taken[LINES as usize], None);
        assert_eq!((window.take(2), window.take(2)), (Some(2), Some(0)));
    }
}
