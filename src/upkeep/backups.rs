//! Metrics of backups. Another process makes them (`larder backup`), so what it tells is kept in a file: a daemon that
//! starts later knows of the last one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Histogram, IntCounterVec, IntGauge};
use serde::{Deserialize, Serialize};

use crate::store::log::disk::replace;
use crate::telemetry::metrics::{counters, gauge, histogram};

/// The file in the data directory that says when the last backup was made. Losing it makes that look older.
const LAST: &str = "backup.json";

/// Seconds of a backup: from a few new files to a large store.
const BACKUP_SECONDS: [f64; 10] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0];

struct Families {
    runs: IntCounterVec,
    seconds: Histogram,
    last_success: IntGauge,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| Families {
    runs: counters(
        "larder_backup_runs_total",
        "Backups of this store made since the start, by how they ended.",
        &[("result", &["ok", "failed"])],
    ),
    seconds: histogram(
        "larder_backup_duration_seconds",
        "Time of a backup that came to its end.",
        &BACKUP_SECONDS,
    ),
    last_success: gauge(
        "larder_backup_last_success_timestamp_seconds",
        "When the last backup came to its end, in Unix time, whether a daemon ran or not; 0: never.",
    ),
});

/// How a backup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The copy is complete.
    pub ok: bool,
    /// It took so many milliseconds.
    pub millis: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Last {
    /// Seconds since the epoch.
    finished: u64,
}

/// What is known of the backups of one store.
#[derive(Clone, Debug)]
pub struct Backups(PathBuf);

impl Backups {
    /// Of the store at `data`. Shows the families.
    pub fn of(data: &Path) -> Self {
        let path = data.join(LAST);
        let text = fs::read(&path).unwrap_or_default();
        let last: Last = serde_json::from_slice(&text).unwrap_or_default();
        show(&last);
        Backups(path)
    }

    /// A backup has ended.
    pub fn ended(&self, ended: Ended) {
        let result = if ended.ok { "ok" } else { "failed" };
        FAMILIES.runs.with_label_values(&[result]).inc();
        if !ended.ok {
            return;
        }
        FAMILIES
            .seconds
            .observe(Duration::from_millis(ended.millis).as_secs_f64());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = Last {
            finished: now.as_secs(),
        };
        show(&last);
        let kept = serde_json::to_vec(&last)
            .map_err(io::Error::from)
            .and_then(|text| replace(&self.0, &text));
        if let Err(error) = kept {
            tracing::warn!(%error, "the time of the backup could not be kept");
        }
    }
}

fn show(last: &Last) {
    FAMILIES
        .last_success
        .set(i64::try_from(last.finished).unwrap_or(i64::MAX));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_later_start_knows_the_last_backup() {
        let dir = tempfile::tempdir().unwrap();
        let backups = Backups::of(dir.path());
        assert_eq!(FAMILIES.last_success.get(), 0);
        backups.ended(Ended { ok: false, millis: 5 });
        assert_eq!(FAMILIES.last_success.get(), 0, "a failed one does not count");
        backups.ended(Ended { ok: true, millis: 5 });
        let at = FAMILIES.last_success.get();
        assert!(at > 0);
        FAMILIES.last_success.set(0);
        Backups::of(dir.path());
        assert_eq!(FAMILIES.last_success.get(), at);
    }
}
