//! Refusals and failures as clients see them: the one place where they get a status, a stable code and a text.
//!
//! Two APIs answer differently (API.md §2): `/api/packages` in lines of text, or in problem details (RFC 9457) for
//! clients that prefer JSON; `/api/v1` in Gitea's JSON. What went wrong inside is logged here, once, and never sent.

use std::borrow::Cow;
use std::fmt::{Debug, Display};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    TryIntoHeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};

use super::accept::prefers_json;
use super::checksums::BadChecksum;
use super::codes;
use super::complaint::shown;
use super::conditions::BadCondition;
use super::description::{Headers, NO_SNIFF};
use super::fields::BadField;
use super::head::Head;
use super::json::problem::{ApiError, Problem};
use super::metrics::METRICS;
use super::path::{self, BadEscape, Route};
use super::ranges::unsatisfied_range;
use crate::access::{AccountError, AuthError, Denied};
use crate::artifact::ArtifactError;
use crate::artifact::names::NameError;
use crate::artifact::settings::SettingsError;
use crate::store::change::CommitError;
use crate::store::error::StoreError;

/// Asks a browser, curl or git for credentials.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"Larder Package API\"");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Seconds after which something that is busy or starting is worth another try.
const SOON: u64 = 2;

/// The index is not there for the moment, and nothing has been done.
const INDEX_FAILED: &str = "index-failed";

/// An answer that is not what the client wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    status: StatusCode,
    /// For programs; never changes its meaning.
    code: &'static str,
    /// For people: one line, without full stop.
    message: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// How a refusal is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line of text.
    Text,
    /// RFC 9457.
    Problem,
    /// Gitea's `{"message", "url"}`.
    Api,
}

impl Form {
    /// The form for a route and what the client prefers.
    pub fn of(parsed: &Result<Route, BadEscape>, head: Head<'_>) -> Self {
        match parsed {
            Ok(route) if route.is_api() => Form::Api,
            Err(BadEscape) if path::is_under_api(head.path) => Form::Api,
            _ if prefers_json(head.headers) => Form::Problem,
            _ => Form::Text,
        }
    }
}

/// Which of the two APIs was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/api/packages`
    Packages,
    /// `/api/v1`
    Api,
}

