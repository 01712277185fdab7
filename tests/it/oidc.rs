//! Keyless CI: workload tokens of an issuer of the tests' own (API.md §2, docs/accounts.md).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Authority, Daemon, Issuer, PATIENCE, Request, Response, Setup, Signer, basic, bearer, file_path, within,
};

/// A daemon that lets jobs of `acme/*` on their main branch write `ci/*`, and any job of `acme/*` read `deps/*`.
fn daemon(issuer: &Issuer) -> Daemon {
    daemon_with(issuer, "")
}

/// The same, with one more line about the issuer.
fn daemon_with(issuer: &Issuer, more: &str) -> Daemon {
    let url = issuer.url();
    let setup = Setup::default().config(&format!(
        r#"
[log]
level = "debug"
[[oidc]]
name = "forge"
issuer = "{url}"
audience = "larder"
algorithms = ["RS256", "ES256"]
refetch_after = "1s"
{more}
[[oidc.rules]]
claims = {{ repository = "acme/*", ref = "refs/heads/main" }}
packages = "ci/*"
permission = "write"
[[oidc.rules]]
claims = {{ repository = "acme/*" }}
packages = "deps/*"
permission = "read"
"#
    ));
    let daemon = setup.start();
    for (name, visibility) in [
        ("ci", "private"),
        ("deps", "private"),
        ("other", "private"),
        ("open", "public"),
    ] {
        let fields = json!({"username": name, "visibility": visibility});
        let created = daemon.as_admin(Request::new("POST", "/api/v1/orgs").json(&fields));
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(daemon.put(&file_path(name, "app", "1", "f"), name), 201);
    }
    daemon
}

fn put(daemon: &Daemon, token: &str, owner: &str, version: &str) -> Response {
    let request = Request::put(&file_path(owner, "app", version, "f"), "x");
    daemon.send(&request.header("Authorization", bearer(token)))
}

