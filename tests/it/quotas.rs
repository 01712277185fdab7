//! Quotas and settings of owners (API.md §1 and §6): refused before and after the body, never overshot, and counted
//! right whatever happens.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Conn, Daemon, MIB, PATIENCE, Request, Response, Rng, Setup, Used, alone, basic, bearer, file_path, found,
    recipe, response_of, seeded_bytes, tally, together, within,
};

const BYTES: &str = "maximum allowed package storage quota exceeded";
const VERSIONS: &str = "maximum allowed package count exceeded";

/// A daemon with an owner, `alice`, and a token of hers.
struct Site {
    daemon: Daemon,
    token: String,
}

impl Site {
    /// Starts anew after kill -9, every fourth time without an index.
    fn begin_again(&mut self, round: u64) {
        self.daemon.kill9();
        if round % 4 == 3 {
            std::fs::remove_dir_all(self.daemon.data().join("index")).unwrap();
        }
        self.daemon.start();
    }

    fn start(setup: Setup) -> Self {
        let daemon = setup.start();
        daemon.create_user("alice", "password of alice", "public");
        let token = daemon.create_token("alice", &["write:package"]);
        Site { daemon, token }
    }

    fn under(policy: &str) -> Self {
        Site::start(Setup::default().policy("alice/*", policy))
    }

    /// A request of alice.
    fn by_alice(&self, request: Request) -> Request {
        request.header("Authorization", bearer(&self.token))
    }

    /// PUTs as alice, sending everything before it reads.
    fn put(&self, version: &str, file: &str, body: impl Into<Vec<u8>>) -> Response {
        let request = Request::put(&file_path("alice", "app", version, file), body);
        self.daemon.send(&self.by_alice(request))
    }

    #[track_caller]
    fn assert_put(&self, version: &str, file: &str, bytes: usize, status: u16, text: &str) {
        let answer = self.put(version, file, seeded_bytes(bytes as u64, bytes));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{version}/{file}"
        );
    }

    /// Deletes as alice.
    fn delete(&self, below: &str) {
        let target = format!("/api/packages/alice/generic/app/{below}");
        assert_eq!(
            self.daemon.send(&self.by_alice(Request::delete(&target))).status,
            204
        );
    }

    fn used(&self) -> Used {
        self.daemon.used("alice")
    }

    fn set(&self, fields: Value) {
        self.daemon.set_owner("alice", fields);
    }

    /// The status and text of a PUT of which only the head is sent; `None` if the daemon wants the body.
    fn head_only(&self, version: &str, headers: &[(&str, &str)]) -> Option<(u16, String)> {
        let mut request =
            Request::new("PUT", &file_path("alice", "app", version, "f")).header("Expect", "100-continue");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let mut connection = self.daemon.connect();
        connection.write(&self.by_alice(request).head_bytes()).unwrap();
        let answer = connection.read_response("PUT").unwrap();
        (answer.status != 100).then(|| (answer.status, answer.text()))
    }
}

#[test]
fn bytes_are_counted_in_full_and_may_reach_the_limit() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": "1KiB"}));
    site.assert_put("1", "f", 1000, 201, "");
    // The same bytes are stored once and count twice.
    site.assert_put("2", "f", 25, 403, BYTES);
    site.daemon.assert_nothing_of("alice", "app", "2");
    assert_eq!(site.used(), (1000, 1, 1));
    site.assert_put("2", "f", 24, 201, "");
    site.assert_put("2", "empty", 0, 201, "");
    site.assert_put("2", "g", 1, 403, BYTES);
    assert_eq!(site.used(), (1024, 2, 3));
    assert_eq!(site.used(), site.daemon.recount("alice"));
    // Other owners have their own.
    assert_eq!(
        site.daemon
            .put(&file_path("admin", "app", "1", "f"), seeded_bytes(1, 5000)),
        201
    );
    let denied = Request::put(&file_path("alice", "app", "3", "f"), "x").header("Accept", "application/json");
    let problem = site.daemon.send(&site.by_alice(denied));
    assert_eq!(problem.json()["code"], "quota-bytes", "{}", problem.text());
    assert_eq!(problem.json()["detail"], BYTES);
}

#[test]
fn versions_are_limited_and_files_may_still_join() {
    let site = Site::under("package");
    site.set(json!({"max_versions": 2}));
    for version in ["1", "2"] {
        site.assert_put(version, "f", 10, 201, "");
    }
    site.assert_put("3", "f", 10, 403, VERSIONS);
    site.daemon.assert_nothing_of("alice", "app", "3");
    let other = Request::put(&file_path("alice", "lib", "1", "f"), "x");
    assert_eq!(
        site.daemon.send(&site.by_alice(other)).text(),
        VERSIONS,
        "over all packages"
    );
    site.assert_put("1", "g", 10, 201, "");
    assert_eq!(
        site.head_only("3", &[("Content-Length", "1")]),
        Some((403, VERSIONS.to_owned()))
    );
    assert_eq!(
        site.head_only("3", &[("Transfer-Encoding", "chunked")]),
        Some((403, VERSIONS.to_owned()))
    );
    site.delete("2");
    site.assert_put("3", "f", 10, 201, "");
}

