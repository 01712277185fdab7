//! The public keys of an issuer: fetched when needed, kept for a while.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm as Named, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::super::clock::Clock;
use super::super::locked;
use super::super::metrics;
use super::fetch::Fetch;
use super::issuer::{Issuer, check_url};

/// Most keys of one issuer; the rest of its list is not looked at.
const MAX_KEYS: usize = 100;

/// A key, and the algorithm it is meant for, where the issuer says so.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) algorithm: Option<Named>,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has no key of this name, or had none a moment ago.
    Unknown,
    /// It cannot be asked, and what it said last is too old.
    Unreachable,
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: Arc<Issuer>,
    fetch: Arc<dyn Fetch>,
    clock: Clock,
    known: Mutex<Known>,
    /// Held by the one who fetches.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<Key>>,
    fetched: Option<Instant>,
    /// When it was last tried, with whatever result.
    tried: Option<Instant>,
}

/// What is to be done about a key.
enum Look {
    /// It is there, and fresh enough.
    Found(Arc<Key>),
    /// It is there, but the list should be fetched again.
    Old(Arc<Key>),
    /// It is not there, and the list may be fetched.
    Missing,
    /// It is not there, and the list has just been tried.
    None(NoKey),
}

impl Keys {
    pub(super) fn new(issuer: Arc<Issuer>, fetch: Arc<dyn Fetch>, clock: Clock) -> Self {
        Keys {
            issuer,
            fetch,
            clock,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The key of this name.
    pub(super) async fn find(&self, name: &str) -> Result<Arc<Key>, NoKey> {
        match self.look(name) {
            Look::Found(key) => Ok(key),
            Look::None(why) => Err(why),
            // Only one has to wait for the issuer.
            Look::Old(key) => match self.turn.try_lock() {
                Err(_) => Ok(key),
                Ok(_turn) => {
                    self.refetch().await;
                    self.now(name)
                }
            },
            Look::Missing => {
                let _turn = self.turn.lock().await;
                // Somebody may have fetched while this one waited.
                if matches!(self.look(name), Look::Missing) {
                    self.refetch().await;
                }
                self.now(name)
            }
        }
    }

    fn look(&self, name: &str) -> Look {
        let known = locked(&self.known);
        let now = self.clock.now();
        let age = |since: Instant| now.saturating_duration_since(since);
        let may_fetch = known
            .tried
            .is_none_or(|tried| age(tried) >= self.issuer.refetch_after);
        let usable = known
            .fetched
            .is_some_and(|fetched| age(fetched) <= self.issuer.keys_stale);
        let fresh = known
            .fetched
            .is_some_and(|fetched| age(fetched) < self.issuer.keys_fresh);
        match known.keys.get(name).filter(|_| usable) {
            Some(key) if fresh || !may_fetch => Look::Found(key.clone()),
            Some(key) => Look::Old(key.clone()),
            None if may_fetch => Look::Missing,
            None if usable => Look::None(NoKey::Unknown),
            None => Look::None(NoKey::Unreachable),
        }
    }

    /// What is known now, without fetching.
    fn now(&self, name: &str) -> Result<Arc<Key>, NoKey> {
        match self.look(name) {
            Look::Found(key) | Look::Old(key) => Ok(key),
            Look::None(why) => Err(why),
            // With a bound of nothing between two fetches.
            Look::Missing => Err(NoKey::Unknown),
        }
    }

    async fn refetch(&self) {
        let (issuer, fetch) = (self.issuer.clone(), self.fetch.clone());
        let fetched = tokio::task::spawn_blocking(move || load(&issuer, &*fetch)).await;
        let fetched = fetched.unwrap_or_else(|error| Err(error.to_string()));
        metrics::keys_fetched(fetched.is_ok());
        let mut known = locked(&self.known);
        known.tried = Some(self.clock.now());
        match fetched {
            Ok(keys) => {
                known.fetched = known.tried;
                known.keys = keys;
            }
            Err(error) => {
                tracing::warn!(
                    issuer = self.issuer.name,
                    error,
                    "the keys of an issuer could not be fetched"
                );
            }
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeyList {
    keys: Vec<Value>,
}

fn load(issuer: &Issuer, fetch: &dyn Fetch) -> Result<HashMap<String, Arc<Key>>, String> {
    let url = match &issuer.jwks_url {
        Some(url) => url.clone(),
        None => discover(issuer, fetch)?,
    };
    let list = fetch.get(&url).map_err(|error| format!("{url}: {error}"))?;
    let list: KeyList = serde_json::from_slice(&list).map_err(|error| format!("{url}: {error}"))?;
    // One that is not understood does not keep the others from being used.
    let keys: HashMap<_, _> = list.keys.into_iter().take(MAX_KEYS).filter_map(key).collect();
    match keys.is_empty() {
        true => Err(format!("{url} has no key that can be used")),
        false => Ok(keys),
    }
}

fn discover(issuer: &Issuer, fetch: &dyn Fetch) -> Result<String, String> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.url.trim_end_matches('/')
    );
    let document = fetch.get(&url).map_err(|error| format!("{url}: {error}"))?;
    let found: Discovery = serde_json::from_slice(&document).map_err(|error| format!("{url}: {error}"))?;
    if found.issuer != issuer.url {
        return Err(format!("{url} speaks for another issuer, {:?}", found.issuer));
    }
    check_url(&found.jwks_uri).map_err(|error| format!("{url}: jwks_uri {error}"))?;
    Ok(found.jwks_uri)
}

fn key(value: Value) -> Option<(String, Arc<Key>)> {
    let algorithm = value.get("alg").and_then(Value::as_str).map(Named::from_str);
    let algorithm = algorithm.transpose().ok()?;
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    if !signs || key.family() == AlgorithmFamily::Hmac {
        return None;
    }
    Some((jwk.common.key_id?, Arc::new(Key { key, algorithm })))
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
