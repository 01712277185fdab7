//! From a token to a workload.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm as Named, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::super::aging::Aging;
use super::super::clock::{Clock, wall_millis};
use super::super::{Grants, locked};
use super::fetch::{Fetch, Network};
use super::keys::{Keys, NoKey};
use super::signature;
use super::{Issuer, Rejected, Workload};
use crate::store::model::Millis;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How long after its verification a token is remembered.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How many are remembered at most, at a few hundred bytes each.
const CAPACITY: usize = 10_000;
/// Claims that every token must have.
const REQUIRED: [&str; 4] = ["exp", "iss", "aud", "sub"];

type Claims = Map<String, Value>;

/// Everybody who is believed.
pub(in super::super) struct Issuers {
    issuers: Vec<Believed>,
    verified: Mutex<Aging<[u8; 32], Verified>>,
    clock: Clock,
}

struct Believed {
    issuer: Arc<Issuer>,
    name: Arc<str>,
    keys: Keys,
    /// Signatures that are accepted.
    algorithms: Vec<Named>,
    /// What a token is held against, whose algorithm is still to be set.
    validation: Validation,
}

#[derive(Clone)]
struct Verified {
    workload: Workload,
    expires: Millis,
}

impl Issuers {
    /// Believes these, whose keys come over the network.
    pub(in super::super) fn new(issuers: Vec<Issuer>, clock: Clock) -> Self {
        let network = |issuer: &Issuer| -> Arc<dyn Fetch> {
            Arc::new(Network::believing(issuer.authorities.as_deref()))
        };
        Self::with(issuers, clock, network)
    }

    /// Believes these, whose keys come from what `fetch` makes for each.
    pub(super) fn with(
        issuers: Vec<Issuer>,
        clock: Clock,
        fetch: impl Fn(&Issuer) -> Arc<dyn Fetch>,
    ) -> Self {
        signature::install();
        let believed = |issuer: Issuer| {
            let issuer = Arc::new(issuer);
            Believed {
                name: issuer.name.as_str().into(),
                keys: Keys::new(issuer.clone(), fetch(&issuer), clock.clone()),
                algorithms: issuer.algorithms.iter().copied().map(signature::named).collect(),
                validation: validation(&issuer),
                issuer,
            }
        };
        Issuers {
            issuers: issuers.into_iter().map(believed).collect(),
            verified: Mutex::new(Aging::new(CAPACITY, LIFETIME)),
            clock,
        }
    }

    /// Whether these, and no others, are believed.
    pub(in super::super) fn are(&self, issuers: &[Issuer]) -> bool {
        self.issuers.iter().map(|known| &*known.issuer).eq(issuers)
    }

    /// Who presents this token.
    pub(in super::super) async fn verify(&self, token: &str) -> Result<Workload, Rejected> {
        if self.issuers.is_empty() || token.len() > MAX_TOKEN {
            return Err(Rejected::Unknown);
        }
        let fingerprint = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(workload) = self.remembered(&fingerprint) {
            return Ok(workload);
        }
        let verified = self.verify_anew(token).await?;
        let workload = verified.workload.clone();
        locked(&self.verified).put(fingerprint, verified, self.clock.now());
        Ok(workload)
    }

    fn remembered(&self, fingerprint: &[u8; 32]) -> Option<Workload> {
        let verified = locked(&self.verified);
        let known = &verified.get(fingerprint, self.clock.now())?.value;
        (known.expires > wall_millis()).then(|| known.workload.clone())
    }

    async fn verify_anew(&self, token: &str) -> Result<Verified, Rejected> {
        // Nothing of this is believed yet; it only says whose key to try.
        let claimed: Claims = insecure_decode_claims(token).map_err(|_| Rejected::Unknown)?;
        let url = claimed.get("iss").and_then(Value::as_str).unwrap_or_default();
        let known = self.issuers.iter().find(|known| known.issuer.url == url);
        let known = known.ok_or(Rejected::Unknown)?;
        let verified = known.verify(token).await;
        if let Err(why) = &verified {
            tracing::debug!(issuer = known.issuer.name, %why, "a workload token is not accepted");
        }
        verified
    }
}

fn validation(issuer: &Issuer) -> Validation {
    let mut validation = Validation {
        leeway: issuer.leeway.as_secs(),
        validate_nbf: true,
        ..Validation::default()
    };
    validation.set_required_spec_claims(&REQUIRED);
    validation.set_issuer(&[&issuer.url]);
    validation.set_audience(&[&issuer.audience]);
    validation
}

impl Believed {
    async fn verify(&self, token: &str) -> Result<Verified, Rejected> {
        let header = decode_header(token).map_err(|_| Rejected::Unknown)?;
        // What must be understood and is not, is refused.
        if header.crit.is_some() || !self.algorithms.contains(&header.alg) {
            return Err(Rejected::Unknown);
        }
        let name = header.kid.ok_or(Rejected::Unknown)?;
        let key = self.keys.find(&name).await.map_err(|why| match why {
            NoKey::Unknown => Rejected::Unknown,
            NoKey::Unreachable => Rejected::Unreachable,
        })?;
        if key.algorithm.is_some_and(|algorithm| algorithm != header.alg) {
            return Err(Rejected::Unknown);
        }
        // It takes algorithms of one family only; this one is of the configuration, as was seen above.
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let decoded = decode::<Claims>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| rejected(error.kind()))?.claims;
        self.workload(&claims)
    }

    /// What a verified token may do.
    fn workload(&self, claims: &Claims) -> Result<Verified, Rejected> {
        let leeway = i64::try_from(self.issuer.leeway.as_secs()).unwrap_or(0);
        let seconds = |claim: &str| claims.get(claim).and_then(Value::as_f64).map(|time| time as i64);
        if seconds("iat").is_some_and(|issued| issued > wall_millis() / 1000 + leeway) {
            return Err(Rejected::Early);
        }
        let matching = self.issuer.rules.iter().filter(|rule| rule.matches(claims));
        let grants: Vec<_> = matching.map(|rule| rule.grant()).collect();
        if grants.is_empty() {
            return Err(Rejected::NoRule);
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let expires = seconds("exp").unwrap_or(0).saturating_add(leeway);
        Ok(Verified {
            workload: Workload {
                issuer: self.name.clone(),
                subject: subject.into(),
                grants: Grants::of_rules(grants),
            },
            expires: expires.saturating_mul(1000),
        })
    }
}

/// What the caller may know: nothing of what failed before the signature was good.
fn rejected(kind: &ErrorKind) -> Rejected {
    match kind {
        ErrorKind::ExpiredSignature => Rejected::Expired,
        ErrorKind::ImmatureSignature => Rejected::Early,
        ErrorKind::InvalidAudience => Rejected::Audience,
        ErrorKind::MissingRequiredClaim(claim) => Rejected::Lacks(claim.clone()),
        _ => Rejected::Unknown,
    }
}

#[cfg(test)]
#[path = "issuers_tests.rs"]
mod tests;