#[test]
fn the_size_of_one_file_is_413_and_says_the_limit() {
    let site = Site::start(Setup::default().config("[limits]\nmax_file_size = \"1 KiB\"\n"));
    let refused = |bytes: usize, limit: &str| {
        let answer = site.put("1", "f", seeded_bytes(2, bytes));
        assert_eq!(answer.status, 413, "{bytes}: {}", answer.text());
        assert!(answer.text().contains(limit), "{}", answer.text());
        let chunked = Request::put(&file_path("alice", "app", "1", "f"), seeded_bytes(2, bytes)).chunked(100);
        assert_eq!(site.daemon.send(&site.by_alice(chunked)).status, 413);
        site.daemon.assert_nothing_of("alice", "app", "1");
    };
    refused(1025, "1024 bytes");
    site.set(json!({"max_file_size": 100}));
    refused(101, "100 bytes");
    // Before the body, and before the quota.
    site.set(json!({"max_bytes": 0}));
    let answer = site
        .head_only("1", &[("Content-Length", "101")])
        .expect("no body is wanted");
    assert_eq!(answer.0, 413);
    let admin = site.daemon.as_admin(Request::put(
        &file_path("alice", "app", "1", "f"),
        seeded_bytes(2, 101),
    ));
    assert_eq!(admin.status, 413, "it guards the server, admins are not exempt");
    site.set(json!({"max_file_size": "none", "max_bytes": null}));
    site.assert_put("1", "f", 5000, 201, "");
    site.set(json!({"max_file_size": null}));
    let again = site.put("2", "f", seeded_bytes(2, 1025));
    assert_eq!(again.status, 413, "cleared, the configuration counts again");
}

#[test]
fn a_refusal_comes_before_the_body_where_its_length_is_known() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": 1000}));
    let length = |length: &str| site.head_only("1", &[("Content-Length", length)]);
    assert_eq!(length("1001"), Some((403, BYTES.to_owned())));
    assert_eq!(length("1000"), None, "the body is wanted");
    // A client that sends everything first sees the status all the same, and so does one that announces no length:
    // it is cut off once it has sent too much.
    let body = seeded_bytes(3, 4 * MIB);
    for request in [
        Request::put(&file_path("alice", "app", "1", "f"), body.clone()),
        Request::put(&file_path("alice", "app", "1", "f"), body).chunked(50_000),
    ] {
        let answer = site.daemon.send(&site.by_alice(request));
        assert_eq!((answer.status, answer.text().as_str()), (403, BYTES));
    }
    site.daemon.assert_nothing_of("alice", "app", "1");
    assert_eq!(site.used(), (0, 0, 0));
    let endless = Request::put(&file_path("alice", "app", "1", "f"), "").chunked(1);
    let mut connection = site.daemon.connect();
    connection.write(&site.by_alice(endless).head_bytes()).unwrap();
    for _ in 0..11 {
        connection.write(b"64\r\n").unwrap();
        connection.write(&[b'x'; 100]).unwrap();
        connection.write(b"\r\n").unwrap();
    }
    let answer = connection.read_response("PUT").unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (403, BYTES),
        "its end was not waited for"
    );
    let fits = Request::put(&file_path("alice", "app", "1", "f"), vec![b'x'; 1000]).chunked(100);
    assert_eq!(site.daemon.send(&site.by_alice(fits)).status, 201);
}

#[test]
fn the_order_of_checks_puts_quotas_behind_policy_and_size() {
    let site = Site::start(Setup::default().config("[limits]\nmax_file_size = \"1 KiB\"\n"));
    site.assert_put("1", "f", 10, 201, "");
    site.set(json!({"max_bytes": 0, "max_versions": 1}));
    let put = |version: &str, headers: &[(&str, &str)], body: usize| {
        let request = Request::put(&file_path("alice", "app", version, "f"), vec![b'x'; body]);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, *value));
        let answer = site.daemon.send(&site.by_alice(request));
        (answer.status, answer.text())
    };
    assert_eq!(put("2", &[("If-Match", "*")], 1).0, 412);
    assert_eq!(
        put("1", &[], 1),
        (400, "package version already exists".to_owned())
    );
    assert_eq!(put("2", &[], 2000).0, 413);
    assert_eq!(
        put("2", &[], 1),
        (403, VERSIONS.to_owned()),
        "versions, then bytes"
    );
    let digest = ("X-Checksum-Sha256", &*"0".repeat(64));
    assert_eq!(
        put("2", &[digest], 1).0,
        403,
        "before the body there is no digest"
    );
    site.set(json!({"max_versions": null}));
    assert_eq!(put("2", &[], 1), (403, BYTES.to_owned()));
    assert_eq!(put("-", &[], 1).0, 400, "names come first");
}

