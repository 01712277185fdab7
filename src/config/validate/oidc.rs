//! Issuers of workload tokens.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Check, DAY, SECOND};
use crate::access::oidc::{self, Algorithm, Issuer, Rule, check_url};
use crate::config::raw::{OidcIssuer, OidcRule, Raw};

/// Most issuers, and most rules of one: every token is held against them.
const MOST: usize = 100;
/// Longest file of certificates that is read, bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;

impl Check<'_> {
    pub(super) fn oidc(&mut self, raw: &Raw) -> Vec<Issuer> {
        let given = &raw.oidc;
        if !given.is_empty() && !oidc::AVAILABLE {
            self.problem(
                "oidc",
                "this larder was built without the feature oidc".to_owned(),
            );
        }
        if given.len() > MOST {
            self.problem("oidc", format!("has {} issuers; the most is {MOST}", given.len()));
        }
        for (n, issuer) in given.iter().enumerate() {
            let earlier = || given[..n].iter();
            if earlier().any(|other| other.issuer == issuer.issuer) {
                let message = "is configured already; give the first one more rules".to_owned();
                self.problem(&format!("oidc[{n}].issuer"), message);
            }
            if earlier().any(|other| other.name == issuer.name) {
                self.problem(&format!("oidc[{n}].name"), "is another issuer's name".to_owned());
            }
        }
        given
            .iter()
            .enumerate()
            .map(|(n, given)| self.issuer(&format!("oidc[{n}]"), given))
            .collect()
    }

    fn issuer(&mut self, at: &str, given: &OidcIssuer) -> Issuer {
        self.not_empty(&format!("{at}.name"), &given.name);
        self.not_empty(&format!("{at}.audience"), &given.audience);
        self.url(&format!("{at}.issuer"), &given.issuer);
        if let Some(url) = &given.jwks_url {
            self.url(&format!("{at}.jwks_url"), url);
        }
        let keys_fresh = self.span(&format!("{at}.keys_fresh"), given.keys_fresh, 60 * SECOND..=DAY);
        Issuer {
            name: given.name.clone(),
            url: given.issuer.clone(),
            audience: given.audience.clone(),
            jwks_url: given.jwks_url.clone(),
            authorities: given
                .ca_file
                .as_deref()
                .and_then(|path| self.authorities(&format!("{at}.ca_file"), path)),
            algorithms: self.algorithms(&format!("{at}.algorithms"), &given.algorithms),
            leeway: self.span(
                &format!("{at}.leeway"),
                given.leeway,
                Duration::ZERO..=600 * SECOND,
            ),
            keys_fresh,
            keys_stale: self.span(
                &format!("{at}.keys_stale"),
                given.keys_stale,
                keys_fresh.min(7 * DAY)..=7 * DAY,
            ),
            refetch_after: self.span(
                &format!("{at}.refetch_after"),
                given.refetch_after,
                SECOND..=3600 * SECOND,
            ),
            rules: self.rules(at, &given.issuer, &given.rules),
        }
    }

    fn authorities(&mut self, key: &str, path: &Path) -> Option<Arc<str>> {
        let mut pem = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_CERTIFICATES).read_to_string(&mut pem));
        match read {
            Ok(_) if pem.contains("-----BEGIN CERTIFICATE-----") => return Some(pem.into()),
            Ok(_) => self.problem(key, format!("{} has no certificate in PEM", path.display())),
            Err(error) => self.problem(key, format!("{} cannot be read: {error}", path.display())),
        }
        None
    }

    fn algorithms(&mut self, key: &str, given: &[String]) -> Vec<Algorithm> {
        if given.is_empty() {
            self.problem(key, "is empty, so no token would be accepted".to_owned());
        }
        let mut algorithms = Vec::new();
        for name in given {
            match name.parse() {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(error) => self.problem(key, format!("{error}")),
            }
        }
        algorithms
    }

    fn rules(&mut self, at: &str, issuer: &str, given: &[OidcRule]) -> Vec<Rule> {
        if given.is_empty() || given.len() > MOST {
            self.problem(
                &format!("{at}.rules"),
                format!("there are {} rules; an issuer has 1 to {MOST}", given.len()),
            );
        }
        let mut rules = Vec::new();
        for (n, rule) in given.iter().enumerate() {
            let key = format!("{at}.rules[{n}]");
            let write = match rule.permission.as_str() {
                "read" => false,
                "write" => true,
                other => {
                    let message = format!("{other:?} is not a permission; write \"read\" or \"write\"");
                    self.problem(&format!("{key}.permission"), message);
                    continue;
                }
            };
            let claims: Vec<_> = rule.claims.clone().into_iter().collect();
            match Rule::new(issuer, &claims, &rule.packages, write) {
                Ok(rule) => rules.push(rule),
                Err(message) => self.problem(&key, message),
            }
        }
        rules
    }

    fn url(&mut self, key: &str, url: &str) {
        if let Err(message) = check_url(url) {
            self.problem(key, format!("{url:?} {message}"));
        }
    }

    fn not_empty(&mut self, key: &str, text: &str) {
        if text.trim().is_empty() {
            self.problem(key, "is empty".to_owned());
        }
    }
}
