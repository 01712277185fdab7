//! The configuration as it is written: the shape of `config/default.toml`, every key present.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::units::{
    BasePath, Count, Listen, Many, Mode, OrAuto, OrNone, OrOff, Percent, Proxy, Size, Span, Text,
    optional_text, text,
};
use crate::http::{AccessFormat, ForwardedHeaders};
use crate::telemetry::LogFormat;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub server: Server,
    pub tls: Tls,
    pub store: Store,
    pub limits: Limits,
    pub quotas: Quotas,
    pub gc: Gc,
    pub retention: Retention,
    pub eviction: Eviction,
    pub scrub: Scrub,
    pub log: Log,
    pub metrics: Metrics,
    pub audit: Audit,
    pub accounts: Accounts,
    /// These the defaults leave out.
    #[serde(default)]
    pub policies: Vec<PolicyRule>,
    #[serde(default)]
    pub oidc: Vec<OidcIssuer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    #[serde(deserialize_with = "text")]
    pub listen: Many<Listen>,
    #[serde(deserialize_with = "text")]
    pub socket_mode: Mode,
    #[serde(deserialize_with = "text")]
    pub trusted_proxies: Many<Proxy>,
    #[serde(deserialize_with = "text")]
    pub forwarded: ForwardedHeaders,
    #[serde(deserialize_with = "text")]
    pub base_path: BasePath,
    #[serde(deserialize_with = "text")]
    pub shutdown_delay: Span,
    #[serde(deserialize_with = "text")]
    pub shutdown_grace: Span,
    #[serde(deserialize_with = "text")]
    pub workers: OrAuto<Count>,
    #[serde(deserialize_with = "text")]
    pub max_connections: Count,
    #[serde(deserialize_with = "text")]
    pub keep_alive: Span,
    #[serde(deserialize_with = "text")]
    pub head_timeout: Span,
    #[serde(deserialize_with = "text")]
    pub peer_timeout: Span,
    #[serde(deserialize_with = "text")]
    pub drain_bytes: Size,
    #[serde(deserialize_with = "text")]
    pub drain_time: Span,
    pub query_tokens: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: String,
    pub key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub data: PathBuf,
    #[serde(deserialize_with = "text")]
    pub max_size: OrNone<Size>,
    #[serde(deserialize_with = "text")]
    pub high_watermark: Percent,
    #[serde(deserialize_with = "text")]
    pub low_watermark: Percent,
    #[serde(deserialize_with = "text")]
    pub inline_limit: Size,
    #[serde(deserialize_with = "text")]
    pub index_cache: Size,
    #[serde(deserialize_with = "text")]
    pub commit_queue: Count,
    #[serde(deserialize_with = "text")]
    pub segment_queue: Size,
    #[serde(deserialize_with = "text")]
    pub read_buffers: Size,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(deserialize_with = "text")]
    pub max_file_size: OrNone<Size>,
    #[serde(deserialize_with = "text")]
    pub uploads: Count,
    #[serde(deserialize_with = "text")]
    pub uploads_per_owner: Count,
    #[serde(deserialize_with = "text")]
    pub upload_wait: Span,
    #[serde(deserialize_with = "text")]
    pub stall_window: Span,
    #[serde(deserialize_with = "text")]
    pub stall_bytes: Size,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    #[serde(deserialize_with = "text")]
    pub max_bytes: OrNone<Size>,
    #[serde(deserialize_with = "text")]
    pub max_versions: OrNone<Count>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gc {
    pub enabled: bool,
    #[serde(deserialize_with = "text")]
    pub after_removed: Size,
    #[serde(deserialize_with = "text")]
    pub every: Span,
    #[serde(deserialize_with = "text")]
    pub rate: Size,
    #[serde(deserialize_with = "text")]
    pub yield_above: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub enabled: bool,
    #[serde(deserialize_with = "text")]
    pub every: Span,
    pub rules: Vec<RetentionRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// `owner/package`, each a name or a glob.
    pub packages: String,
    pub keep_newest: Option<u32>,
    #[serde(default)]
    pub keep: Vec<String>,
    #[serde(default)]
    pub remove: Vec<String>,
    #[serde(default, deserialize_with = "optional_text")]
    pub remove_older_than: Option<Span>,
    #[serde(default, deserialize_with = "optional_text")]
    pub remove_unused_for: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eviction {
    pub enabled: bool,
    #[serde(deserialize_with = "text")]
    pub min_age: Span,
    #[serde(deserialize_with = "text")]
    pub access_memory: Size,
    #[serde(deserialize_with = "text")]
    pub save_every: Span,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Scrub {
    pub enabled: bool,
    #[serde(deserialize_with = "text")]
    pub rate: Size,
    #[serde(deserialize_with = "text")]
    pub every: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    #[serde(deserialize_with = "text")]
    pub format: LogFormat,
    pub level: String,
    #[serde(deserialize_with = "text")]
    pub access: OrOff<AccessFormat>,
    pub access_to: String,
    #[serde(deserialize_with = "text")]
    pub access_rate: OrNone<Count>,
    #[serde(deserialize_with = "text")]
    pub access_queue: Count,
    #[serde(deserialize_with = "text")]
    pub slow: OrNone<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    #[serde(deserialize_with = "text")]
    pub listen: OrNone<Listen>,
    #[serde(deserialize_with = "text")]
    pub token: OrNone<Text>,
    #[serde(deserialize_with = "text")]
    pub token_file: OrNone<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// `off`, `stdout` or a path.
    pub output: String,
    pub reads: bool,
    #[serde(deserialize_with = "text")]
    pub queue: Count,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// `admins` or `users`.
    pub create_organisations: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcIssuer {
    pub name: String,
    pub issuer: String,
    pub audience: String,
    pub jwks_url: Option<String>,
    pub ca_file: Option<PathBuf>,
    #[serde(default = "rs256")]
    pub algorithms: Vec<String>,
    #[serde(default = "minute", deserialize_with = "text")]
    pub leeway: Span,
    #[serde(default = "hour", deserialize_with = "text")]
    pub keys_fresh: Span,
    #[serde(default = "day", deserialize_with = "text")]
    pub keys_stale: Span,
    #[serde(default = "ten_seconds", deserialize_with = "text")]
    pub refetch_after: Span,
    #[serde(default)]
    pub rules: Vec<OidcRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcRule {
    /// Claims with globs.
    pub claims: BTreeMap<String, String>,
    /// `owner/package-glob`
    pub packages: String,
    /// `read` or `write`.
    pub permission: String,
}

/// What GitHub, GitLab and Forgejo sign with.
fn rs256() -> Vec<String> {
    vec!["RS256".to_owned()]
}

fn minute() -> Span {
    Span(Duration::from_secs(60))
}

fn hour() -> Span {
    Span(Duration::from_secs(3600))
}

fn day() -> Span {
    Span(Duration::from_secs(86_400))
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// `owner/package-glob`
    pub packages: String,
    /// A policy's name, validated later so that the message lists them.
    pub policy: String,
}
