//! The configuration, read again while the daemon runs: all of it or nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use actix_rt::task::spawn_blocking;
use prometheus::IntGauge;

use super::accounts::Desk;
use super::bounds::Settings;
use super::signals::Hangups;
use super::systemd;
use crate::config::{self, Config, Place, Sources};
use crate::http::{Identity, Reload, Reloaded, State, Tls};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::{self, metrics};

/// Keys that take effect without a restart; a section's name stands for all of its keys.
const APPLIED: [&str; 12] = [
    "eviction.enabled",
    "eviction.min_age",
    "eviction.save_every",
    "limits.max_file_size",
    "log.level",
    "metrics.token",
    "metrics.token_file",
    "oidc",
    "policies",
    "quotas",
    "retention",
    "tls",
];

/// Each key with its place and its value.
type Effective = BTreeMap<String, (Place, String)>;

static METRICS: LazyLock<(IntGauge, IntGauge)> = LazyLock::new(|| {
    let successful = metrics::gauge(
        "larder_config_last_reload_successful",
        "Whether the configuration could be used when it was last read: 1 or 0.",
    );
    let at = metrics::gauge(
        "larder_config_last_reload_success_timestamp_seconds",
        "When the configuration was last read and used.",
    );
    (successful, at)
});

/// Reads the configuration again and applies what can be. Clones share everything.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: Sources,
    /// What holds; locked for a whole reload, so that there is one at a time.
    effective: Mutex<Effective>,
    state: State,
    desk: Desk,
    bounds: Settings,
    tls: Option<Tls>,
    access_log: Option<AccessLog>,
}

impl Reloader {
    /// For a daemon that was started with `config`.
    pub fn new(
        config: &Config,
        state: State,
        desk: Desk,
        bounds: Settings,
        tls: Option<Tls>,
        access_log: Option<AccessLog>,
    ) -> Self {
        succeeded();
        Reloader(Arc::new(Inner {
            sources: config.sources.clone(),
            effective: Mutex::new(config.effective.clone()),
            state,
            desk,
            bounds,
            tls,
            access_log,
        }))
    }

    /// Reads the configuration again with every SIGHUP, for ever.
    pub async fn reload_on_hangup(&self, hangups: &mut Hangups) {
        loop {
            hangups.next().await;
            // What came of it is in the log and in the metrics.
            let _ = self.reload_for_shell().await;
        }
    }

    /// Reads it again, on a thread that may block, for somebody with a shell; the audit log says what that changed.
    pub async fn reload_for_shell(&self) -> Result<Reloaded, String> {
        let reloader = self.clone();
        let reloaded = spawn_blocking(move || reloader.reload()).await;
        let reloaded = reloaded.map_err(|error| error.to_string())?;
        let applied = reloaded.as_ref().map(|reloaded| reloaded.applied.join(", "));
        let object = applied.ok().filter(|applied| !applied.is_empty());
        let object = object.unwrap_or_else(|| "configuration".to_owned());
        let result = if reloaded.is_ok() { "done" } else { "refused" };
        self.0.desk.record("reload", object, result);
        reloaded
    }

    /// Everything that can fail comes first.
    fn try_reload(&self, effective: &mut Effective) -> Result<Reloaded, String> {
        let inner = &self.0;
        let config = config::load(&inner.sources).map_err(|error| error.to_string())?;
        let identity = match (&inner.tls, &config.tls) {
            (Some(_), Some(files)) => {
                Some(Identity::load(&files.certificate, &files.key).map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        telemetry::set_level(&config.log.level)?;
        let fingerprint = config.fingerprint();

        inner.bounds.change(&config);
        inner.desk.artifacts.configure(config.artifact);
        let mut reloaded = compare(effective, &config.effective);
        // No comparison of settings shows what is hidden, or is in a file.
        let mut also = |key: &str, changed: bool| {
            if changed && !reloaded.applied.iter().any(|applied| applied.starts_with(key)) {
                reloaded.applied.push(key.to_owned());
            }
        };
        also(
            "metrics.token",
            inner.state.set_metrics_token(config.http.metrics_token.clone()),
        );
        also("oidc", inner.desk.access.believe(config.issuers));
        if let (Some(tls), Some(identity)) = (&inner.tls, identity)
            && tls.replace(identity)
        {
            reloaded.applied.push("the TLS certificate".to_owned());
        }
        if let Some(log) = &inner.access_log {
            log.reopen();
        }
        metrics::describe_config(&fingerprint);
        *effective = config.effective;
        Ok(reloaded)
    }
}

impl Reload for Reloader {
    fn reload(&self) -> Result<Reloaded, String> {
        let mut effective = self.0.effective.lock().unwrap_or_else(PoisonError::into_inner);
        systemd::reloading();
        // Whatever becomes of the rest: whoever rotates logs has no other way to say so.
        self.0.state.reopen_audit();
        let result = self.try_reload(&mut effective);
        match &result {
            Ok(reloaded) => {
                succeeded();
                let Reloaded {
                    applied,
                    needs_restart,
                } = reloaded;
                tracing::info!(?applied, ?needs_restart, "configuration read again");
            }
            Err(error) => {
                METRICS.0.set(0);
                tracing::error!(error, "the configuration stays as it was");
            }
        }
        systemd::ready();
        result
    }
}

fn succeeded() {
    METRICS.0.set(1);
    METRICS.1.set(jiff::Timestamp::now().as_second());
}

/// Which keys have other values now, and which of them hold only after a restart.
fn compare(old: &Effective, new: &Effective) -> Reloaded {
    let value = |of: &Effective, key: &String| of.get(key).map(|(_, value)| value.clone());
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| value(old, key) != value(new, key));
    let applied = |key: &&String| {
        let section = key.split('.').next().unwrap_or(key);
        APPLIED.contains(&key.as_str()) || APPLIED.contains(&section)
    };
    let (applied, needs_restart): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(applied);
    let owned = |keys: Vec<&String>| keys.into_iter().cloned().collect();
    Reloaded {
        applied: owned(applied),
        needs_restart: owned(needs_restart),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(pairs: &[(&str, &str)]) -> Effective {
        let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), (Place::BuiltIn, (*value).to_owned()));
        pairs.iter().map(entry).collect()
    }

    #[test]
    fn changes_are_named_with_what_they_need() {
        let old = effective(&[
            ("log.level", "info"),
            ("server.workers", "2"),
            ("gc.rate", "1MiB"),
        ]);
        let new = effective(&[
            ("log.level", "debug"),
            ("server.workers", "3"),
            ("policies", "[]"),
            ("gc.rate", "1MiB"),
        ]);
        let reloaded = compare(&old, &new);
        assert_eq!(reloaded.applied, ["log.level", "policies"]);
        assert_eq!(reloaded.needs_restart, ["server.workers"]);
    }
}