#[test]
fn a_quota_answers_before_a_full_store_does() {
    let site = Site::start(Setup::default().config("[store]\nmax_size = \"16 MiB\"\n"));
    let length = (20 * MIB).to_string();
    let status = || {
        site.head_only("1", &[("Content-Length", &length)])
            .map(|answer| answer.0)
    };
    assert_eq!(status(), Some(507));
    site.set(json!({"max_bytes": "19MiB"}));
    assert_eq!(status(), Some(403));
}

/// When the body has come: the digest, then the policy, then the quota again.
#[test]
fn a_quota_that_fills_up_during_the_upload_is_met_at_its_end() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": 15}));
    for (digest, status) in [(false, 403), (true, 400)] {
        let mut request = Request::put(&file_path("alice", "app", "slow", "f"), "ten bytes.");
        if digest {
            request = request.header("X-Checksum-Sha256", "0".repeat(64));
        }
        let request = site.by_alice(request);
        let mut slow = site.daemon.connect();
        slow.write(&request.head_bytes()).unwrap();
        slow.write(&request.body_bytes()[..5]).unwrap();
        // Long enough for the head to be judged before the rival comes; the outcome must not depend on it.
        std::thread::sleep(Duration::from_millis(200));
        site.assert_put("rival", "f", 10, 201, "");
        slow.write(&request.body_bytes()[5..]).unwrap();
        let answer = slow.read_response("PUT").unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        site.daemon.assert_nothing_of("alice", "app", "slow");
        assert_eq!(site.used(), (10, 1, 1));
        site.delete("rival");
    }
}

/// 64 clients at the same moment; connections and requests are ready before.
fn race(site: &Site, request: impl Fn(usize) -> Request) -> Vec<Response> {
    let clients: Vec<Mutex<(Conn, Request)>> = (0..64)
        .map(|client| Mutex::new((site.daemon.connect(), site.by_alice(request(client)))))
        .collect();
    together(64, |client| {
        let mut client = clients[client].lock().unwrap();
        let (connection, request) = &mut *client;
        connection.send(request).unwrap()
    })
}

fn statuses(answers: &[Response]) -> String {
    tally(&answers.iter().map(|answer| answer.status).collect::<Vec<_>>())
}

#[test]
fn of_64_at_once_exactly_as_many_win_as_fit() {
    let _alone = alone();
    let site = Site::under("package");
    let mut expected = (0, 0, 0);
    for round in 0..24 {
        // Small bodies travel in the journal, large ones in segments.
        let (size, winners) = [(1, 1), (1000, 7), (300_000, 20), (9, 63)][round % 4];
        let by_bytes = round % 8 < 4;
        let limits = match by_bytes {
            // With some room left over, which is not enough for one more.
            true => {
                json!({"max_bytes": expected.0 + (size * winners + size - 1) as u64, "max_versions": null})
            }
            false => json!({"max_bytes": null, "max_versions": expected.1 + winners as u64}),
        };
        site.set(limits);
        let chunked = round % 3 == 0;
        let answers = race(&site, |client| {
            let target = file_path("alice", "app", &format!("{round}-{client}"), "f");
            let body = seeded_bytes((round * 64 + client) as u64, size);
            match chunked {
                true => Request::put(&target, body).chunked(70_000),
                false => Request::put(&target, body),
            }
        });
        assert_eq!(
            statuses(&answers),
            format!("201 x{winners}, 403 x{}", 64 - winners),
            "round {round}"
        );
        let text = if by_bytes { BYTES } else { VERSIONS };
        for (client, answer) in answers.iter().enumerate() {
            if answer.status == 403 {
                assert_eq!(answer.text(), text);
                site.daemon
                    .assert_nothing_of("alice", "app", &format!("{round}-{client}"));
            }
        }
        expected.0 += (size * winners) as u64;
        expected.1 += winners as u64;
        expected.2 += winners as u64;
        assert_eq!(site.used(), expected, "round {round}");
    }
    assert_eq!(site.used(), site.daemon.recount("alice"));
}

