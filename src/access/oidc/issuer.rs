//! Who is believed, and how it is recognised.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::Rule;

/// An issuer of workload tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    /// What it is called in logs.
    pub name: String,
    /// The claim `iss`, exactly; keys are found through it.
    pub url: String,
    /// One of the values of the claim `aud` must be this.
    pub audience: String,
    /// Where the keys are; `None`: where the issuer's discovery document says.
    pub jwks_url: Option<String>,
    /// Certificates of authorities, in PEM, that are believed in place of the public ones.
    pub authorities: Option<Arc<str>>,
    /// Signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock may differ from ours.
    pub leeway: Duration,
    /// Keys are fetched anew when they are older.
    pub keys_fresh: Duration,
    /// Keys are used up to this age while the issuer cannot be reached.
    pub keys_stale: Duration,
    /// Keys are not fetched more often than this, whatever is asked for.
    pub refetch_after: Duration,
    /// What its tokens may do.
    pub rules: Vec<Rule>,
}

/// A signature algorithm. All are asymmetric, so that a key that verifies cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// Names as they stand in tokens.
const NAMES: [(&str, Algorithm); 7] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
];

/// A name that is none of an algorithm that could be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an algorithm that can be accepted; write RS256, RS384, RS512, PS256, ES256, ES384 or EdDSA"
)]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let known = NAMES.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}

/// Whether keys may be fetched from this URL: by https, or by http from this machine.
///
/// # Errors
/// Why not.
pub fn check_url(url: &str) -> Result<(), String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}#@".contains(c);
    if url.len() > 1024 || url.contains(odd) {
        return Err("is not a URL".to_owned());
    }
    let host = |rest: &str| rest.split(['/', '?']).next().unwrap_or_default().to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        return match host(rest).is_empty() {
            true => Err("has no host".to_owned()),
            false => Ok(()),
        };
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return Err("must begin with https://".to_owned());
    };
    match is_loopback(&host(rest)) {
        true => Ok(()),
        false => Err("must begin with https://; http:// is only for this machine (127.0.0.1)".to_owned()),
    }
}

/// Whether a `host:port` is this machine, as far as its text shows.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_asymmetric_algorithms_have_names() {
        assert_eq!("RS256".parse(), Ok(Algorithm::Rs256));
        assert_eq!("EdDSA".parse(), Ok(Algorithm::EdDsa));
        for bad in ["none", "None", "HS256", "HS512", "rs256", ""] {
            assert!(bad.parse::<Algorithm>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in [
            "https://token.actions.githubusercontent.com",
            "https://gitlab.example:8443/group?x",
            "http://127.0.0.1:8080/keys",
            "http://[::1]:80/",
            "http://localhost",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "http://gitlab.example/",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://localhost.evil.example",
            "https://",
            "https:///x",
            "ftp://x",
            "gitlab.example",
            "https://a b",
            "",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
