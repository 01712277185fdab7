//! The one place that turns errors into status codes.
//!
//! `/api/packages` answers in Gitea's one-liners (or RFC 9457 problem details, for clients that prefer JSON),
//! `/api/v1` in Gitea's JSON. What is internal goes to the log, never to a client.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use serde_json::json;

use super::checksums::BadChecksum;
use super::conditions::BadCondition;
use super::path::PathError;
use crate::access::{AuthError, Denied};
use crate::artifact::ArtifactError;
use crate::artifact::names::NameError;
use crate::store::change::CommitError;
use crate::store::error::StoreError;

/// Seconds after which a client that met a full queue may come again.
const RETRY_SECONDS: u64 = 1;

/// Why a request is not served, in HTTP's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Stable name of the reason, kebab-case.
    pub code: &'static str,
    /// For people; one line.
    pub message: String,
    /// Whether to ask for credentials.
    pub challenge: bool,
    /// Seconds to wait.
    pub retry_after: Option<u64>,
    /// Methods that are allowed, for 405.
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal without further headers.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            status,
            code,
            message: message.into(),
            challenge: false,
            retry_after: None,
            allow: None,
        }
    }

    /// A 404 with this text.
    pub fn not_found(message: &'static str) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// A 405.
    pub fn method(allow: &'static str) -> Self {
        let refusal = Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            format!("method not allowed; allowed: {allow}"),
        );
        Refusal {
            allow: Some(allow),
            ..refusal
        }
    }

    /// The daemon is not ready, or ending.
    pub fn unready(message: &'static str) -> Self {
        Refusal::busy("not-ready", message)
    }

    fn busy(code: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            retry_after: Some(RETRY_SECONDS),
            ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Something that clients learn nothing of.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal server error",
        )
    }

    fn challenged(self) -> Self {
        Refusal {
            challenge: true,
            ..self
        }
    }

    /// The answer under `/api/packages`.
    pub fn respond(&self, request: &HeaderMap) -> HttpResponse {
        let mut response = self.head();
        if prefers_json(request) {
            let problem = json!({
                "type": format!("urn:larder:{}", self.code),
                "title": self.status.canonical_reason().unwrap_or_default(),
                "status": self.status.as_u16(),
                "detail": self.message,
                "code": self.code,
            });
            response
                .content_type("application/problem+json")
                .body(problem.to_string())
        } else {
            response
                .content_type("text/plain; charset=utf-8")
                .body(self.message.clone())
        }
    }

    /// The answer under `/api/v1`.
    pub fn respond_api(&self) -> HttpResponse {
        let body = json!({ "message": self.message, "url": "/api/swagger.json" });
        self.head()
            .content_type("application/json")
            .body(body.to_string())
    }

    fn head(&self) -> actix_web::HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"Larder Package API\""));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        response
    }
}

/// Whether a client would rather have JSON than text.
fn prefers_json(request: &HeaderMap) -> bool {
    let (mut json, mut text) = (0.0f32, 0.0f32);
    for value in request
        .get_all(header::ACCEPT)
        .filter_map(|value| value.to_str().ok())
    {
        for range in value.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok())
                .unwrap_or(1.0);
            match kind.as_str() {
                "application/json" | "application/problem+json" | "application/*" => json = json.max(quality),
                "text/plain" | "text/*" => text = text.max(quality),
                _ => {}
            }
        }
    }
    json > text
}

impl From<ArtifactError> for Refusal {
    fn from(error: ArtifactError) -> Self {
        let message = error.to_string();
        match error {
            ArtifactError::Name(NameError::Package) => Refusal::bad_request("invalid-package-name", message),
            ArtifactError::Name(NameError::Version) => Refusal::bad_request("invalid-version", message),
            ArtifactError::Name(NameError::File) => Refusal::bad_request("invalid-file-name", message),
            ArtifactError::Precondition => {
                Refusal::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", message)
            }
            ArtifactError::VersionExists => Refusal::bad_request("version-exists", message),
            ArtifactError::FileExists => Refusal::new(StatusCode::CONFLICT, "file-exists", message),
            ArtifactError::TooLarge { .. } => {
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "file-too-large", message)
            }
            ArtifactError::NoSpace => Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "no-space", message),
            ArtifactError::Busy(_) => Refusal::busy("busy", message),
            ArtifactError::Checksum(_) => Refusal::bad_request("checksum-mismatch", message),
            ArtifactError::Incomplete(_) => Refusal::bad_request("incomplete-body", message),
            ArtifactError::Stalled { .. } => {
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", message)
            }
            ArtifactError::NoVersion => Refusal::new(StatusCode::NOT_FOUND, "package-not-found", message),
            ArtifactError::NoFile => Refusal::new(StatusCode::NOT_FOUND, "file-not-found", message),
            ArtifactError::Damaged => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", message),
            ArtifactError::Store(error) => error.into(),
            ArtifactError::Commit(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => ArtifactError::NoSpace.into(),
            StoreError::Damaged(_) => ArtifactError::Damaged.into(),
            StoreError::Poisoned => Refusal::busy("read-only", "the store takes no writes until a restart"),
            StoreError::Closed => Refusal::unready("the daemon is ending"),
            // Already logged where it was met; every request would log it again.
            StoreError::Index(_) => Refusal::busy("index-failed", "the index is not usable"),
            StoreError::Io(error) => Refusal::internal(&error),
            StoreError::Foreign(what) => Refusal::internal(&what),
        }
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoSpace => ArtifactError::NoSpace.into(),
            CommitError::Busy => Refusal::busy("busy", error.to_string()),
            CommitError::Closed => Refusal::unready("the daemon is ending"),
            // Whether it is durable is known after a restart only, so never a status that says it is not.
            CommitError::Poisoned | CommitError::IndexFailed | CommitError::Conflict => {
                Refusal::internal(&error)
            }
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Wrong | AuthError::Inactive => {
                Refusal::new(StatusCode::UNAUTHORIZED, "bad-credentials", error.to_string())
            }
            AuthError::SlowDown { seconds } => Refusal {
                retry_after: Some(seconds),
                ..Refusal::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-failures",
                    error.to_string(),
                )
            },
            AuthError::Store(error) => error.into(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        match denied {
            Denied::SignIn => {
                Refusal::new(StatusCode::UNAUTHORIZED, "sign-in-required", message).challenged()
            }
            Denied::Permission => {
                Refusal::new(StatusCode::UNAUTHORIZED, "permission-denied", message).challenged()
            }
            Denied::PublicOnly => Refusal::new(StatusCode::FORBIDDEN, "public-only-token", message),
        }
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Unknown => Refusal::not_found("404 page not found"),
            PathError::Encoding => {
                Refusal::bad_request("invalid-path", "the path has a % that begins no escape")
            }
        }
    }
}

impl From<BadCondition> for Refusal {
    fn from(error: BadCondition) -> Self {
        Refusal::bad_request("invalid-condition", error.to_string())
    }
}

impl From<BadChecksum> for Refusal {
    fn from(error: BadChecksum) -> Self {
        Refusal::bad_request("invalid-checksum-header", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn json_is_for_those_who_prefer_it() {
        for (accept, expected) in [
            ("application/json", true),
            ("application/problem+json, text/plain;q=0.5", true),
            ("text/plain, application/json", false),
            ("*/*", false),
            ("text/html", false),
            ("application/json;q=0.1, text/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_json(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn internals_do_not_leak() {
        let refusal = Refusal::from(StoreError::Io(std::io::Error::other("/secret/path")));
        assert_eq!(
            (refusal.status.as_u16(), refusal.message.as_str()),
            (500, "internal server error")
        );
    }
}
