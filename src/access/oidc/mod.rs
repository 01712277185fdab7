//! Workload tokens: CI jobs that sign in with what their platform says about them, without a secret of ours.
//!
//! The platform (GitHub, GitLab, Forgejo, Kubernetes …) issues a job a JSON Web Token that says which repository, branch
//! and so on it runs for. [`Issuer`]s that are configured are believed; a token of theirs may do what the [`Rule`]s say
//! that all its claims match, and nothing else beyond what anybody may.
//!
//! - The signature algorithms are those of the configuration, all of them asymmetric; what the token says is only
//!   compared with them. So neither `none` nor a public key taken for a shared secret can be talked into.
//! - Keys are fetched from the issuer when they are first needed, and again when they are old or a token names one that
//!   is not known, at a bounded rate. While the issuer is away, known keys are used for a bounded time.
//! - A verified token is remembered for a few minutes, so that a build with thousands of files costs one verification.

mod issuer;
mod rule;

#[cfg(feature = "oidc")]
mod fetch;
#[cfg(feature = "oidc")]
mod issuers;
#[cfg(feature = "oidc")]
mod keys;
#[cfg(feature = "oidc")]
mod signature;

#[cfg(not(feature = "oidc"))]
mod absent;
#[cfg(not(feature = "oidc"))]
use absent as issuers;

#[cfg(all(test, feature = "oidc"))]
mod testing;

use std::sync::Arc;

pub use issuer::{Algorithm, Issuer, UnknownAlgorithm, check_url};
pub(super) use issuers::Issuers;
pub use rule::Rule;

use super::Grants;

/// Whether this build can verify workload tokens.
pub const AVAILABLE: bool = cfg!(feature = "oidc");

/// A job that has proved what it is.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Name of the issuer in the configuration.
    pub issuer: Arc<str>,
    /// What the issuer calls the job: the claim `sub`.
    pub subject: Arc<str>,
    /// What it may do.
    pub grants: Grants,
}

/// Why a workload token is not accepted. Said to whoever presents it: only what the token itself says is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not a token of an issuer that is configured, or not one that can be verified.
    #[error("invalid username, password or token")]
    Unknown,
    /// Verified, but its time is over.
    #[error("the workload token has expired")]
    Expired,
    /// Verified, but its time has not come.
    #[error("the workload token is not valid yet: compare the clocks")]
    Early,
    /// Verified, but meant for somebody else.
    #[error("the workload token has another audience than this server")]
    Audience,
    /// Verified, but it lacks what every workload token has.
    #[error("the workload token lacks the claim {0}")]
    Lacks(String),
    /// Verified, but nothing is granted to such jobs.
    #[error("no rule of this server matches the claims of the workload token")]
    NoRule,
    /// The issuer's keys could not be had.
    #[error("the issuer of the workload token does not answer, try again soon")]
    Unreachable,
}

/// Whether a text can only be meant as a JSON Web Token: three parts of base64url, the first the beginning of `{"`.
pub(super) fn looks_like_one(text: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !part.is_empty() && part.bytes().all(allowed)
    };
    text.starts_with("eyJ") && text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_web_tokens_are_told_from_passwords() {
        for token in ["eyJh.eyJi.c2ln", "eyJhbGciOiJub25lIn0.eyJ9.x-_"] {
            assert!(looks_like_one(token), "{token}");
        }
        for other in [
            "",
            "eyJ",
            "eyJh.eyJi",
            "eyJh.eyJi.",
            "eyJh.eyJi.c.d",
            "eyJh eyJi.c.d",
            "lrd_a.b.c",
            "eyJh.a b.c",
        ] {
            assert!(!looks_like_one(other), "{other}");
        }
    }
}
