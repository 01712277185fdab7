//! SIGTERM: what runs may finish within the grace, the rest is cut without damage, and a second signal forces.

use std::time::Duration;

use crate::support::{Conn, Daemon, MIB, PATIENCE, Request, Setup, path, response_of, seeded_bytes, within};

/// With it a daemon that waits for somebody ends long after a test has lost its patience.
const LONG_GRACE: &str = "[server]\nshutdown_grace = \"10m\"\n";

/// Starts an upload and sends its first half.
fn half_an_upload(daemon: &Daemon, target: &str, body: &[u8]) -> Conn {
    let mut connection = daemon.connect();
    let request = daemon.authorized(Request::put(target, body));
    connection.write(&request.head_bytes()).unwrap();
    connection.write(&body[..body.len() / 2]).unwrap();
    // Until the daemon has taken the request up, it could be seen as idle.
    daemon.takes_up("put_file");
    connection
}

#[test]
fn sigterm_lets_a_running_upload_finish() {
    let mut daemon = Setup::default().start();
    let (target, body) = (path("tool", "1", "f"), seeded_bytes(71, 4 * MIB));
    let mut upload = half_an_upload(&daemon, &target, &body);
    daemon.signal_term();
    // Newcomers are turned away, in one way or the other.
    let turned_away = |request: Request| {
        let answer = response_of(daemon.address(), &request);
        answer.is_err() || answer.is_ok_and(|answer| answer.status == 503)
    };
    assert!(within(PATIENCE, || turned_away(Request::get("/readyz"))));
    assert!(within(PATIENCE, || turned_away(Request::get("/livez"))));
    assert!(turned_away(
        daemon.authorized(Request::put(&path("new", "1", "f"), "x"))
    ));
    std::thread::sleep(Duration::from_millis(300));
    assert!(daemon.wait(Duration::ZERO).is_none(), "it waits for the upload");
    upload.write(&body[body.len() / 2..]).unwrap();
    assert_eq!(upload.read_response("PUT").unwrap().status, 201);
    let status = daemon.wait(PATIENCE).expect("it ends when the upload has");
    assert_eq!(status.code(), Some(0));
    daemon.start();
    daemon.assert_serves(&target, &body);
    daemon.assert_absent(&path("new", "1", "f"));
}

#[test]
fn when_the_grace_is_over_the_rest_is_cut_without_damage() {
    let mut daemon = Setup::default()
        .config("[server]\nshutdown_grace = \"1s\"\n")
        .start();
    assert_eq!(daemon.put(&path("kept", "1", "f"), "x"), 201);
    let target = path("tool", "1", "f");
    let _upload = half_an_upload(&daemon, &target, &seeded_bytes(72, 4 * MIB));
    daemon.signal_term();
    let status = daemon.wait(PATIENCE).expect("the grace is one second");
    assert_eq!(status.code(), Some(0));
    daemon.start();
    daemon.assert_serves(&path("kept", "1", "f"), b"x");
    daemon.assert_absent(&target);
    assert_eq!(daemon.put(&target, "free"), 201);
}

#[test]
fn a_second_signal_forces() {
    let mut daemon = Setup::default().config(LONG_GRACE).start();
    assert_eq!(daemon.put(&path("kept", "1", "f"), "x"), 201);
    let _upload = half_an_upload(&daemon, &path("tool", "1", "f"), &seeded_bytes(73, 4 * MIB));
    daemon.signal_term();
    // Two signals that nobody has looked at yet would be one.
    assert!(within(PATIENCE, || daemon
        .stderr()
        .contains("SIGTERM, shutting down")));
    assert!(
        daemon.wait(Duration::from_millis(300)).is_none(),
        "it waits for the upload"
    );
    daemon.signal_term();
    // An end in good order, as when the upload has been waited for in vain, would be 0.
    let status = daemon.wait(PATIENCE).expect("the second signal does not wait");
    assert_eq!(status.code(), Some(1));
    daemon.start();
    daemon.assert_serves(&path("kept", "1", "f"), b"x");
    daemon.assert_absent(&path("tool", "1", "f"));
}

#[test]
fn idle_connections_do_not_hold_the_shutdown_up() {
    let mut daemon = Setup::default().config(LONG_GRACE).start();
    let mut idle: Vec<Conn> = (0..5).map(|_| daemon.connect()).collect();
    for connection in &mut idle[..3] {
        assert_eq!(connection.send(&Request::get("/livez")).unwrap().status, 200);
    }
    // Which waits for a minute, not for ten.
    daemon.terminate();
}

#[test]
fn readiness_fails_before_anybody_is_turned_away() {
    let mut daemon = Setup::default()
        .config("[server]\nshutdown_delay = \"8s\"\n")
        .start();
    daemon.signal_term();
    let draining = || daemon.send(&Request::get("/readyz")).status == 503;
    assert!(
        within(PATIENCE, draining),
        "it accepts connections and says that it is about to end"
    );
    assert_eq!(
        daemon.put(&path("late", "1", "f"), "x"),
        201,
        "requests are still served"
    );
    let status = daemon.wait(PATIENCE).expect("it ends by itself");
    assert_eq!(status.code(), Some(0));
    daemon.start();
    daemon.assert_serves(&path("late", "1", "f"), b"x");
}
