//! Raw to validated: ranges, patterns, and what must fit together.

mod oidc;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use super::error::{ConfigError, Place, Problem};
use super::layers::{Merged, Sources, place_of};
use super::raw::{self, PolicyRule, Raw};
use super::units::{Count, Listen, NONE, Proxy, Size, Span, Text};
use super::{Config, RequestLogOptions, TlsFiles};
use crate::artifact::retention::Rules;
use crate::chunk::ChunkerParams;
use crate::http::MetricsToken;
use crate::owner::{Limits, Policy, PolicyTable};
use crate::store::model::{Millis, RetentionRule};
use crate::telemetry::{access_log, audit};
use crate::upkeep::owner_usage::Shown;
use crate::upkeep::{evictor, retention, scrubber};
use crate::{artifact, http, store, telemetry, upkeep};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;

/// Checks every value and builds the rooms' options; all problems are reported together.
pub fn validate(merged: Merged, sources: &Sources) -> Result<Config, ConfigError> {
    let Merged { raw, places } = merged;
    let mut check = Check {
        places: &places,
        problems: Vec::new(),
    };
    let http = check.http(&raw);
    let store = check.store(&raw);
    let artifact = check.artifact(&raw);
    let upkeep = check.gc(&raw);
    let retention = check.retention(&raw);
    let eviction = check.eviction(&raw);
    let scrub = check.scrub(&raw);
    let log = check.log(&raw);
    let requests = check.requests(&raw);
    let tls = check.tls(&raw);
    let metrics_listen = check.metrics(&raw);
    let metrics_owners = check.shown_owners(&raw.metrics);
    let audit = check.audit(&raw);
    let issuers = check.oidc(&raw);
    if check.problems.is_empty() {
        let mut places = places;
        hide(&mut places, "metrics.token");
        Ok(Config {
            listen: raw.server.listen.0,
            socket_mode: raw.server.socket_mode.0,
            tls,
            sources: sources.clone(),
            http,
            metrics_listen,
            metrics_owners,
            store,
            artifact,
            upkeep,
            retention,
            eviction,
            scrub,
            log,
            audit,
            issuers,
            requests,
            effective: places,
        })
    } else {
        Err(ConfigError {
            problems: check.problems,
        })
    }
}