#[test]
fn under_cache_replacing_frees_the_old_bytes_in_the_same_decision() {
    let _alone = alone();
    let site = Site::under("cache");
    site.assert_put("1", "f", 600, 200, "");
    site.assert_put("1", "g", 400, 200, "");
    site.set(json!({"max_bytes": 1000}));
    site.assert_put("1", "f", 600, 200, "");
    site.assert_put("1", "f", 601, 403, BYTES);
    site.daemon
        .assert_serves(&file_path("alice", "app", "1", "f"), &seeded_bytes(600, 600));
    site.assert_put("1", "f", 500, 200, "");
    site.assert_put("1", "g", 500, 200, "");
    site.assert_put("1", "f", 501, 403, BYTES);
    // A quota lowered below what is held: what shrinks is welcome, what grows is not.
    site.set(json!({"max_bytes": 100}));
    site.assert_put("1", "f", 499, 200, "");
    site.assert_put("1", "f", 500, 403, BYTES);
    assert_eq!(site.used(), (999, 1, 2));
    // Many replace few names at once, each with another size.
    site.set(json!({"max_bytes": 4000}));
    for round in 0..6 {
        let answers = race(&site, |client| {
            let size = 1 + (client * 37 + round * 11) % 1500;
            let target = file_path("alice", "app", "1", &format!("f{}", client % 5));
            Request::put(&target, seeded_bytes(client as u64, size))
        });
        let seen = statuses(&answers);
        assert!(
            answers.iter().all(|answer| [200, 403].contains(&answer.status)),
            "{seen}"
        );
        assert!(seen.starts_with("200 x"), "{seen}");
        assert!(site.used().0 <= 4000, "{:?}", site.used());
        assert_eq!(site.used(), site.daemon.recount("alice"));
    }
}

#[test]
fn deletion_frees_at_once() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": 100, "max_versions": 2}));
    for round in 0..20 {
        site.assert_put("1", "f", 40, 201, "");
        site.assert_put("1", "g", 30, 201, "");
        site.assert_put("2", "f", 30, 201, "");
        site.assert_put("2", "g", 1, 403, BYTES);
        site.delete("1/g");
        site.assert_put("2", "g", 30, 201, "");
        site.delete("1");
        site.assert_put("3", "f", 40, 201, "");
        assert_eq!(site.used(), (100, 2, 3), "round {round}");
        let package = "/api/v1/packages/alice/generic/app";
        assert_eq!(site.daemon.delete(package), 204);
        assert_eq!(site.used(), (0, 0, 0), "round {round}");
    }
}

#[test]
fn admins_are_exempt_and_what_they_publish_counts() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": 10, "max_versions": 1}));
    for version in ["1", "2"] {
        let target = file_path("alice", "app", version, "f");
        assert_eq!(site.daemon.put(&target, seeded_bytes(1, 100)), 201);
        let chunked = Request::put(&file_path("alice", "app", version, "g"), seeded_bytes(1, 100)).chunked(9);
        assert_eq!(site.daemon.as_admin(chunked).status, 201);
    }
    assert_eq!(site.used(), (400, 2, 4));
    site.assert_put("1", "h", 1, 403, BYTES);
    site.assert_put("3", "f", 0, 403, VERSIONS);
    // Who is no admin any more is not exempt any more.
    site.daemon
        .create_user_with(json!({"username": "boss", "password": "password of boss", "admin": true}));
    let boss = |version: &str| {
        let request = Request::put(&file_path("alice", "boss", version, "f"), "x");
        let answer = site
            .daemon
            .send(&request.header("Authorization", basic("boss", "password of boss")));
        answer.status
    };
    assert_eq!(boss("1"), 201);
    let no_admin = Request::new("PATCH", "/api/v1/admin/users/boss").json(&json!({"admin": false}));
    assert_eq!(site.daemon.as_admin(no_admin).status, 200);
    assert_eq!(boss("2"), 401);
}

#[test]
fn defaults_come_from_the_configuration_and_owners_may_differ() {
    let site = Site::start(Setup::default().config("[quotas]\nmax_bytes = \"1 KiB\"\nmax_versions = 3\n"));
    let limits = |daemon: &Daemon| daemon.owner("alice")["limits"].clone();
    let configured = json!({"bytes": 1024, "versions": 3, "file_size": null});
    assert_eq!(limits(&site.daemon), configured);
    site.assert_put("1", "f", 1025, 403, BYTES);
    site.set(json!({"max_bytes": 2000, "max_versions": "none"}));
    assert_eq!(
        limits(&site.daemon),
        json!({"bytes": 2000, "versions": null, "file_size": null})
    );
    for version in ["1", "2", "3", "4"] {
        site.assert_put(version, "f", 500, 201, "");
    }
    site.assert_put("5", "f", 1, 403, BYTES);
    site.set(json!({"max_bytes": null, "max_versions": null}));
    assert_eq!(limits(&site.daemon), configured);
    site.assert_put("5", "f", 0, 403, VERSIONS);
    let organisation = json!({"username": "tools", "visibility": "public"});
    let created = site
        .daemon
        .as_admin(Request::new("POST", "/api/v1/orgs").json(&organisation));
    assert_eq!(created.status, 201);
    assert_eq!(site.daemon.owner("TOOLS")["limits"], configured);
    assert_eq!(site.daemon.owner("tools")["owner"], "tools");
}

