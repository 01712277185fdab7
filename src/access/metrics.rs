//! How often somebody signs in, and how that ends.

use std::sync::LazyLock;

use prometheus::IntCounter;

use super::AuthError;
use crate::telemetry::metrics;

/// How somebody signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// An account's name and password.
    Password,
    /// An access token.
    Token,
    /// A workload token of an issuer.
    Workload,
    /// Something that is none of these.
    Other,
}

const METHODS: [&str; 4] = ["password", "token", "oidc", "other"];
const RESULTS: [&str; 5] = ["ok", "wrong", "inactive", "throttled", "failed"];

static ATTEMPTS: LazyLock<Vec<Vec<IntCounter>>> = LazyLock::new(|| {
    let family = metrics::counters(
        "larder_auth_attempts_total",
        "Requests with credentials, by kind of credential and result.",
        &[("method", &METHODS), ("result", &RESULTS)],
    );
    let of = |method: &&str| {
        RESULTS
            .iter()
            .map(|result| family.with_label_values(&[*method, *result]))
            .collect()
    };
    METHODS.iter().map(of).collect()
});

static FETCHES: LazyLock<[IntCounter; 2]> = LazyLock::new(|| {
    let family = metrics::counters(
        "larder_oidc_key_fetches_total",
        "Fetches of the keys of issuers of workload tokens, by result.",
        &[("result", &["ok", "failed"])],
    );
    ["ok", "failed"].map(|result| family.with_label_values(&[result]))
});

/// Shows the families from the start.
pub(super) fn init() {
    LazyLock::force(&ATTEMPTS);
    LazyLock::force(&FETCHES);
}

/// Somebody has tried to sign in.
pub(super) fn attempted<T>(method: Method, result: &Result<T, AuthError>) {
    let result = match result {
        Ok(_) => 0,
        Err(AuthError::Wrong | AuthError::Workload(_)) => 1,
        Err(AuthError::Inactive) => 2,
        Err(AuthError::SlowDown { .. }) => 3,
        Err(AuthError::Unreachable | AuthError::Store(_)) => 4,
    };
    ATTEMPTS[method as usize][result].inc();
}

/// The keys of an issuer have been fetched, or not.
#[cfg_attr(not(feature = "oidc"), allow(dead_code))]
pub(super) fn keys_fetched(ok: bool) {
    FETCHES[usize::from(!ok)].inc();
}
