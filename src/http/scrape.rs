//! `/metrics`, and the token that it can be made to ask for.

use std::fmt;

use actix_web::HttpResponse;
use subtle::ConstantTimeEq;

use super::error::Refusal;
use super::head::Head;
use super::health;
use super::metrics::METRICS;
use super::openapi::file;
use super::state::State;
use crate::access::Credentials;
use crate::telemetry::metrics;

/// What a scraper must bring. Nothing prints it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct MetricsToken(String);

impl MetricsToken {
    /// Characters of a token at least: it guards a page that can be asked without end.
    pub const MIN: usize = 16;
    /// Characters of a token at most.
    pub const MAX: usize = 256;

    /// A token, or what is wrong with it; the token itself is not in the text.
    pub fn new(text: &str) -> Result<Self, String> {
        let (least, most) = (Self::MIN, Self::MAX);
        if !(least..=most).contains(&text.len()) {
            let len = text.len();
            return Err(format!(
                "has {len} characters; a token has from {least} to {most}"
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has characters other than visible ASCII; a header could not carry it".to_owned());
        }
        Ok(MetricsToken(text.to_owned()))
    }

    /// Takes as long for a wrong token as for the right one.
    fn admits(&self, credentials: &Credentials) -> bool {
        let given = match credentials {
            Credentials::Token(token) => token,
            Credentials::Basic { password, .. } => password,
            Credentials::None | Credentials::Malformed => return false,
        };
        given.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for MetricsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsToken(..)")
    }
}

/// Metrics for Prometheus
///
/// With `metrics.token` set, it comes as a bearer token or as the password of Basic credentials, never in the URL.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    security((), ("basic" = []), ("token" = [])),
    responses(
        (status = 200, description = "All families.", body = String, content_type = "text/plain"),
        file::NotScraped
    )
)]
pub fn metrics(state: &State, head: Head<'_>) -> Result<HttpResponse, Refusal> {
    if let Some(token) = state.metrics_token()
        && !token.admits(&head.credentials(false))
    {
        return Err(Refusal::metrics_token());
    }
    if let Ok(engine) = state.engine() {
        engine.store.measure();
    }
    METRICS.ready(health::is_ready(state));
    Ok(HttpResponse::Ok()
        .content_type(metrics::CONTENT_TYPE)
        .body(metrics::render()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_can_be_sent() {
        assert!(MetricsToken::new("0123456789abcdef").is_ok());
        for wrong in [
            "",
            "short",
            "0123456789abcde\n",
            "0123456789 abcdef",
            "ä".repeat(20).as_str(),
        ] {
            let error = MetricsToken::new(wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
        let token = MetricsToken::new("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "MetricsToken(..)");
    }

    #[test]
    fn only_the_token_itself_opens() {
        let token = MetricsToken::new("0123456789abcdef").unwrap();
        let header = |value: &str| Credentials::parse(Some(value.as_bytes()), "", false);
        assert!(token.admits(&header("Bearer 0123456789abcdef")));
        // prometheus:0123456789abcdef
        assert!(token.admits(&header("Basic cHJvbWV0aGV1czowMTIzNDU2Nzg5YWJjZGVm")));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Bearer",
            "Basic !",
        ] {
            assert!(!token.admits(&header(wrong)), "{wrong}");
        }
        assert!(!token.admits(&Credentials::None));
    }
}