#[test]
fn what_is_set_is_shown_changed_field_by_field_and_cleared_with_null() {
    let site = Site::start(Setup::default());
    let settings = |answer: Value| {
        let mut answer = answer;
        for derived in ["id", "owner", "limits", "used"] {
            answer
                .as_object_mut()
                .unwrap()
                .remove(derived)
                .expect("a part of the answer");
        }
        answer
    };
    let nothing = json!({
        "policy": null, "policies": [], "max_bytes": null, "max_versions": null, "max_file_size": null,
    });
    assert_eq!(settings(site.daemon.owner("alice")), nothing);
    let full = json!({
        "policy": "cache", "policies": [{"packages": "rel-*", "policy": "release"}],
        "max_bytes": 10_737_418_240_u64, "max_versions": 5, "max_file_size": "none",
    });
    let mut sent = full.clone();
    sent["max_bytes"] = json!("10GiB");
    sent["unknown"] = json!({"is": "ignored"});
    assert_eq!(settings(site.daemon.set_owner("alice", sent).json()), full);
    assert_eq!(settings(site.daemon.owner("alice")), full);
    // What GET shows can be sent back.
    assert_eq!(
        settings(site.daemon.set_owner("alice", full.clone()).json()),
        full
    );
    let mut changed = full.clone();
    changed["max_versions"] = json!(6);
    assert_eq!(
        settings(site.daemon.set_owner("alice", json!({"max_versions": 6})).json()),
        changed
    );
    assert_eq!(
        settings(site.daemon.set_owner("alice", json!({})).json()),
        changed
    );
    assert_eq!(
        settings(site.daemon.set_owner("alice", nothing.clone()).json()),
        nothing
    );
}

#[test]
fn changes_at_once_of_different_fields_all_count() {
    let site = Site::start(Setup::default());
    for round in 1..=5_u64 {
        together(24, |client| {
            let field = ["max_bytes", "max_versions", "max_file_size"][client % 3];
            site.set(json!({field: round * 100 + client as u64 % 3}));
        });
        let seen = site.daemon.owner("alice");
        let limits = json!({"bytes": round * 100, "versions": round * 100 + 1, "file_size": round * 100 + 2});
        assert_eq!(seen["limits"], limits, "round {round}");
    }
}

#[test]
fn bad_settings_are_refused_by_name_and_change_nothing() {
    let site = Site::start(Setup::default());
    site.set(json!({"max_versions": 7}));
    let before = site.daemon.owner("alice");
    let long = "a".repeat(256);
    let many: Vec<Value> = (0..65)
        .map(|n| json!({"packages": format!("p{n}"), "policy": "cache"}))
        .collect();
    for (fields, text) in [
        (json!({"max_bytes": -1}), "max_bytes must be"),
        (json!({"max_bytes": 0.5}), "max_bytes must be"),
        (
            json!({"max_bytes": "lots"}),
            "a size like \"10GiB\", \"none\" or null",
        ),
        (
            json!({"max_bytes": "99999999999GiB"}),
            "max_bytes must be at most 9223372036854775807",
        ),
        (
            json!({"max_versions": 1, "max_file_size": true}),
            "max_file_size must be",
        ),
        (
            json!({"max_versions": "5"}),
            "max_versions must be a whole number",
        ),
        (
            json!({"policy": "keep"}),
            "policy must be release, package, write-once or cache",
        ),
        (
            json!({"policies": {"packages": "a"}}),
            "policies must be an array, not an object",
        ),
        (
            json!({"policies": [{"policy": "cache"}]}),
            "policies[0].packages is missing",
        ),
        (
            json!({"policies": [{"packages": "a", "policy": "x"}]}),
            "policies[0].policy must be release",
        ),
        (
            json!({"policies": [{"packages": "a[", "policy": "cache"}]}),
            "policies[0].packages must be",
        ),
        (
            json!({"policies": [{"packages": "alice/a", "policy": "cache"}]}),
            "without the owner",
        ),
        (
            json!({"policies": [{"packages": long, "policy": "cache"}]}),
            "at most 255 bytes, not 256",
        ),
        (json!({"policies": many}), "at most 64 entries, not 65"),
    ] {
        let request = Request::new("PATCH", "/api/v1/admin/owners/alice").json(&fields);
        let answer = site.daemon.as_admin(request);
        assert_eq!(answer.status, 422, "{fields}: {}", answer.text());
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(text), "{fields}: {message}");
    }
    for (body, status) in [("", 400), ("{", 400), ("[]", 422), ("5", 422)] {
        let request = Request::new("PATCH", "/api/v1/admin/owners/alice").body(body);
        assert_eq!(site.daemon.as_admin(request).status, status, "{body:?}");
    }
    assert_eq!(site.daemon.owner("alice"), before);
}