impl Door {
    /// Credentials that were not accepted. There is no challenge: the client has just answered one.
    pub fn auth(self, error: AuthError) -> Refusal {
        let status = match (&error, self) {
            (AuthError::Wrong | AuthError::Workload(_), _) | (AuthError::Inactive, Door::Packages) => {
                StatusCode::UNAUTHORIZED
            }
            (AuthError::Inactive, Door::Api) => StatusCode::FORBIDDEN,
            (AuthError::SlowDown { .. }, _) => StatusCode::TOO_MANY_REQUESTS,
            (AuthError::Unreachable, _) => StatusCode::SERVICE_UNAVAILABLE,
            (AuthError::Store(_), _) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = error.to_string();
        match error {
            AuthError::Wrong => Refusal::new(status, "bad-credentials", message),
            AuthError::Inactive => Refusal::new(status, "inactive-account", message),
            AuthError::Workload(_) => Refusal::new(status, "workload-rejected", message),
            AuthError::Unreachable => Refusal::unavailable("issuer-unreachable", message),
            AuthError::SlowDown { seconds } => {
                Refusal::new(status, "too-many-attempts", message).with(RETRY_AFTER, seconds)
            }
            AuthError::Store(error) => error.into(),
        }
    }

    /// A caller who may not.
    pub fn denied(self, denied: Denied) -> Refusal {
        let text = denied.to_string();
        match (self, denied) {
            (Door::Packages, Denied::SignIn) => {
                Refusal::new(StatusCode::UNAUTHORIZED, "sign-in-needed", text)
                    .with(WWW_AUTHENTICATE, CHALLENGE)
            }
            (Door::Packages, Denied::Permission) => {
                Refusal::new(StatusCode::UNAUTHORIZED, "permission-denied", text)
                    .with(WWW_AUTHENTICATE, CHALLENGE)
            }
            (Door::Api, Denied::SignIn) => {
                Refusal::new(StatusCode::UNAUTHORIZED, "sign-in-needed", "token is required")
            }
            (Door::Api, Denied::Permission) => Refusal::new(StatusCode::FORBIDDEN, "permission-denied", text),
            (_, Denied::PublicOnly) => Refusal::new(StatusCode::FORBIDDEN, "public-only-token", text),
        }
    }
}

impl Refusal {
    /// A refusal without further headers.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        debug_assert!(
            codes::covers(code, status.as_u16()),
            "{code} with {status} is not in the list of codes"
        );
        Refusal {
            status,
            code,
            message: message.into(),
            header: None,
        }
    }

    /// 400
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404: an owner or user that does not exist.
    pub fn no_owner() -> Self {
        Self::new(StatusCode::NOT_FOUND, "owner-not-found", "Not found.")
    }

    /// 404: a path that means nothing.
    pub fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "404 page not found")
    }

    /// 405
    pub fn method(allowed: &[&str]) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "method not allowed",
        )
        .with(ALLOW, allowed.join(", "))
    }

    /// 401: `/metrics` asks for its token.
    pub fn metrics_token() -> Self {
        let text = "the token of metrics.token or metrics.token_file is required";
        Self::new(StatusCode::UNAUTHORIZED, "metrics-token-required", text).with(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"Larder metrics\""),
        )
    }

    /// 416, for a file of `len` bytes.
    pub fn range(len: u64) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "range-not-satisfiable",
            "none of the ranges is in the file",
        )
        .with(CONTENT_RANGE, unsatisfied_range(len))
    }

    /// Whether only the index was missing: the same request may succeed once it is back.
    pub fn is_index_failed(&self) -> bool {
        self.code == INDEX_FAILED
    }

    /// 503 until the store is open.
    pub fn starting() -> Self {
        Self::unavailable("starting", "the store is being opened, try again soon")
    }

    /// 413: a body of an API call that has no reason to be this long.
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("the body is larger than the limit of {limit} bytes"),
        )
    }

    /// 415: a body that would have to be unpacked first.
    pub fn encoding(given: &str) -> Self {
        let text = format!(
            "the body has the Content-Encoding {}, and only identity is understood: send the JSON as it is",
            shown(given)
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded-body", text)
            .with(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// 408
    pub fn slow_body(seconds: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            format!("the body did not come within {seconds} s"),
        )
    }

    /// The same with another text.
    pub fn saying(self, message: String) -> Self {
        Refusal {
            message: message.into(),
            ..self
        }
    }

    /// 503 with a hint to come again.
    pub fn unavailable(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with(RETRY_AFTER, SOON)
    }

    /// 500: not the client's fault, and none of its business.
    pub fn internal(error: &(impl Debug + Display)) -> Self {
        tracing::error!(%error, ?error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal server error",
        )
    }

    fn with(mut self, name: HeaderName, value: impl TryIntoHeaderValue) -> Self {
        // Every value is made here and is a legal one.
        self.header = value.try_into_value().ok().map(|value| (name, value));
        self
    }

    /// The response.
    pub fn respond(&self, form: Form, head: Head<'_>) -> HttpResponse {
        METRICS.refused(self.status.as_u16(), self.code);
        if let Some(trail) = head.trail {
            trail.refused(self.code);
        }
        let mut response = HttpResponse::build(self.status);
        if let Some(header) = &self.header {
            response.insert_header(header.clone());
        }
        response.insert_header((X_CONTENT_TYPE_OPTIONS, NO_SNIFF));
        match form {
            Form::Text => response
                .insert_header((CONTENT_TYPE, TEXT))
                .body(self.message.clone().into_owned()),
            Form::Problem => response
                .content_type("application/problem+json")
                .body(self.problem()),
            Form::Api => {
                let url = format!("{}/api/swagger.json", head.base_url());
                let message = &self.message;
                response.json(ApiError { message, url })
            }
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Counts it, and writes the headers that it has as a line of text; gives back that line, its body.
    pub fn write_text(&self, headers: &mut impl Headers) -> &str {
        METRICS.refused(self.status.as_u16(), self.code);
        if let Some((name, value)) = &self.header {
            headers.constant(name.clone(), value.clone());
        }
        headers.constant(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
        headers.constant(CONTENT_TYPE, TEXT);
        &self.message
    }

    fn problem(&self) -> String {
        let problem = Problem {
            r#type: codes::type_of(self.code),
            title: codes::title(self.code),
            status: self.status.as_u16(),
            detail: &self.message,
            code: self.code,
        };
        // Strings and a number can always be written as JSON.
        serde_json::to_string(&problem).unwrap_or_default()
    }
}

impl From<ArtifactError> for Refusal {
    fn from(error: ArtifactError) -> Self {
        let text = error.to_string();
        match error {
            ArtifactError::Name(name) => name.into(),
            ArtifactError::Precondition => {
                Refusal::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", text)
            }
            ArtifactError::VersionExists => Refusal::bad_request("version-exists", text),
            ArtifactError::FileExists => Refusal::new(StatusCode::CONFLICT, "file-exists", text),
            ArtifactError::OverBytes => Refusal::new(StatusCode::FORBIDDEN, "quota-bytes", text),
            ArtifactError::OverVersions => Refusal::new(StatusCode::FORBIDDEN, "quota-versions", text),
            ArtifactError::TooLarge { .. } => {
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "file-too-large", text)
            }
            ArtifactError::NoSpace => Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "no-space", text),
            ArtifactError::Busy(_) => Refusal::unavailable("busy", text),
            ArtifactError::Checksum(_) => Refusal::bad_request("checksum-mismatch", text),
            ArtifactError::Incomplete(_) => Refusal::bad_request("incomplete-body", text),
            ArtifactError::Stalled { .. } => Refusal::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", text),
            ArtifactError::NoVersion => Refusal::new(StatusCode::NOT_FOUND, "package-not-found", text),
            ArtifactError::NoFile => Refusal::new(StatusCode::NOT_FOUND, "file-not-found", text),
            ArtifactError::NoOwner => Refusal::no_owner(),
            // Only upkeep asks for removals that spare what is pinned.
            ArtifactError::Pinned => Refusal::internal(&text),
            ArtifactError::Damaged => {
                tracing::error!("a request met damaged data");
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "data-damaged", text)
            }
            ArtifactError::Store(error) => error.into(),
            ArtifactError::Commit(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => ArtifactError::NoSpace.into(),
            StoreError::Damaged(detail) => {
                tracing::error!(detail, "a request met damaged data");
                let text = ArtifactError::Damaged.to_string();
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "data-damaged", text)
            }
            StoreError::Index(detail) => {
                tracing::debug!(detail, "a request met a failed index");
                Refusal::unavailable(INDEX_FAILED, "the index is being rebuilt, try again soon")
            }
            StoreError::Poisoned => Refusal::unavailable("read-only", error.to_string()),
            StoreError::Closed => Refusal::unavailable("closing", error.to_string()),
            StoreError::Io(_) | StoreError::Foreign(_) => Refusal::internal(&error),
        }
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoSpace => ArtifactError::NoSpace.into(),
            CommitError::Busy | CommitError::Conflict => Refusal::unavailable("busy", "too busy, try again"),
            CommitError::Damaged => Refusal::unavailable("data-damaged", error.to_string()),
            CommitError::Closed => StoreError::Closed.into(),
            CommitError::Rebuilding => StoreError::Index(error.to_string()).into(),
            // Nobody knows until a restart whether it is durable.
            CommitError::Poisoned | CommitError::IndexFailed => Refusal::internal(&error),
        }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        let code = match error {
            NameError::Package => "invalid-package-name",
            NameError::Version => "invalid-package-version",
            NameError::File => "invalid-filename",
        };
        Refusal::bad_request(code, error.to_string())
    }
}

