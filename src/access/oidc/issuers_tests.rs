#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::super::super::permission::Action;
use super::super::testing::{Documents, Signer, URL, issuer};
use super::super::{Algorithm, Rule};
use super::*;

struct Bench {
    issuers: Issuers,
    signer: Signer,
    documents: Arc<Documents>,
}

impl Bench {
    fn new() -> Self {
        Self::of(issuer())
    }

    fn of(issuer: Issuer) -> Self {
        let documents = Arc::new(Documents::default());
        let signer = Signer::new("k");
        documents.list(&[signer.listed()]);
        Bench {
            issuers: Issuers::with(vec![issuer], Clock::system(), |_| documents.clone()),
            signer,
            documents,
        }
    }

    async fn verify(&self, token: &str) -> Result<(), Rejected> {
        self.issuers.verify(token).await.map(drop)
    }
}

/// Good claims, with some changed; `null` takes one away.
fn claims(changes: &Value) -> Value {
    let now = wall_millis() / 1000;
    let mut claims = json!({
        "iss": URL, "aud": "larder", "sub": "repo:acme/app", "repository": "acme/app",
        "iat": now, "nbf": now, "exp": now + 300,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[tokio::test]
async fn a_job_gets_what_the_rules_say() {
    let read = [("repository".to_owned(), "acme/app".to_owned())];
    let rules = vec![
        issuer().rules.remove(0),
        Rule::new(URL, &read, "deps/*", false).unwrap(),
    ];
    let bench = Bench::of(Issuer { rules, ..issuer() });
    let token = bench.signer.token(&claims(&json!({})));
    let workload = bench.issuers.verify(&token).await.unwrap();
    assert_eq!((&*workload.issuer, &*workload.subject), ("test", "repo:acme/app"));
    let may = |owner, action| workload.grants.cover(owner, Some("x"), action);
    assert!(may("ci", Action::Write) && may("CI", Action::Delete) && may("ci", Action::Read));
    assert!(may("deps", Action::Read) && !may("deps", Action::Write));
    assert!(!may("other", Action::Read));
}

#[tokio::test]
async fn claims_are_checked() {
    let bench = Bench::new();
    let now = wall_millis() / 1000;
    let lacks = |claim: &str| Err(Rejected::Lacks(claim.to_owned()));
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"aud": ["other", "larder"]}), Ok(())),
        (json!({"exp": now - 30, "nbf": now + 30, "iat": now + 30}), Ok(())),
        (json!({"nbf": null, "iat": null}), Ok(())),
        (json!({"exp": now - 70}), Err(Rejected::Expired)),
        (json!({"nbf": now + 70}), Err(Rejected::Early)),
        (json!({"iat": now + 70}), Err(Rejected::Early)),
        (json!({"aud": "other"}), Err(Rejected::Audience)),
        (json!({"aud": []}), Err(Rejected::Audience)),
        (json!({"aud": null}), lacks("aud")),
        (json!({"sub": null}), lacks("sub")),
        (json!({"exp": null}), lacks("exp")),
        (json!({"exp": "soon"}), lacks("exp")),
        (json!({"iss": null}), Err(Rejected::Unknown)),
        (json!({"iss": "https://issuer.example/"}), Err(Rejected::Unknown)),
        (json!({"iss": ["https://issuer.example"]}), Err(Rejected::Unknown)),
        (json!({"repository": "evil/app"}), Err(Rejected::NoRule)),
        (json!({"repository": null}), Err(Rejected::NoRule)),
    ] {
        let token = bench.signer.token(&claims(&changes));
        assert_eq!(bench.verify(&token).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn only_the_issuers_signature_counts() {
    let bench = Bench::new();
    let good = bench.signer.token(&claims(&json!({})));
    let stranger = Signer::new("k").token(&claims(&json!({})));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let payload = message.split('.').nth(1).unwrap();
    let head = |header: Value| URL_SAFE_NO_PAD.encode(header.to_string());
    let none = format!("{}.{payload}.", head(json!({"alg": "none", "kid": "k"})));
    let mut forged = claims(&json!({}));
    forged["repository"] = json!("acme/other");
    let forged = format!(
        "{}.{}.{signature}",
        message.split('.').next().unwrap(),
        URL_SAFE_NO_PAD.encode(forged.to_string())
    );
    // The public key as the secret of an HMAC: the classic confusion.
    let confused = format!("{}.{payload}", head(json!({"alg": "HS256", "kid": "k"})));
    let secret = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        bench.signer.listed()["x"].as_str().unwrap().as_bytes(),
    );
    let tag = ring::hmac::sign(&secret, confused.as_bytes());
    let confused = format!("{confused}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    let with = |header: Value| bench.signer.token_with(&header, &claims(&json!({})));
    for (what, token) in [
        ("a stranger's key", stranger),
        ("no algorithm", none.clone()),
        ("no algorithm, with a signature", format!("{none}{signature}")),
        ("other claims", forged),
        ("an HMAC", confused),
        ("another algorithm", with(json!({"alg": "ES384", "kid": "k"}))),
        (
            "RSA with a curve's key",
            with(json!({"alg": "RS256", "kid": "k"})),
        ),
        ("no key", with(json!({"alg": "ES256"}))),
        (
            "a critical extension",
            with(json!({"alg": "ES256", "kid": "k", "crit": ["b64"]})),
        ),
        ("half a token", good[..good.len() / 2].to_owned()),
        ("too long a token", format!("{good}{}", "A".repeat(MAX_TOKEN))),
    ] {
        assert_eq!(bench.verify(&token).await, Err(Rejected::Unknown), "{what}");
    }
    assert_eq!(bench.verify(&good).await, Ok(()));
}

#[tokio::test]
async fn algorithms_are_those_of_the_configuration() {
    let bench = Bench::of(Issuer {
        algorithms: vec![Algorithm::Rs256],
        ..issuer()
    });
    let token = bench.signer.token(&claims(&json!({})));
    assert_eq!(bench.verify(&token).await, Err(Rejected::Unknown));
    // A key that the issuer means for something else.
    let bench = Bench::new();
    let mut listed = bench.signer.listed();
    listed["alg"] = json!("ES384");
    bench.documents.list(&[listed]);
    let token = bench.signer.token(&claims(&json!({})));
    assert_eq!(bench.verify(&token).await, Err(Rejected::Unknown));
}

#[tokio::test]
async fn a_verified_token_is_remembered_until_it_expires() {
    let bench = Bench::of(Issuer {
        leeway: Duration::ZERO,
        ..issuer()
    });
    let soon = wall_millis() / 1000 + 4;
    let token = bench.signer.token(&claims(&json!({"exp": soon})));
    assert_eq!(bench.verify(&token).await, Ok(()));
    bench.documents.go_away();
    assert_eq!(bench.verify(&token).await, Ok(()));
    assert_eq!(locked(&bench.issuers.verified).len(), 1);
    while wall_millis() / 1000 <= soon {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.verify(&token).await, Err(Rejected::Expired));
}