#[test]
fn only_admins_see_and_set() {
    let site = Site::start(Setup::default());
    let target = "/api/v1/admin/owners/alice";
    let patch = || Request::new("PATCH", target).json(&json!({"max_bytes": 1}));
    for request in [Request::get(target), patch()] {
        let anonymous = site.daemon.send(&request);
        assert_eq!(anonymous.status, 401, "{}", anonymous.text());
        let token = site.daemon.send(&site.by_alice(request.clone()));
        assert_eq!(token.status, 403, "{}", token.text());
        let password = request
            .clone()
            .header("Authorization", basic("alice", "password of alice"));
        assert_eq!(site.daemon.send(&password).status, 403, "not even the owner");
    }
    let unknown = site
        .daemon
        .as_admin(Request::new("PATCH", "/api/v1/admin/owners/nobody").json(&json!({})));
    assert_eq!(unknown.status, 404);
    assert_eq!(site.daemon.get("/api/v1/admin/owners/nobody").status, 404);
    let wrong = site.daemon.as_admin(Request::new("PUT", target).json(&json!({})));
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("GET, HEAD, PATCH"))
    );
    assert_eq!(site.daemon.owner("alice")["max_bytes"], Value::Null);
}

#[test]
fn a_policy_set_on_the_owner_beats_the_configuration_at_once() {
    let site = Site::under("cache");
    let put = |package: &str, body: &str| {
        let request = Request::put(&file_path("alice", package, "1", "f"), body);
        site.daemon.send(&site.by_alice(request)).status
    };
    assert_eq!((put("app", "one"), put("app", "two")), (200, 200));
    site.daemon.set_policy("alice", "release");
    assert_eq!(put("app", "three"), 400);
    site.daemon.set_policy("alice", "write-once");
    assert_eq!((put("app", "three"), put("app", "two")), (409, 200));
    let some = json!([
        {"packages": "app*", "policy": "package"},
        {"packages": "APP-x", "policy": "cache"},
        {"packages": "*", "policy": "release"},
    ]);
    site.set(json!({"policies": some}));
    assert_eq!(
        (put("app-x", "one"), put("app-x", "two")),
        (200, 200),
        "a literal name"
    );
    assert_eq!(
        (put("app-y", "one"), put("app-y", "one")),
        (201, 409),
        "more literal characters"
    );
    assert_eq!((put("lib", "one"), put("lib", "one")), (201, 400), "any package");
    site.set(json!({"policies": null}));
    assert_eq!(put("lib", "one"), 200, "the owner's policy: the same bytes");
    site.set(json!({"policy": null}));
    assert_eq!(
        (put("lib", "two"), put("app-y", "two")),
        (200, 200),
        "the configuration again"
    );
}

/// The policy that holds when the whole body has come decides.
#[test]
fn a_policy_changed_during_an_upload_decides_about_it() {
    let site = Site::under("cache");
    site.assert_put("1", "f", 10, 200, "");
    let request = site.by_alice(Request::put(&file_path("alice", "app", "1", "f"), "ten bytes."));
    let mut slow = site.daemon.connect();
    slow.write(&request.head_bytes()).unwrap();
    slow.write(&request.body_bytes()[..5]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    site.daemon.set_policy("alice", "package");
    slow.write(&request.body_bytes()[5..]).unwrap();
    let answer = slow.read_response("PUT").unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (409, "package file already exists")
    );
    site.daemon
        .assert_serves(&file_path("alice", "app", "1", "f"), &seeded_bytes(10, 10));
}

#[test]
fn settings_and_counts_survive_restart_kill_and_rebuild() {
    let mut site = Site::under("package");
    site.assert_put("1", "f", 70, 201, "");
    site.assert_put("2", "f", 20, 201, "");
    site.set(
        json!({"max_bytes": 100, "policy": "cache", "policies": [{"packages": "r*", "policy": "release"}]}),
    );
    let before = site.daemon.owner("alice");
    let check = |site: &Site, what: &str| {
        assert_eq!(site.daemon.owner("alice"), before, "{what}");
        assert_eq!(site.used(), site.daemon.recount("alice"), "{what}");
        site.assert_put("3", "f", 11, 403, BYTES);
        site.assert_put("2", "f", 20, 200, "");
    };
    check(&site, "before");
    site.daemon.terminate();
    site.daemon.start();
    check(&site, "after a restart");
    site.daemon.kill9();
    site.daemon.start();
    check(&site, "after a kill");
    site.daemon.terminate();
    let rebuilt = site.daemon.run(&["rebuild-index"], "");
    assert!(
        rebuilt.status.success(),
        "{}",
        String::from_utf8_lossy(&rebuilt.stderr)
    );
    site.daemon.start();
    check(&site, "after rebuild-index");
    site.daemon.kill9();
    std::fs::remove_dir_all(site.daemon.data().join("index")).unwrap();
    site.daemon.start();
    check(&site, "without its index");
    // What is set goes with its owner.
    assert_eq!(site.daemon.delete("/api/v1/admin/users/alice?purge=true"), 204);
    site.daemon.create_user("alice", "password of alice", "public");
    assert_eq!(site.daemon.owner("alice")["max_bytes"], Value::Null);
    assert_eq!(site.used(), (0, 0, 0));
}

