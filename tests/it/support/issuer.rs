//! An issuer of workload tokens on loopback: discovery, a list of keys, and tokens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// For the tests alone; no issuer in the world has it.
const RSA_KEY: &[u8] = include_bytes!("../../fixtures/issuer/rsa.pk8");

/// A running issuer. It ends with the test.
pub struct Issuer {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: Mutex<Vec<Value>>,
    /// Answers 503.
    away: AtomicBool,
    stopped: AtomicBool,
    fetches: AtomicUsize,
}

impl Issuer {
    /// Starts one that has no keys yet.
    pub fn start() -> Self {
        Self::serve(None)
    }

    /// Starts one that speaks TLS, with a certificate for 127.0.0.1.
    pub fn start_tls(config: ServerConfig) -> Self {
        Self::serve(Some(Arc::new(config)))
    }

    fn serve(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        let shared = Arc::new(Shared::default());
        let (served, named) = (shared.clone(), url.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if served.stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up early is none of the issuer's business.
                let _ = client.set_read_timeout(Some(super::PATIENCE));
                let _ = match &tls {
                    None => answer(&client, &named, &served),
                    Some(config) => ServerConnection::new(config.clone())
                        .map_err(std::io::Error::other)
                        .and_then(|server| answer(StreamOwned::new(server, client), &named, &served)),
                };
            }
        });
        Issuer { address, url, shared }
    }

    /// The claim `iss`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Lists these keys from now on.
    pub fn list(&self, keys: &[&Signer]) {
        *self.shared.keys.lock().unwrap() = keys.iter().map(|key| key.listed()).collect();
    }

    /// Is there, or not.
    pub fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    /// How often the keys were asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// The claims of a job of `acme/app` on its main branch.
    pub fn claims(&self) -> Value {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time after 1970");
        let now = now.as_secs();
        json!({
            "iss": self.url(), "aud": "larder", "sub": "repo:acme/app:ref:refs/heads/main",
            "repository": "acme/app", "ref": "refs/heads/main", "iat": now, "nbf": now, "exp": now + 300,
        })
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut client: impl Read + Write, url: &str, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut client).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let document = match path {
        "/.well-known/openid-configuration" => {
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
        }
        "/keys" => {
            shared.fetches.fetch_add(1, Ordering::SeqCst);
            json!({"keys": *shared.keys.lock().unwrap()})
        }
        _ => Value::Null,
    };
    let status = match shared.away.load(Ordering::SeqCst) {
        true => "503 Service Unavailable",
        false => "200 OK",
    };
    let body = document.to_string();
    let length = body.len();
    drop(lines);
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A key of the issuer.
pub struct Signer {
    name: String,
    pair: Pair,
}

enum Pair {
    Curve(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    /// A new ECDSA key: ES256.
    pub fn es256(name: &str) -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).expect("a key that was just made");
        Signer {
            name: name.to_owned(),
            pair: Pair::Curve(Box::new(pair)),
        }
    }

    /// The RSA key of the tests: RS256.
    pub fn rs256(name: &str) -> Self {
        let pair = RsaKeyPair::from_pkcs8(RSA_KEY).expect("the key of the fixture");
        Signer {
            name: name.to_owned(),
            pair: Pair::Rsa(Box::new(pair)),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Curve(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    fn listed(&self) -> Value {
        let mut listed = match &self.pair {
            Pair::Curve(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..]);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)})
            }
            Pair::Rsa(pair) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": base64(&public.n), "e": base64(&public.e)})
            }
        };
        listed["kid"] = json!(self.name);
        listed["use"] = json!("sig");
        listed["alg"] = json!(self.algorithm());
        listed
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(
            &json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.name}),
            claims,
        )
    }

    /// A token with a header of the caller's making.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Curve(pair) => {
                let signature = pair.sign(&random, message.as_bytes());
                signature.expect("a signature").as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
        };
        format!("{message}.{}", base64(&signature))
    }
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
