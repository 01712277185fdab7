//! Traffic that does everything once at least: all operations, refusals, broken and slow clients, damage, collection.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    ADMIN_PASSWORD, Conn, Daemon, MIB, PATIENCE, Request, Rng, Setup, basic, bearer, etag, file_path, path,
    seeded_bytes, version_path,
};

/// What `/metrics` asks for.
pub const TOKEN: &str = "scrape-0123456789abcdef";

/// How long the steady part goes on.
pub struct Plan {
    seconds: u64,
}

/// The text of `/metrics`.
pub fn metrics(daemon: &Daemon) -> String {
    let answer = daemon.send(&Request::get("/metrics").header("Authorization", bearer(TOKEN)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

impl Plan {
    /// 12 seconds, or as long as `LARDER_PICTURE` says: a picture wants some minutes.
    pub fn of_environment() -> Self {
        let seconds = std::env::var("LARDER_PICTURE").ok();
        Plan {
            seconds: seconds.map_or(12, |seconds| {
                seconds.parse().expect("LARDER_PICTURE is a number of seconds")
            }),
        }
    }

    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// A daemon that has some damage already.
    pub fn start(&self) -> Daemon {
        let config = format!(
            "[metrics]\ntoken = \"{TOKEN}\"\nowners = 5\n\
             [limits]\nmax_file_size = \"64MiB\"\nstall_window = \"1s\"\n\
             [scrub]\nevery = \"2s\"\n\
             [eviction]\nmin_age = \"1s\"\n\
             [[retention.rules]]\npackages = \"admin/nightly\"\nremove = [\"*\"]\nkeep_newest = 1\n"
        );
        let mut daemon = Setup::default()
            .config(&config)
            .policy("admin/cache*", "cache")
            .policy("admin/many*", "package")
            .policy("builds/*", "cache")
            .start();
        daemon.put(&path("broken", "1", "small"), seeded_bytes(900, 5000));
        daemon.put(&path("broken", "2", "large"), seeded_bytes(901, 12 * MIB));
        let quota = Request::new("PATCH", "/api/v1/admin/owners/admin")
            .json(&json!({"max_bytes": 10_u64 << 30, "max_versions": 1_000_000}));
        assert_eq!(daemon.as_admin(quota).status, 200);
        daemon.create_user("builds", "a long password", "public");
        let budget =
            Request::new("PATCH", "/api/v1/admin/owners/builds").json(&json!({"max_bytes": 8 << 20}));
        assert_eq!(daemon.as_admin(budget).status, 200);
        daemon.terminate();
        let damaged = [
            damage(&daemon.data(), &seeded_bytes(900, 5000)[100..140]),
            damage(
                &daemon.data(),
                &seeded_bytes(901, 12 * MIB)[9 * MIB..9 * MIB + 40],
            ),
        ];
        assert_eq!(damaged, [1, 1], "the bytes are on disk as they are");
        daemon.start();
        daemon
    }

    /// Everything: a steady mix on a few connections, and beside it what is out of the ordinary.
    pub fn run(&self, daemon: &Daemon) {
        let (over, end) = (
            AtomicBool::new(false),
            Instant::now() + Duration::from_secs(self.seconds),
        );
        std::thread::scope(|scope| {
            for number in 0..4 {
                let over = &over;
                scope.spawn(move || steady(daemon, number, over));
            }
            let mut rounds = 0;
            while rounds == 0 || Instant::now() < end {
                out_of_the_ordinary(daemon, rounds);
                rounds += 1;
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

/// Flips a bit of every place on disk that holds `piece`; how many there were.
fn damage(directory: &Path, piece: &[u8]) -> usize {
    let mut places = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            places += damage(&file, piece);
            continue;
        }
        let Ok(bytes) = fs::read(&file) else { continue };
        let finder = |at: &usize| bytes[*at..].starts_with(piece);
        let found: Vec<usize> = (0..bytes.len())
            .filter(|at| bytes[*at] == piece[0])
            .filter(finder)
            .collect();
        for at in found {
            let opened = fs::File::options().write(true).open(&file).unwrap();
            opened.write_all_at(&[piece[0] ^ 1], at as u64).unwrap();
            places += 1;
        }
    }
    places
}

/// A build: looks for things, publishes what is missing, now and then something that is known already.
fn steady(daemon: &Daemon, number: u64, over: &AtomicBool) {
    let mut rng = Rng::new(number + 1);
    let begun = Instant::now();
    let mut conn = daemon.connect();
    let mut published = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let key = rng.below(40 + (begun.elapsed().as_secs() as usize) / 2);
        let target = path("cache", &format!("{number}"), &format!("object-{key}"));
        let found = send(&mut conn, daemon, Request::get(&target));
        if found == 404 {
            // One in three has a content that another builder has published, or will.
            let content = if key.is_multiple_of(3) {
                key as u64
            } else {
                number * 1000 + key as u64
            };
            let size = 2000 + (key * key * 431) % 400_000;
            let body = seeded_bytes(content, size);
            assert_eq!(send(&mut conn, daemon, Request::put(&target, body)), 200);
            published += 1;
        }
        if rng.chance(6) {
            send(&mut conn, daemon, Request::head(&target));
        }
        if rng.chance(3) && published > 20 {
            send(&mut conn, daemon, Request::delete(&target));
        }
        // Waves, so that there is something to see.
        let wave = (begun.elapsed().as_secs_f64() / 25.0 + number as f64).sin() + 1.3;
        std::thread::sleep(Duration::from_micros((12_000.0 / wave) as u64));
    }
}

fn send(conn: &mut Conn, daemon: &Daemon, request: Request) -> u16 {
    let request = daemon.authorized(request);
    let answer = conn.send(&request).expect("the daemon answers");
    if !answer.keeps_alive() {
        *conn = daemon.connect();
    }
    answer.status
}

/// One round of everything else, about two seconds.
fn out_of_the_ordinary(daemon: &Daemon, round: u64) {
    let version = format!("{round}");
    let one = |request: Request| daemon.as_admin(request).status;
    // A release, and what it refuses.
    let file = path("tool", &version, "tool.tar");
    let body = seeded_bytes(5000 + round, 3 * MIB);
    assert_eq!(one(Request::put(&file, body.clone())), 201);
    assert_eq!(one(Request::put(&file, body.clone())), 400, "taken");
    assert_eq!(one(Request::get(&file).header("If-None-Match", etag(&body))), 304);
    assert_eq!(one(Request::get(&file).header("Range", "bytes=100-199")), 206);
    assert_eq!(one(Request::get(&file).header("Range", "bytes=9999999999-")), 416);
    assert_eq!(one(Request::get(&file).header("If-Match", "\"other\"")), 412);
    assert_eq!(
        one(Request::put(&path("tool", "x", "f"), "x").header("If-Match", "\"other\"")),
        412
    );
    assert_eq!(
        one(Request::put(&path("tool", "y", "f"), "x").header("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")),
        400
    );
    assert_eq!(one(Request::put(&path("tool", "%2E", "f"), "x")), 400, "a name");
    assert_eq!(one(Request::get(&path("nothing", "1", "f"))), 404);
    assert_eq!(one(Request::get("/nowhere")), 404);
    too_large_and_too_early(daemon, &file, &body);
    // Removals.
    let many = |name: &str| path("many", &version, name);
    for name in ["a", "b", "c"] {
        assert_eq!(
            one(Request::put(&many(name), seeded_bytes(round * 10 + 1, 200_000))),
            201
        );
    }
    assert_eq!(one(Request::put(&many("a"), "other")), 409);
    assert_eq!(one(Request::delete(&many("a"))), 204);
    assert_eq!(one(Request::delete(&many("a"))), 404);
    assert_eq!(one(Request::delete(&version_path("many", &version))), 204);
    // Who may not.
    daemon.send(&Request::get(&file).header("Authorization", bearer("lrd_wrong")));
    daemon.send(&Request::get(&file).header("Authorization", basic("admin", "wrong password")));
    daemon.send(&Request::get(&file).header("Authorization", basic("admin", ADMIN_PASSWORD)));
    daemon.send(&Request::put(&file, "x"));
    daemon.send(&Request::get("/metrics"));
    // The API, health.
    for target in [
        "/api/v1/packages/admin",
        "/api/v1/user",
        "/api/v1/version",
        "/readyz",
        "/",
    ] {
        assert_eq!(one(Request::get(target)), 200, "{target}");
    }
    one(Request::new("POST", "/api/v1/admin/gc"));
    one_too_many(daemon, round);
    // Damage: at the first byte a status, later on an answer that breaks off.
    one(Request::get(&path("broken", "1", "small")));
    let mut conn = daemon.connect();
    let request = daemon.authorized(Request::get(&path("broken", "2", "large")));
    conn.send(&request)
        .expect_err("the answer breaks off before the damage");
    broken_clients(daemon, &version);
    backup(daemon);
}

/// What retention removes, and what eviction has to: the owner `builds` may hold 8 MiB.
fn one_too_many(daemon: &Daemon, round: u64) {
    let one = |request: Request| daemon.as_admin(request).status;
    let nightly = path("nightly", &round.to_string(), "f");
    assert_eq!(one(Request::put(&nightly, seeded_bytes(round, 1000))), 201);
    assert_eq!(one(Request::new("POST", "/api/v1/admin/retention")), 202);
    for number in 0..3 {
        let key = format!("{round}-{number}");
        let entry = file_path("builds", "cache", "v", &key);
        assert_eq!(
            one(Request::put(
                &entry,
                seeded_bytes(7000 + round * 3 + number, 2 * MIB)
            )),
            200
        );
    }
}

/// What a head alone decides.
fn too_large_and_too_early(daemon: &Daemon, taken: &str, body: &[u8]) {
    let head = |request: Request, length: usize| {
        let request = daemon.authorized(request.header("Content-Length", length.to_string()));
        let mut conn = daemon.connect();
        conn.write(&request.head_bytes()).unwrap();
        conn.read_response("PUT").unwrap().status
    };
    assert_eq!(
        head(Request::new("PUT", &path("tool", "big", "f")), 65 * MIB),
        413
    );
    assert_eq!(
        head(
            Request::new("PUT", taken).header("Expect", "100-continue"),
            body.len()
        ),
        400
    );
}

/// Clients that go away, and one that is too slow.
fn broken_clients(daemon: &Daemon, version: &str) {
    let upload = daemon.authorized(Request::put(&path("gone", version, "f"), seeded_bytes(7, MIB)));
    let mut gone = daemon.connect();
    gone.write(&upload.head_bytes()).unwrap();
    gone.write(&upload.body_bytes()[..MIB / 2]).unwrap();
    drop(gone);
    let big = path("big", "1", "f");
    if daemon.get(&big).status == 404 {
        assert_eq!(daemon.put(&big, seeded_bytes(8, 24 * MIB)), 201);
    }
    let mut conn = daemon.connect();
    let request = daemon.authorized(Request::get(&big));
    conn.write(&request.head_bytes()).unwrap();
    conn.read_response("HEAD").unwrap();
    drop(conn);
    let mut slow = daemon.connect();
    slow.read_limit(PATIENCE);
    let upload = daemon.authorized(Request::put(&path("slow", version, "f"), vec![7; 1000]));
    slow.write(&upload.head_bytes()).unwrap();
    slow.write(b"a few").unwrap();
    assert_eq!(slow.read_response("PUT").unwrap().status, 408);
}

fn backup(daemon: &Daemon) {
    let to = daemon.home().join("backup");
    let output = daemon.run(&["backup", to.to_str().unwrap()], "");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