/// Publishes, replaces and removes at random until the daemon is gone.
fn work_until_killed(site: &Site, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let (version, file) = (rng.below(6).to_string(), format!("f{}", rng.below(4)));
        let target = match rng.below(10) {
            0 => format!("/api/packages/alice/generic/app/{version}"),
            _ => file_path("alice", "app", &version, &file),
        };
        let request = match rng.chance(70) && target.ends_with(&file) {
            true => Request::put(&target, seeded_bytes(rng.next(), rng.below(3000))),
            false => Request::delete(&target),
        };
        match response_of(site.daemon.address(), &site.by_alice(request)) {
            Ok(answer) => assert!([200, 204, 403, 404].contains(&answer.status), "{}", answer.text()),
            Err(_) => return,
        }
    }
}

#[test]
fn counts_survive_kill_9_under_load() {
    let _alone = alone();
    let mut site = Site::under("cache");
    site.set(json!({"max_bytes": 20_000, "max_versions": 5}));
    let mut rng = Rng::new(0x40a);
    for round in 0..10_u64 {
        let stop = AtomicBool::new(false);
        let delay = Duration::from_millis(50 + rng.below(250) as u64);
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (site, stop) = (&site, &stop);
                scope.spawn(move || work_until_killed(site, round * 100 + client, stop));
            }
            std::thread::sleep(delay);
            site.daemon.signal_kill();
            stop.store(true, Ordering::Relaxed);
        });
        site.begin_again(round);
        let used = site.used();
        assert_eq!(
            used,
            site.daemon.recount("alice"),
            "round {round}, killed after {delay:?}"
        );
        assert!(used.0 <= 20_000 && used.1 <= 5, "round {round}: {used:?}");
    }
}

/// Publishes into three packages of alice and one of a guest, and takes away in every way there is, until the daemon is
/// gone. Counts what was done in each way.
fn take_away_until_killed(site: &Site, seed: u64, stop: &AtomicBool, done: &Mutex<BTreeMap<&str, u32>>) {
    let mut rng = Rng::new(seed);
    let guest = json!({"username": "guest", "password": "password of guest"});
    while !stop.load(Ordering::Relaxed) {
        let (version, file) = (rng.below(6).to_string(), format!("f{}", rng.below(4)));
        let body = seeded_bytes(rng.next(), 1 + rng.below(3000));
        let api = "/api/v1/packages/alice/generic/app";
        let (what, request) = match rng.below(20) {
            0..4 => (
                "cache",
                Request::put(&file_path("alice", "cache", &version, &file), body),
            ),
            4..8 => (
                "old",
                Request::put(&file_path("alice", "old", &rng.next().to_string(), "f"), body),
            ),
            8..12 => (
                "app",
                Request::put(&file_path("alice", "app", &version, &file), body),
            ),
            12 => (
                "file",
                Request::delete(&file_path("alice", "app", &version, &file)),
            ),
            13 => (
                "version",
                Request::delete(&format!("/api/packages/alice/generic/app/{version}")),
            ),
            14 => ("version by API", Request::delete(&format!("{api}/{version}"))),
            15 => ("package", Request::delete(api)),
            16 => ("pass", Request::new("POST", "/api/v1/admin/retention")),
            17 => (
                "guest's",
                Request::put(&file_path("guest", "app", &version, &file), body),
            ),
            18 => ("account", Request::delete("/api/v1/admin/users/guest?purge=true")),
            _ => ("guest", Request::new("POST", "/api/v1/admin/users").json(&guest)),
        };
        let request = match what {
            "pass" | "guest's" | "account" | "guest" => site.daemon.authorized(request),
            _ => site.by_alice(request),
        };
        match response_of(site.daemon.address(), &request) {
            Ok(answer) if answer.status < 300 => *done.lock().unwrap().entry(what).or_default() += 1,
            Ok(answer) => assert!(
                [403, 404, 409, 422].contains(&answer.status),
                "{what}: {} {}",
                answer.status,
                answer.text()
            ),
            Err(_) => return,
        }
    }
}

