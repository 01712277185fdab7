//! TLS: served, exchanged by a reload, and nothing is exchanged for what cannot be used (issue 6).
#![cfg(feature = "tls")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::{Authority, Daemon, PATIENCE, Request, Setup, listening, path};

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// 31 December, midnight, as seconds since 1970.
const END_OF_2033: u64 = 2_019_600_000;
const END_OF_2034: u64 = 2_051_136_000;

/// A daemon with a plain and a TLS address, and the latter.
fn start(authority: &Authority) -> (Daemon, SocketAddr) {
    let mut daemon = Setup::default()
        .config("[server]\nhead_timeout = \"1s\"\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n")
        .listen("127.0.0.1:0,tls:127.0.0.1:0")
        .prepare();
    authority.issue(daemon.home(), 2033);
    daemon.start();
    daemon.fetch_admin_token();
    let address = listening(&daemon, "https://").parse().unwrap();
    (daemon, address)
}

#[test]
fn requests_are_served_over_tls() {
    let authority = Authority::new();
    let (daemon, address) = start(&authority);
    let target = path("tool", "1", "f");
    let request = daemon.authorized(Request::put(&target, "over tls"));
    let mut wire = request.header("Connection", "close").head_bytes();
    wire.extend_from_slice(b"over tls");
    let (answer, _) = authority.talk(address, &wire).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    daemon.assert_serves(&target, b"over tls");
    let front = b"GET / HTTP/1.1\r\nHost: larder.test\r\nConnection: close\r\n\r\n";
    let (answer, _) = authority.talk(address, front).unwrap();
    assert!(
        answer.contains("https://larder.test/"),
        "URLs have the client's scheme: {answer}"
    );
    assert_eq!(
        daemon.metric("larder_tls_certificate_not_after_timestamp_seconds", ""),
        END_OF_2033
    );
}

#[test]
fn who_does_not_speak_tls_is_let_go() {
    let authority = Authority::new();
    let (daemon, address) = start(&authority);
    // One speaks plainly, one says nothing at all, one believes another authority.
    let mut plain = TcpStream::connect(address).unwrap();
    let mut silent = TcpStream::connect(address).unwrap();
    for stream in [&plain, &silent] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    plain.write_all(LIVEZ).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(
        silent.read(&mut [0]).unwrap_or(0),
        0,
        "closed after server.head_timeout"
    );
    assert!(Authority::new().talk(address, LIVEZ).is_err());
    assert!(
        authority
            .talk(address, LIVEZ)
            .unwrap()
            .0
            .starts_with("HTTP/1.1 200")
    );
    daemon.send(&Request::get("/livez"));
}

#[test]
fn a_reload_shows_the_new_certificate_and_open_connections_go_on() {
    let authority = Authority::new();
    let (daemon, address) = start(&authority);
    let (_, first) = authority.talk(address, LIVEZ).unwrap();
    let mut open = authority.connect(address).unwrap();
    open.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(open.read(&mut [0; 1024]).unwrap() > 0);

    authority.issue(daemon.home(), 2034);
    let (_, still) = authority.talk(address, LIVEZ).unwrap();
    assert!(still == first, "nobody has asked for a reload yet");
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/reload"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains("certificate"), "{}", answer.text());
    let (_, second) = authority.talk(address, LIVEZ).unwrap();
    assert!(second != first, "the new one is shown");
    open.write_all(LIVEZ).unwrap();
    assert!(
        open.read(&mut [0; 1024]).unwrap() > 0,
        "the old connection goes on"
    );
    let not_after = || daemon.metric("larder_tls_certificate_not_after_timestamp_seconds", "");
    assert_eq!(not_after(), END_OF_2034);

    // A key that is not the certificate's: everything stays, and it is said.
    let good = fs::read(daemon.home().join("key.pem")).unwrap();
    authority.issue(daemon.home(), 2035);
    fs::write(daemon.home().join("key.pem"), good).unwrap();
    let answer = daemon.as_admin(Request::new("POST", "/api/v1/admin/reload"));
    assert_eq!(answer.status, 422, "{}", answer.text());
    let (_, kept) = authority.talk(address, LIVEZ).unwrap();
    assert!(kept == second, "the one that works is still shown");
    assert_eq!(
        (
            not_after(),
            daemon.metric("larder_config_last_reload_successful", "")
        ),
        (END_OF_2034, 0)
    );
}

#[test]
fn certificates_that_cannot_be_used_stop_the_start_with_code_2() {
    let authority = Authority::new();
    for (name, text) in [
        ("cert.pem", "no PEM"),
        ("key.pem", ""),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let daemon = Setup::default()
            .config("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n")
            .prepare();
        authority.issue(daemon.home(), 2033);
        fs::write(daemon.home().join(name), text).unwrap();
        let mut command = crate::support::binary();
        command.current_dir(daemon.home());
        command.args([
            "serve",
            "--config",
            "larder.toml",
            "--data",
            "data",
            "--listen",
            "tls:127.0.0.1:0",
        ]);
        let output = crate::support::output_within(&mut command, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name} {text:?}: {said}");
        assert!(said.contains(".pem"), "{name} {text:?}: {said}");
        assert!(!daemon.data().join("store.toml").exists(), "nothing was created");
    }
}