fn changed(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn a_job_comes_in_without_a_secret_and_does_what_its_rules_grant() {
    let issuer = Issuer::start();
    let (rsa, curve) = (Signer::rs256("rsa"), Signer::es256("curve"));
    issuer.list(&[&rsa, &curve]);
    let daemon = daemon(&issuer);
    for (name, signer) in [("rsa", &rsa), ("curve", &curve)] {
        let token = signer.token(&issuer.claims());
        // As a bearer token, as a password (ccache, curl), and in the query.
        let forms = [
            Request::put(&file_path("ci", name, "bearer", "f"), "x").header("Authorization", bearer(&token)),
            Request::put(&file_path("ci", name, "basic", "f"), "x")
                .header("Authorization", basic("ci", &token)),
            Request::put(
                &format!("{}?token={token}", file_path("ci", name, "query", "f")),
                "x",
            ),
        ];
        for request in &forms {
            let answer = daemon.send(request);
            assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        }
        let send = |request: Request| {
            daemon
                .send(&request.header("Authorization", bearer(&token)))
                .status
        };
        let file = |owner: &str| file_path(owner, "app", "1", "f");
        for (owner, reads, writes) in [
            ("ci", 200, 204),
            ("deps", 200, 401),
            ("other", 401, 401),
            ("open", 200, 401),
        ] {
            assert_eq!(send(Request::get(&file(owner))), reads, "{owner}");
            if owner != "ci" {
                assert_eq!(send(Request::delete(&file(owner))), writes, "{owner}");
            }
            let list = if owner == "ci" || owner == "deps" {
                200
            } else {
                403
            };
            assert_eq!(
                send(Request::get(&format!("/api/v1/packages/{owner}"))),
                list,
                "{owner}"
            );
        }
        assert_eq!(send(Request::get(&file("nobody"))), 404);
        for path in [
            "/api/v1/user",
            "/api/v1/admin/users",
            "/api/v1/users/admin/tokens",
        ] {
            assert_eq!(send(Request::get(path)), 403, "{path}");
        }
        let organisation = Request::new("POST", "/api/v1/orgs").json(&json!({"username": "mine"}));
        assert_eq!(send(organisation), 403);
    }
    assert_eq!(issuer.fetches(), 1, "keys and verified tokens are remembered");
    let shown = daemon.get("/api/v1/packages/ci/generic/rsa/bearer");
    assert_eq!(shown.json()["creator"]["login"], json!("ci"));
    let ok = "method=\"oidc\",result=\"ok\"";
    assert!(daemon.metric("larder_auth_attempts_total", ok) > 20);
    assert_eq!(daemon.metric("larder_oidc_key_fetches_total", "result=\"ok\""), 1);
}

#[test]
fn what_is_wrong_with_a_token_is_refused_even_on_public_files() {
    let issuer = Issuer::start();
    let signer = Signer::es256("k");
    issuer.list(&[&signer]);
    let daemon = daemon(&issuer);
    let claims = issuer.claims();
    let now = claims["iat"].as_u64().unwrap();
    let signed = |changes: Value| signer.token(&changed(&claims, changes));
    let none = {
        let token = signer.token_with(&json!({"alg": "none", "kid": "k"}), &claims);
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let plain = "invalid username, password or token";
    for (what, token, message) in [
        (
            "audience",
            signed(json!({"aud": "somebody else"})),
            "another audience",
        ),
        ("expired", signed(json!({"exp": now - 120})), "expired"),
        ("not yet", signed(json!({"nbf": now + 600})), "not valid yet"),
        (
            "wrong claim",
            signed(json!({"repository": "evil/app"})),
            "no rule",
        ),
        ("no subject", signed(json!({"sub": null})), "lacks the claim sub"),
        (
            "another issuer",
            signed(json!({"iss": "http://127.0.0.1:1"})),
            plain,
        ),
        ("a stranger's key", Signer::es256("k").token(&claims), plain),
        ("no signature", none, plain),
        (
            "HMAC",
            signer.token_with(&json!({"alg": "HS256", "kid": "k"}), &claims),
            plain,
        ),
        (
            "a curve's key for RSA",
            signer.token_with(&json!({"alg": "RS256", "kid": "k"}), &claims),
            plain,
        ),
    ] {
        let expected = if token.ends_with('.') { plain } else { message };
        for request in [
            Request::get(&file_path("open", "app", "1", "f")),
            Request::put(&file_path("ci", "app", "2", "f"), "x"),
        ] {
            let answer = daemon.send(&request.header("Authorization", bearer(&token)));
            assert_eq!(answer.status, 401, "{what}: {}", answer.text());
            assert!(answer.text().contains(expected), "{what}: {}", answer.text());
            assert_eq!(answer.header("www-authenticate"), None, "{what}");
        }
    }
    let branch = signed(json!({"ref": "refs/heads/topic"}));
    assert_eq!(
        put(&daemon, &branch, "ci", "3").status,
        401,
        "it may only read deps"
    );
    let good = signed(json!({"exp": now - 30}));
    assert_eq!(
        put(&daemon, &good, "ci", "4").status,
        201,
        "clocks may differ by a minute"
    );
    let log = daemon.stderr();
    assert!(log.contains("a workload token is not accepted"), "{log}");
    assert!(!log.contains("eyJ"), "tokens do not reach the log");
}

#[test]
fn rotated_keys_are_found_and_unknown_ones_do_not_make_the_issuer_busy() {
    let issuer = Issuer::start();
    let (old, new) = (Signer::es256("old"), Signer::rs256("new"));
    issuer.list(&[&old]);
    let daemon = daemon(&issuer);
    let before = old.token(&issuer.claims());
    assert_eq!(put(&daemon, &before, "ci", "by-old").status, 201);
    issuer.list(&[&new]);
    let mut version = 0;
    let mut write_with = |signer: &Signer| {
        version += 1;
        // Each a token never seen before.
        let token = signer.token(&changed(&issuer.claims(), json!({"jti": version})));
        put(&daemon, &token, "ci", &format!("v{version}")).status
    };
    assert!(
        within(PATIENCE, || write_with(&new) == 201),
        "the new key is found"
    );
    assert_eq!(write_with(&old), 401, "the old one is forgotten");

    let (began, fetched) = (Instant::now(), issuer.fetches());
    for number in 0..300 {
        let token = Signer::es256(&format!("no {number}")).token(&issuer.claims());
        assert_eq!(put(&daemon, &token, "ci", "no").status, 401);
    }
    let (asked, seconds) = (issuer.fetches() - fetched, began.elapsed().as_secs());
    assert!(
        asked as u64 <= seconds + 2,
        "{asked} fetches in {seconds} s for 300 unknown keys"
    );
    assert_eq!(write_with(&new), 201);
}

#[test]
fn an_issuer_that_is_away_is_bridged_by_what_it_said() {
    let issuer = Issuer::start();
    let signer = Signer::es256("k");
    issuer.list(&[&signer]);
    issuer.set_away(true);
    let daemon = daemon(&issuer);
    let token = || signer.token(&issuer.claims());
    let refused = put(&daemon, &token(), "ci", "2");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    let other = daemon.get(&file_path("open", "app", "1", "f"));
    assert_eq!(other.status, 200, "others do not notice");
    issuer.set_away(false);
    assert!(within(PATIENCE, || put(&daemon, &token(), "ci", "2").status == 201));
    issuer.set_away(true);
    std::thread::sleep(Duration::from_millis(1100));
    let later = signer.token(&changed(&issuer.claims(), json!({"jti": "later"})));
    assert_eq!(put(&daemon, &later, "ci", "3").status, 201);
    let failed = "method=\"oidc\",result=\"failed\"";
    assert!(daemon.metric("larder_auth_attempts_total", failed) >= 1);
}

#[test]
fn a_configuration_that_would_open_too_much_is_refused() {
    for (text, message) in [
        ("issuer = \"http://forge.example\"", "only for this machine"),
        ("audience = \"\"", "oidc[0].audience: is empty"),
        (
            "algorithms = [\"none\"]",
            "is not an algorithm that can be accepted",
        ),
        (
            "algorithms = [\"HS256\"]",
            "is not an algorithm that can be accepted",
        ),
        ("algorithms = []", "no token would be accepted"),
        ("leeway = \"1day\"", "oidc[0].leeway"),
        ("rules = []", "an issuer has 1 to"),
        (
            "rules = [{ claims = {}, packages = \"ci/*\", permission = \"write\" }]",
            "wildcard",
        ),
        (
            "rules = [{ claims = { ref = \"main\" }, packages = \"ci/*\", permission = \"write\" }]",
            "whose job",
        ),
        (
            "rules = [{ claims = { sub = \"a[\" }, packages = \"ci/*\", permission = \"write\" }]",
            "the glob of sub",
        ),
        (
            "rules = [{ claims = { sub = \"a\" }, packages = \"ci\", permission = \"write\" }]",
            "oidc[0].rules[0]",
        ),
        (
            "rules = [{ claims = { sub = \"a\" }, packages = \"ci/*\", permission = \"all\" }]",
            "not a permission",
        ),
        ("ca_file = \"/nonexistent.pem\"", "cannot be read"),
        ("secret = \"x\"", "secret"),
    ] {
        let field = text.split(' ').next().unwrap();
        let defaults = [
            ("name", "\"forge\""),
            ("issuer", "\"https://gitlab.com\""),
            ("audience", "\"larder\""),
            (
                "rules",
                "[{ claims = { sub = \"a\" }, packages = \"ci/*\", permission = \"write\" }]",
            ),
        ];
        let mut config = String::from("[[oidc]]\n");
        for (name, value) in defaults.iter().filter(|(name, _)| *name != field) {
            config.push_str(&format!("{name} = {value}\n"));
        }
        config.push_str(text);
        let daemon = Setup::default().config(&config).prepare();
        let path = daemon.config_path();
        let output = daemon.run(&["check-config", "--config", path.to_str().unwrap()], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {told}");
        assert!(told.contains(message), "{text}: {told}");
    }
}

#[test]
fn keys_come_over_tls_from_whom_an_authority_vouches_for() {
    let authority = Authority::new();
    let issuer = Issuer::start_tls(authority.server());
    let signer = Signer::es256("k");
    issuer.list(&[&signer]);
    let token = signer.token(&issuer.claims());
    let stranger = daemon(&issuer);
    assert_eq!(
        put(&stranger, &token, "ci", "2").status,
        503,
        "nobody knows this authority"
    );
    assert_eq!(issuer.fetches(), 0);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let line = format!("ca_file = \"{}\"", file.display());
    let daemon = daemon_with(&issuer, &line);
    let answer = put(&daemon, &token, "ci", "2");
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// What is taken out of the configuration must not wait for a restart to be locked out.
#[test]
fn a_reload_takes_rights_away_at_once_and_gives_others() {
    let issuer = Issuer::start();
    let signer = Signer::rs256("one");
    issuer.list(&[&signer]);
    let daemon = daemon(&issuer);
    let token = signer.token(&issuer.claims());
    let status = |owner: &str, version: &str| put(&daemon, &token, owner, version).status;
    let reload = |config: &str| {
        std::fs::write(daemon.config_path(), config).unwrap();
        let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/reload"));
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()
    };
    let before = std::fs::read_to_string(daemon.config_path()).unwrap();
    assert_eq!((status("ci", "2"), status("other", "2")), (201, 401));
    assert_eq!(reload(&before), json!({"applied": [], "needs_restart": []}));
    assert_eq!(
        (status("ci", "3"), issuer.fetches()),
        (201, 1),
        "nothing was forgotten"
    );

    let moved = before.replace("packages = \"ci/*\"", "packages = \"other/*\"");
    assert_eq!(reload(&moved), json!({"applied": ["oidc"], "needs_restart": []}));
    assert_eq!((status("ci", "4"), status("other", "4")), (401, 201));

    assert_eq!(reload("[log]\nlevel = \"debug\"\n")["applied"], json!(["oidc"]));
    let refused = put(&daemon, &token, "other", "5");
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (401, "invalid username, password or token")
    );
}

/// The file of authorities is read again as well, though its name stays.
#[test]
fn a_reload_reads_the_authorities_again() {
    let authority = Authority::new();
    let issuer = Issuer::start_tls(authority.server());
    let signer = Signer::es256("k");
    issuer.list(&[&signer]);
    let token = signer.token(&issuer.claims());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, Authority::new().pem()).unwrap();
    let daemon = daemon_with(&issuer, &format!("ca_file = \"{}\"", file.display()));
    let reload = || {
        daemon
            .as_admin(Request::new("POST", "/api/v1/admin/reload"))
            .json()
    };
    assert_eq!(put(&daemon, &token, "ci", "2").status, 503);
    assert_eq!(reload(), json!({"applied": [], "needs_restart": []}));
    std::fs::write(&file, authority.pem()).unwrap();
    assert_eq!(reload(), json!({"applied": ["oidc"], "needs_restart": []}));
    let answer = put(&daemon, &token, "ci", "2");
    assert_eq!(answer.status, 201, "{}", answer.text());
}
