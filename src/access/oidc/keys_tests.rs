#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;

use super::super::testing::{Documents, Signer, issuer};
use super::*;

struct Bench {
    keys: Keys,
    documents: Arc<Documents>,
    elapsed: Arc<Mutex<Duration>>,
}

impl Bench {
    fn new(configured: Issuer) -> Self {
        let documents = Arc::new(Documents::default());
        let elapsed = Arc::new(Mutex::new(Duration::ZERO));
        let (start, read) = (Instant::now(), elapsed.clone());
        let clock = Clock::from_fn(move || start + *locked(&read));
        Bench {
            keys: Keys::new(Arc::new(configured), documents.clone(), clock),
            documents,
            elapsed,
        }
    }

    fn pass(&self, seconds: u64) {
        *locked(&self.elapsed) += Duration::from_secs(seconds);
    }

    async fn find(&self, name: &str) -> Result<(), NoKey> {
        self.keys.find(name).await.map(drop)
    }
}

#[tokio::test]
async fn keys_are_fetched_when_needed_and_again_when_old() {
    let bench = Bench::new(issuer());
    bench.documents.list(&[Signer::new("a").listed()]);
    assert_eq!(bench.documents.fetches(), 0);
    for _ in 0..3 {
        assert_eq!(bench.find("a").await, Ok(()));
    }
    assert_eq!(bench.documents.fetches(), 1);
    bench.pass(3600);
    assert_eq!(bench.find("a").await, Ok(()));
    assert_eq!(bench.documents.fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_forgotten() {
    let bench = Bench::new(issuer());
    bench.documents.list(&[Signer::new("old").listed()]);
    assert_eq!(bench.find("old").await, Ok(()));
    bench.documents.list(&[Signer::new("new").listed()]);
    assert_eq!(bench.find("new").await, Err(NoKey::Unknown), "just asked");
    bench.pass(10);
    assert_eq!(bench.find("new").await, Ok(()));
    assert_eq!(bench.find("old").await, Err(NoKey::Unknown));
}

#[tokio::test]
async fn unknown_names_do_not_make_the_issuer_busy() {
    let bench = Bench::new(issuer());
    bench.documents.list(&[Signer::new("a").listed()]);
    for number in 0..1000 {
        assert_eq!(bench.find(&format!("no {number}")).await, Err(NoKey::Unknown));
    }
    assert_eq!(bench.documents.fetches(), 1);
    bench.pass(10);
    let names: Vec<_> = (0..100).map(|number| format!("not {number}")).collect();
    let all = names.iter().map(|name| bench.find(name));
    futures_util::future::join_all(all).await;
    assert_eq!(bench.documents.fetches(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_bridged_for_a_time() {
    let bench = Bench::new(issuer());
    assert_eq!(bench.find("a").await, Err(NoKey::Unreachable));
    assert_eq!(bench.find("a").await, Err(NoKey::Unreachable));
    assert_eq!(bench.documents.fetches(), 0, "discovery failed, once");
    bench.pass(10);
    bench.documents.list(&[Signer::new("a").listed()]);
    assert_eq!(bench.find("a").await, Ok(()));
    bench.documents.go_away();
    bench.pass(86_400);
    assert_eq!(bench.find("a").await, Ok(()));
    assert_eq!(bench.find("b").await, Err(NoKey::Unknown));
    bench.pass(1);
    assert_eq!(bench.find("a").await, Err(NoKey::Unreachable));
}

#[tokio::test]
async fn only_keys_that_can_sign_are_taken() {
    let bench = Bench::new(issuer());
    let good = Signer::new("good").listed();
    let mut encrypts = Signer::new("encrypts").listed();
    encrypts["use"] = json!("enc");
    let mut nameless = good.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    let secret = json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"});
    let odd = json!({"kty": "post-quantum", "kid": "odd"});
    bench
        .documents
        .list(&[odd, secret, json!(5), encrypts, nameless, good]);
    assert_eq!(bench.find("good").await, Ok(()));
    for name in ["odd", "secret", "encrypts"] {
        assert_eq!(bench.find(name).await, Err(NoKey::Unknown), "{name}");
    }
}

#[tokio::test]
async fn discovery_is_not_led_astray() {
    let keys = json!({"keys": [Signer::new("a").listed()]});
    for (discovery, found) in [
        (
            json!({"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/k"}),
            Ok(()),
        ),
        (
            json!({"issuer": "https://other.example", "jwks_uri": "https://issuer.example/k"}),
            Err(NoKey::Unreachable),
        ),
        (
            json!({"issuer": "https://issuer.example", "jwks_uri": "http://issuer.example/k"}),
            Err(NoKey::Unreachable),
        ),
        (
            json!({"issuer": "https://issuer.example"}),
            Err(NoKey::Unreachable),
        ),
        (json!([]), Err(NoKey::Unreachable)),
    ] {
        let bench = Bench::new(issuer());
        bench.documents.put("/k", keys.clone());
        bench
            .documents
            .put("/.well-known/openid-configuration", discovery.clone());
        assert_eq!(bench.find("a").await, found, "{discovery}");
    }
    let direct = Bench::new(Issuer {
        jwks_url: Some("https://issuer.example/direct".to_owned()),
        ..issuer()
    });
    direct.documents.put("/direct", keys);
    assert_eq!(direct.find("a").await, Ok(()));
}
