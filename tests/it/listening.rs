//! Several addresses, Unix sockets, and sockets that systemd hands over (issue 6).

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::support::{Daemon, PATIENCE, Request, Setup, listening, path, response_of, within};

/// Sends a request over a Unix socket; the answer's first line and body.
fn over_unix(socket: &std::path::Path, request: &Request) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(&request.clone().header("Connection", "close").head_bytes())
        .unwrap();
    stream.write_all(&request.body_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn with_socket() -> (Daemon, std::path::PathBuf) {
    let daemon = Setup::default().prepare();
    let socket = daemon.home().join("larder.sock");
    (daemon, socket)
}

#[test]
fn several_addresses_serve_the_same() {
    let (mut daemon, socket) = with_socket();
    daemon.set_listen(&format!("127.0.0.1:0,unix:{},127.0.0.1:0", socket.display()));
    daemon.start();
    daemon.fetch_admin_token();
    let line = daemon.stdout().join("\n");
    let places: Vec<&str> = line
        .trim_start_matches("larder listening on ")
        .split(' ')
        .collect();
    assert_eq!(places.len(), 3, "{line}");
    let second = places[2].trim_start_matches("http://").parse().unwrap();
    assert_ne!(daemon.address(), second);

    let target = path("tool", "1", "f");
    let (status, _) = over_unix(&socket, &daemon.authorized(Request::put(&target, "by socket")));
    assert_eq!(status, "HTTP/1.1 201 Created");
    daemon.assert_serves(&target, b"by socket");
    let other = response_of(second, &Request::get(&target)).unwrap();
    assert_eq!((other.status, other.text()), (200, "by socket".to_owned()));
    assert_eq!(over_unix(&socket, &Request::get("/readyz")).1, "ready\n");
}

#[test]
fn a_unix_socket_has_its_mode_is_replaced_after_a_crash_and_goes_with_the_daemon() {
    let (mut daemon, socket) = with_socket();
    std::fs::write(daemon.config_path(), "[server]\nsocket_mode = \"0600\"\n").unwrap();
    daemon.set_listen(&format!("unix:{},127.0.0.1:0", socket.display()));
    daemon.start();
    let mode = || socket.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    daemon.kill9();
    assert!(socket.exists());
    daemon.start();
    assert_eq!(over_unix(&socket, &Request::get("/livez")).1, "ok\n");
    daemon.terminate();
    assert!(!socket.exists());
}

#[test]
fn only_a_unix_socket_will_do() {
    let (mut daemon, socket) = with_socket();
    daemon.set_listen(&format!("unix:{}", socket.display()));
    daemon.spawn();
    let up = within(PATIENCE, || {
        UnixStream::connect(&socket).is_ok() && over_unix(&socket, &Request::get("/readyz")).1 == "ready\n"
    });
    assert!(up, "{}", daemon.stderr());
    let line = [format!("larder listening on unix:{}", socket.display())];
    assert!(
        within(PATIENCE, || daemon.stdout() == line),
        "{:?}",
        daemon.stdout()
    );
    assert_eq!(listening(&daemon, "unix:"), socket.display().to_string());
    daemon.terminate();
}

/// systemd-socket-activate comes with systemd; here a shell plays its part, with a socket of the test's own.
#[test]
fn sockets_that_are_handed_over_are_served_and_too_many_are_refused() {
    let daemon = Setup::default().prepare();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // Descriptors from 3 on, and the process's own id, which only the process itself can know.
    let script = format!(
        "exec 3<&{fd}; export LISTEN_FDS=$FDS LISTEN_PID=$$; exec '{}' serve --data data --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_larder")
    );
    let flags = rustix::io::fcntl_getfd(&socket).unwrap();
    rustix::io::fcntl_setfd(&socket, flags - rustix::io::FdFlags::CLOEXEC).unwrap();
    let start = |count: &str| {
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", &script])
            .env("FDS", count)
            .current_dir(daemon.home());
        command
            .env("LARDER_ADMIN_PASSWORD", "a long password")
            .stdin(std::process::Stdio::null());
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = start("1");
    let ready = within(PATIENCE, || {
        response_of(address, &Request::get("/readyz")).is_ok_and(|answer| answer.status == 200)
    });
    // The line comes when it is ready, or a moment later: an end in good order is one after it.
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let ended = within(PATIENCE, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(ready && ended, "{said}");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(line.trim_end(), format!("larder listening on http://{address}"));

    let output = start("2").wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("2 sockets") && said.contains("server.listen"),
        "{said}"
    );
}