/// Replacing, deletion of files, versions, packages and accounts, eviction and retention, all at once and cut off.
#[test]
fn counts_survive_kill_9_whatever_takes_away() {
    let _alone = alone();
    let caches = Setup::default()
        .policy("alice/cache", "cache")
        .policy("*/*", "package");
    let mut site = Site::start(caches.config("[eviction]\nmin_age = \"0s\"\n\n"));
    site.set(json!({"max_bytes": 60_000}));
    let rules = Request::new("PUT", "/api/v1/admin/owners/alice/retention");
    let rules = rules.json(&json!({"rules": [{"packages": "old", "remove": ["*"], "keep_newest": 1}]}));
    assert_eq!(site.daemon.as_admin(rules).status, 200);
    let (mut evicted, mut retired, done) = (0, 0, Mutex::default());
    let mut rng = Rng::new(0x411);
    for round in 0..8_u64 {
        let stop = AtomicBool::new(false);
        // Eviction looks twice a second.
        let delay = Duration::from_millis(700 + rng.below(700) as u64);
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (site, stop, done) = (&site, &stop, &done);
                scope.spawn(move || take_away_until_killed(site, round * 100 + client, stop, done));
            }
            std::thread::sleep(delay);
            evicted += site.daemon.metric("larder_evicted_files_total", "");
            retired += site.daemon.metric("larder_retention_removed_versions_total", "");
            site.daemon.signal_kill();
            stop.store(true, Ordering::Relaxed);
        });
        site.begin_again(round);
        for owner in ["alice", "guest"] {
            assert_counts_are_right(&site.daemon, owner, round);
        }
        assert!(site.used().0 <= 60_000, "round {round}: {:?}", site.used());
    }
    let done = done.into_inner().unwrap();
    eprintln!("{done:?}, {evicted} evicted, {retired} retired");
    assert_eq!(done.len(), 11, "something was never done: {done:?}");
    assert!(evicted > 0 && retired > 0, "{evicted} evicted, {retired} retired");
}

/// Eviction may go on meanwhile.
#[track_caller]
fn assert_counts_are_right(daemon: &Daemon, owner: &str, round: u64) {
    if daemon.get(&format!("/api/v1/admin/owners/{owner}")).status == 404 {
        return;
    }
    let mut seen = Default::default();
    let is_right = within(PATIENCE, || {
        seen = (daemon.used(owner), daemon.recount(owner));
        seen.0 == seen.1
    });
    assert!(
        is_right,
        "round {round}, {owner}: {:?} are counted, {:?} are there",
        seen.0, seen.1
    );
}

#[test]
fn refusals_are_counted_by_reason() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": 10}));
    let rejected = || {
        site.daemon
            .metric("larder_http_requests_rejected_total", "reason=\"quota\"")
    };
    assert_eq!(rejected(), 0);
    site.assert_put("1", "f", 11, 403, BYTES);
    let chunked = Request::put(&file_path("alice", "app", "1", "f"), "more than ten bytes").chunked(4);
    assert_eq!(site.daemon.send(&site.by_alice(chunked)).status, 403);
    assert_eq!(rejected(), 2);
}

/// Sums that wrap around must not turn a refusal into an acceptance.
#[test]
fn huge_lengths_and_limits_do_not_overflow() {
    let site = Site::under("package");
    site.set(json!({"max_bytes": i64::MAX}));
    site.assert_put("1", "f", 10, 201, "");
    let mut seen = BTreeMap::new();
    for length in ["9223372036854775807", "18446744073709551615"] {
        seen.insert(
            length,
            site.head_only("2", &[("Content-Length", length)])
                .map(|answer| answer.0),
        );
    }
    for (length, status) in seen {
        assert!(
            matches!(status, Some(400 | 403 | 413 | 507)),
            "{length}: {status:?}"
        );
    }
    site.assert_put("2", "f", 10, 201, "");
    assert_eq!(site.used(), (20, 2, 2));
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    if !found("the_commands_of_the_readme_do_what_it_says", &["curl"]) {
        return;
    }
    let daemon = Setup::default().start();
    daemon.create_user("ci", "password of ci", "public");
    let readme = include_str!("../../README.md");
    daemon.cook(
        &recipe(readme, "## Policies: what happens to a name that is taken"),
        &[],
    );
    let mut expected = json!({
        "policy": "cache", "policies": [{"packages": "release-*", "policy": "release"}],
        "max_bytes": null, "max_versions": null, "max_file_size": null,
    });
    assert_eq!(settings_of(&daemon, &expected), expected);
    let said = daemon.cook(&recipe(readme, "## Quotas"), &[]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(
        said.matches("\"max_bytes\":10737418240").count(),
        2,
        "set, then shown: {said}"
    );
    expected["max_versions"] = json!("none");
    expected["max_file_size"] = json!(2_147_483_648_u64);
    assert_eq!(settings_of(&daemon, &expected), expected);
}

/// Those fields of an owner that `like` has.
fn settings_of(daemon: &Daemon, like: &Value) -> Value {
    let mut settings = daemon.owner("ci");
    settings
        .as_object_mut()
        .unwrap()
        .retain(|field, _| like.get(field).is_some());
    settings
}
