//! An issuer in memory.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::super::locked;
use super::fetch::Fetch;
use super::{Algorithm, Issuer, Rule};

pub const URL: &str = "https://issuer.example";

/// The issuer as it is configured: tokens of `acme/*` may write `ci/*`.
pub fn issuer() -> Issuer {
    let claims = [("repository".to_owned(), "acme/*".to_owned())];
    Issuer {
        name: "test".to_owned(),
        url: URL.to_owned(),
        audience: "larder".to_owned(),
        jwks_url: None,
        authorities: None,
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
        leeway: Duration::from_secs(60),
        keys_fresh: Duration::from_secs(3600),
        keys_stale: Duration::from_secs(86_400),
        refetch_after: Duration::from_secs(10),
        rules: vec![Rule::new(URL, &claims, "ci/*", true).unwrap()],
    }
}

/// An ECDSA key of the issuer.
pub struct Signer {
    name: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub fn new(name: &str) -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Signer {
            name: name.to_owned(),
            pair: EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap(),
        }
    }

    /// As it stands in the issuer's list.
    pub fn listed(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.name,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        })
    }

    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": "ES256", "typ": "JWT", "kid": self.name}), claims)
    }

    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// The issuer's documents, by URL.
#[derive(Default)]
pub struct Documents {
    documents: Mutex<HashMap<String, Value>>,
    /// How often the list of keys was asked for.
    pub fetches: AtomicUsize,
}

impl Documents {
    /// Answers with these keys.
    pub fn list(&self, keys: &[Value]) {
        let mut documents = locked(&self.documents);
        documents.insert(format!("{URL}/keys"), json!({"keys": keys}));
        documents.insert(
            format!("{URL}/.well-known/openid-configuration"),
            json!({"issuer": URL, "jwks_uri": format!("{URL}/keys")}),
        );
    }

    /// Answers with something else.
    pub fn put(&self, path: &str, document: Value) {
        locked(&self.documents).insert(format!("{URL}{path}"), document);
    }

    /// Does not answer any more.
    pub fn go_away(&self) {
        locked(&self.documents).clear();
    }

    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl Fetch for Documents {
    fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        if !url.contains("well-known") {
            self.fetches.fetch_add(1, Ordering::SeqCst);
        }
        let found = locked(&self.documents).get(url).map(Value::to_string);
        found.map(String::into_bytes).ok_or_else(|| "gone".to_owned())
    }
}