impl From<BadEscape> for Refusal {
    fn from(BadEscape: BadEscape) -> Self {
        Refusal::bad_request(
            "bad-path",
            "the path has an escape that is not % and two hexadecimal digits",
        )
    }
}

impl From<BadChecksum> for Refusal {
    fn from(error: BadChecksum) -> Self {
        Refusal::bad_request("bad-checksum-header", error.to_string())
    }
}

impl From<BadCondition> for Refusal {
    fn from(error: BadCondition) -> Self {
        Refusal::bad_request("bad-condition", error.to_string())
    }
}

impl From<BadField> for Refusal {
    fn from(error: BadField) -> Self {
        let status = match error {
            BadField::NotJson => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Refusal::new(status, "bad-field", error.to_string())
    }
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::BadPolicies(error) => Refusal::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-policies",
                error.to_string(),
            ),
            SettingsError::Failed(error) => error.into(),
        }
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        let status = match error {
            AccountError::Commit(error) => return error.into(),
            AccountError::Store(error) => return error.into(),
            AccountError::NoSuchUser | AccountError::NoSuchToken | AccountError::NoSuchMember => {
                StatusCode::NOT_FOUND
            }
            AccountError::BadScopes(_) | AccountError::TokenNameTaken | AccountError::BadGrants(_) => {
                StatusCode::BAD_REQUEST
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Refusal::new(status, error.code(), error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::body::MessageBody;
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;

    /// Status, the one special header, text.
    fn seen(refusal: Refusal) -> (u16, String, String) {
        let header = refusal
            .header
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        (
            refusal.status.as_u16(),
            header.unwrap_or_default(),
            refusal.message.into_owned(),
        )
    }

    fn row(status: u16, header: &str, text: &str) -> (u16, String, String) {
        (status, header.to_owned(), text.to_owned())
    }

    const CHALLENGED: &str = "www-authenticate: Basic realm=\"Larder Package API\"";

    #[test]
    fn the_two_apis_refuse_callers_in_their_own_ways() {
        use Door::{Api, Packages};
        let signin = "authentication is required";
        let denied = "permission denied";
        let public = "the token is limited to public owners";
        assert_eq!(
            seen(Packages.denied(Denied::SignIn)),
            row(401, CHALLENGED, signin)
        );
        assert_eq!(
            seen(Packages.denied(Denied::Permission)),
            row(401, CHALLENGED, denied)
        );
        assert_eq!(seen(Packages.denied(Denied::PublicOnly)), row(403, "", public));
        assert_eq!(
            seen(Api.denied(Denied::SignIn)),
            row(401, "", "token is required")
        );
        assert_eq!(seen(Api.denied(Denied::Permission)), row(403, "", denied));
        assert_eq!(seen(Api.denied(Denied::PublicOnly)), row(403, "", public));

        let wrong = "invalid username, password or token";
        let inactive = "the account is not active";
        for door in [Packages, Api] {
            assert_eq!(seen(door.auth(AuthError::Wrong)), row(401, "", wrong));
            assert_eq!(
                seen(door.auth(AuthError::SlowDown { seconds: 7 })),
                row(429, "retry-after: 7", "too many failed attempts")
            );
        }
        assert_eq!(seen(Packages.auth(AuthError::Inactive)), row(401, "", inactive));
        assert_eq!(seen(Api.auth(AuthError::Inactive)), row(403, "", inactive));
    }

    #[test]
    fn refusals_of_the_verbs_have_the_texts_of_the_contract() {
        let name = |error: NameError| ArtifactError::Name(error);
        for (error, status, text) in [
            (name(NameError::Package), 400, "invalid package name"),
            (name(NameError::Version), 400, "invalid package version"),
            (name(NameError::File), 400, "invalid filename"),
            (
                ArtifactError::VersionExists,
                400,
                "package version already exists",
            ),
            (ArtifactError::FileExists, 409, "package file already exists"),
            (ArtifactError::NoVersion, 404, "package does not exist"),
            (ArtifactError::NoFile, 404, "package file does not exist"),
            (ArtifactError::Damaged, 500, "stored data is damaged"),
            (
                ArtifactError::OverBytes,
                403,
                "maximum allowed package storage quota exceeded",
            ),
            (
                ArtifactError::OverVersions,
                403,
                "maximum allowed package count exceeded",
            ),
            (ArtifactError::Precondition, 412, "precondition failed"),
            (ArtifactError::NoSpace, 507, "no space left in the store"),
        ] {
            assert_eq!(seen(error.into()), row(status, "", text));
        }
        let (status, header, text) = seen(ArtifactError::Busy("uploads").into());
        assert_eq!(
            (status, header.as_str(), text.as_str()),
            (503, "retry-after: 2", "too busy: uploads")
        );
        let (status, _, text) = seen(ArtifactError::TooLarge { limit: 1048576 }.into());
        assert!(status == 413 && text.contains("1048576"), "{text}");
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        let secret = || std::io::Error::other("/srv/secret/path");
        for refusal in [
            Refusal::from(StoreError::Io(secret())),
            Refusal::from(StoreError::Index("/srv/secret/path".to_owned())),
            Refusal::from(StoreError::Damaged("/srv/secret/path".to_owned())),
            Refusal::from(CommitError::Poisoned),
            Door::Packages.auth(AuthError::Store(StoreError::Io(secret()))),
        ] {
            let (status, _, text) = seen(refusal);
            assert!(status >= 500 && !text.contains("secret"), "{status} {text}");
        }
    }

    fn body(form: Form) -> (String, String) {
        let request = TestRequest::get()
            .insert_header(("host", "example.org"))
            .to_http_request();
        let response = Refusal::no_page().respond(form, Head::from(&request));
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("x-content-type-options"), "nosniff");
        let kind = header("content-type");
        let body = response.into_body().try_into_bytes().unwrap();
        (kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_takes_the_form_that_is_asked_for() {
        assert_eq!(
            body(Form::Text),
            (
                "text/plain; charset=utf-8".to_owned(),
                "404 page not found".to_owned()
            )
        );
        let (kind, text) = body(Form::Problem);
        assert_eq!(kind, "application/problem+json");
        let expected = json!({
            "type": "urn:larder:error:not-found", "title": "Nothing is at this path", "status": 404, "detail": "404 page not found",
            "code": "not-found",
        });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            expected
        );
        let (kind, text) = body(Form::Api);
        assert_eq!(kind, "application/json");
        let expected = json!({"message": "404 page not found", "url": "http://example.org/api/swagger.json"});
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            expected
        );
    }
}