struct Check<'a> {
    places: &'a BTreeMap<String, (Place, String)>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn http(&mut self, raw: &Raw) -> http::Options {
        let given = &raw.server;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = match given.workers.0 {
            Some(count) => self.count("server.workers", count, 1..=1024),
            None => cpus,
        };
        http::Options {
            shutdown_delay: self.span(
                "server.shutdown_delay",
                given.shutdown_delay,
                Duration::ZERO..=DAY,
            ),
            shutdown_grace: self.span(
                "server.shutdown_grace",
                given.shutdown_grace,
                Duration::ZERO..=DAY,
            ),
            workers,
            max_connections: self.count("server.max_connections", given.max_connections, 1..=1_000_000),
            keep_alive: self.span("server.keep_alive", given.keep_alive, SECOND..=DAY),
            head_timeout: self.span("server.head_timeout", given.head_timeout, SECOND..=DAY),
            peer_timeout: self.span("server.peer_timeout", given.peer_timeout, SECOND..=DAY),
            drain_bytes: given.drain_bytes.0,
            drain_time: self.span("server.drain_time", given.drain_time, Duration::ZERO..=DAY),
            query_tokens: given.query_tokens,
            users_create_organisations: self.users_create_organisations(raw),
            proxies: proxies(given),
            base_path: given.base_path.0.clone(),
            metrics_token: self.metrics_token(&raw.metrics),
        }
    }

    fn store(&mut self, raw: &Raw) -> store::Options {
        let given = &raw.store;
        if given.data.as_os_str().is_empty() {
            self.problem("store.data", "is empty; write a directory".to_owned());
        }
        let chunking = ChunkerParams::default();
        // What is inline is one chunk, and several must fit into a journal group.
        let inline_limit = self.size("store.inline_limit", given.inline_limit, 0..=MIB);
        let one_chunk = u64::from(chunking.max_size);
        store::Options {
            limits: self.limits(given),
            chunking,
            inline_limit: u32::try_from(inline_limit).unwrap_or(u32::MAX),
            index_cache: self.size("store.index_cache", given.index_cache, MIB..=u64::MAX),
            commit_queue: self.count("store.commit_queue", given.commit_queue, 1..=1_000_000),
            segment_queue: self.size(
                "store.segment_queue",
                given.segment_queue,
                2 * one_chunk..=u64::MAX,
            ),
            read_buffers: self.size("store.read_buffers", given.read_buffers, 2 * one_chunk..=u64::MAX),
            ..store::Options::at(&given.data)
        }
    }

    fn limits(&mut self, given: &raw::Store) -> store::Limits {
        let (high, low) = (given.high_watermark.0, given.low_watermark.0);
        if high == 0 {
            self.problem(
                "store.high_watermark",
                "is 0%; no upload would be taken".to_owned(),
            );
        } else if low >= high {
            self.problem(
                "store.low_watermark",
                format!("{low}% is not below store.high_watermark, {high}%"),
            );
        }
        store::Limits {
            max_size: given
                .max_size
                .0
                .map(|size| self.size("store.max_size", size, 16 * MIB..=u64::MAX)),
            high,
            low,
        }
    }

    fn artifact(&mut self, raw: &Raw) -> artifact::Options {
        let given = &raw.limits;
        let stall_window = self.span("limits.stall_window", given.stall_window, SECOND..=DAY);
        let limits = Limits {
            bytes: raw.quotas.max_bytes.0.map(|size| size.0),
            versions: raw.quotas.max_versions.0.map(|count| count.0),
            file_size: given.max_file_size.0.map(|size| size.0),
        };
        artifact::Options {
            limits,
            max_uploads: self.count("limits.uploads", given.uploads, 1..=1_000_000),
            max_uploads_per_owner: self.count(
                "limits.uploads_per_owner",
                given.uploads_per_owner,
                1..=1_000_000,
            ),
            upload_wait: self.span("limits.upload_wait", given.upload_wait, Duration::ZERO..=DAY),
            min_bytes_per_window: given.stall_bytes.0,
            stall_window,
            policies: self.policies(&raw.policies),
            access_memory: self.size(
                "eviction.access_memory",
                raw.eviction.access_memory,
                MIB..=1024 * MIB,
            ),
            retention: Arc::new(self.retention_rules(&raw.retention.rules)),
        }
    }

    fn gc(&mut self, raw: &Raw) -> upkeep::Options {
        let given = &raw.gc;
        let minute = 60 * SECOND;
        upkeep::Options {
            enabled: given.enabled,
            after_removed: self.size("gc.after_removed", given.after_removed, MIB..=u64::MAX),
            every: self.span("gc.every", given.every, minute..=365 * DAY),
            rate: self.size("gc.rate", given.rate, MIB..=u64::MAX),
            yield_above: self.span("gc.yield_above", given.yield_above, Duration::ZERO..=minute),
        }
    }

    fn scrub(&mut self, raw: &Raw) -> scrubber::Options {
        let given = &raw.scrub;
        scrubber::Options {
            enabled: given.enabled,
            rate: self.size("scrub.rate", given.rate, MIB..=u64::MAX),
            every: self.span("scrub.every", given.every, SECOND..=365 * DAY),
        }
    }

    fn retention(&mut self, raw: &Raw) -> retention::Options {
        retention::Options {
            enabled: raw.retention.enabled,
            every: self.span("retention.every", raw.retention.every, 60 * SECOND..=365 * DAY),
            yield_above: raw.gc.yield_above.0,
        }
    }

    fn eviction(&mut self, raw: &Raw) -> evictor::Options {
        let given = &raw.eviction;
        evictor::Options {
            enabled: given.enabled,
            min_age: self.span("eviction.min_age", given.min_age, Duration::ZERO..=365 * DAY),
            save_every: self.span("eviction.save_every", given.save_every, SECOND..=DAY),
            yield_above: raw.gc.yield_above.0,
        }
    }

    fn retention_rules(&mut self, given: &[raw::RetentionRule]) -> Rules {
        let millis = |span: Option<Span>| {
            span.map(|Span(span)| Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX))
        };
        let rule = |given: &raw::RetentionRule| RetentionRule {
            packages: given.packages.clone(),
            keep_newest: given.keep_newest,
            keep: given.keep.clone(),
            remove: given.remove.clone(),
            older_than: millis(given.remove_older_than),
            unused_for: millis(given.remove_unused_for),
        };
        Rules::of_configuration(given.iter().map(rule).collect()).unwrap_or_else(|error| {
            let text = error.to_string();
            let (key, message) = match text.split_once([' ', ':']) {
                Some((place, what)) if place.starts_with("rules[") => {
                    (format!("retention.{place}"), what.trim())
                }
                _ => ("retention.rules".to_owned(), text.as_str()),
            };
            self.problem(&key, message.to_owned());
            Rules::default()
        })
    }

    fn policies(&mut self, rules: &[PolicyRule]) -> PolicyTable {
        let mut table = Vec::new();
        for (n, rule) in rules.iter().enumerate() {
            match Policy::deserialize(IntoDeserializer::<ValueError>::into_deserializer(
                rule.policy.as_str(),
            )) {
                Ok(policy) => table.push((rule.packages.clone(), policy)),
                Err(error) => self.problem(&format!("policies[{n}].policy"), error.to_string()),
            }
            // One at a time, so that a bad pattern is blamed on its rule.
            if let Err(error) = PolicyTable::new(&[(rule.packages.clone(), Policy::default())]) {
                self.problem(&format!("policies[{n}].packages"), error.to_string());
            }
        }
        PolicyTable::new(&table).unwrap_or_default()
    }

    fn log(&mut self, raw: &Raw) -> telemetry::LogOptions {
        let level = raw.log.level.clone();
        if let Err(message) = telemetry::check_level(&level) {
            self.problem("log.level", message);
        }
        telemetry::LogOptions {
            format: raw.log.format,
            level,
        }
    }

    fn users_create_organisations(&mut self, raw: &Raw) -> bool {
        match raw.accounts.create_organisations.as_str() {
            "admins" => false,
            "users" => true,
            other => {
                let message = format!("{other:?} is neither \"admins\" nor \"users\"");
                self.problem("accounts.create_organisations", message);
                false
            }
        }
    }

    fn audit(&mut self, raw: &Raw) -> audit::Options {
        let given = &raw.audit;
        if given.output.trim().is_empty() {
            let message = "is empty; write \"off\", \"stdout\" or a path".to_owned();
            self.problem("audit.output", message);
        }
        audit::Options {
            output: given.output.parse().unwrap_or_default(),
            reads: given.reads,
            queue: self.count("audit.queue", given.queue, 16..=1_000_000),
        }
    }

    fn requests(&mut self, raw: &Raw) -> RequestLogOptions {
        let given = &raw.log;
        let rate = given.access_rate.0;
        let rate = rate.map(|rate| self.count("log.access_rate", rate, 1..=1_000_000));
        let queue = self.count("log.access_queue", given.access_queue, 1..=1_000_000);
        if given.access_to.is_empty() {
            self.problem("log.access_to", "is empty; write \"stderr\" or a file".to_owned());
        }
        let to = access_log::Options {
            file: (given.access_to != "stderr").then(|| given.access_to.clone().into()),
            rate: rate.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
            queue,
        };
        let slow = given.slow.0;
        RequestLogOptions {
            access: given.access.0.map(|format| (format, to)),
            slow: slow.map(|slow| self.span("log.slow", slow, Duration::ZERO..=DAY)),
        }
    }

    fn metrics(&mut self, raw: &Raw) -> Option<Listen> {
        let listen = raw.metrics.listen.0.clone()?;
        let taken = |other: &Listen| match (other, &listen) {
            (Listen::Http(a) | Listen::Tls(a), Listen::Http(b) | Listen::Tls(b)) => a == b && a.port() != 0,
            (a, b) => a == b,
        };
        if raw.server.listen.0.iter().any(taken) {
            self.problem(
                "metrics.listen",
                "is the same address as one of server.listen".to_owned(),
            );
        }
        Some(listen)
    }

    fn tls(&mut self, raw: &Raw) -> Option<TlsFiles> {
        let listen = &raw.server.listen.0;
        if listen.is_empty() {
            self.problem("server.listen", "is empty; write at least one address".to_owned());
        }
        let given = |path: &str| (path != NONE && !path.is_empty()).then(|| path.into());
        let files = (given(&raw.tls.certificate), given(&raw.tls.key));
        let wanted = listen
            .iter()
            .chain(&raw.metrics.listen.0)
            .any(|listen| matches!(listen, Listen::Tls(_)));
        let problem = match files {
            (Some(certificate), Some(key)) => return Some(TlsFiles { certificate, key }),
            (None, None) if !wanted => return None,
            (None, None) => ("tls.certificate", "is \"none\", but an address begins with tls:"),
            (Some(_), None) => ("tls.key", "is \"none\"; tls.certificate needs it"),
            (None, Some(_)) => ("tls.certificate", "is \"none\"; tls.key is of no use without it"),
        };
        self.problem(problem.0, problem.1.to_owned());
        None
    }

    fn metrics_token(&mut self, given: &raw::Metrics) -> Option<MetricsToken> {
        let (key, text) = match (&given.token.0, &given.token_file.0) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.problem(
                    "metrics.token_file",
                    "and metrics.token are both given; write one".to_owned(),
                );
                return None;
            }
            (Some(Text(token)), None) => ("metrics.token", Ok(token.clone())),
            (None, Some(Text(path))) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("{path:?} cannot be read: {error}"))
                    .map(|text| text.trim().to_owned());
                ("metrics.token_file", text)
            }
        };
        match text.and_then(|text| MetricsToken::new(&text)) {
            Ok(token) => Some(token),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    fn shown_owners(&mut self, given: &raw::Metrics) -> Shown {
        let Some(Text(text)) = &given.owners.0 else {
            return Shown::Nobody;
        };
        let shown = match text.trim().parse::<usize>() {
            Ok(count) => Shown::Largest(count),
            Err(_) => Shown::Named(text.split(',').map(|name| name.trim().to_owned()).collect()),
        };
        let count = match &shown {
            Shown::Nobody => 0,
            Shown::Largest(count) => *count,
            Shown::Named(names) => names.len(),
        };
        if !(1..=Shown::MOST).contains(&count) {
            let most = Shown::MOST;
            self.problem(
                "metrics.owners",
                format!("{count} owners are not from 1 to {most}"),
            );
        }
        if matches!(&shown, Shown::Named(names) if names.iter().any(String::is_empty)) {
            self.problem("metrics.owners", format!("{text:?} has a name without letters"));
        }
        shown
    }

    fn count(&mut self, key: &str, value: Count, range: RangeInclusive<u64>) -> usize {
        if !range.contains(&value.0) {
            self.problem(
                key,
                format!("{} is not from {} to {}", value.0, range.start(), range.end()),
            );
        }
        usize::try_from(value.0).unwrap_or(usize::MAX)
    }

    fn size(&mut self, key: &str, value: Size, range: RangeInclusive<u64>) -> u64 {
        let Size(bytes) = value;
        if bytes < *range.start() {
            self.problem(
                key,
                format!(
                    "{bytes} bytes is too little; the least is {}",
                    show_size(*range.start())
                ),
            );
        } else if bytes > *range.end() {
            self.problem(
                key,
                format!(
                    "{bytes} bytes is too much; the most is {}",
                    show_size(*range.end())
                ),
            );
        }
        bytes
    }

    fn span(&mut self, key: &str, value: Span, range: RangeInclusive<Duration>) -> Duration {
        let Span(span) = value;
        if !range.contains(&span) {
            let [given, least, most] = [span, *range.start(), *range.end()].map(humantime::format_duration);
            self.problem(key, format!("{given} is not from {least} to {most}"));
        }
        span
    }

    fn problem(&mut self, key: &str, message: String) {
        self.problems.push(Problem {
            place: place_of(self.places, key),
            key: key.to_owned(),
            message,
        });
    }
}

fn proxies(given: &raw::Server) -> http::Proxies {
    let mut proxies = http::Proxies {
        headers: given.forwarded,
        ..http::Proxies::default()
    };
    for proxy in &given.trusted_proxies.0 {
        match proxy {
            Proxy::Network(network) => proxies.networks.push(*network),
            Proxy::Unix => proxies.unix = true,
        }
    }
    proxies
}

/// Takes a secret out of what is shown.
fn hide(places: &mut BTreeMap<String, (Place, String)>, key: &str) {
    if let Some((_, value)) = places.get_mut(key)
        && value != NONE
    {
        *value = "(hidden)".to_owned();
    }
}

fn show_size(bytes: u64) -> String {
    format!("{}MiB", bytes / MIB)
}
