//! Start: what is said, what is created, whose data it is, and the admin's password (issue 2, Accounts and Command line).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Instant;

use crate::support::{
    ADMIN_PASSWORD, Daemon, PATIENCE, Request, Setup, basic, binary, output_within, path, response_of, within,
};

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A status of admin with this password.
fn login(daemon: &Daemon, password: &str) -> u16 {
    let request = Request::put(&path("login", "%2F", "f"), "").header("If-Match", "\"00\"");
    // Right credentials get as far as the precondition.
    daemon
        .send(&request.header("Authorization", basic("admin", password)))
        .status
}

#[test]
fn stdout_is_one_line() {
    let mut daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    let expected = vec![format!("larder listening on http://{}", daemon.address())];
    assert_eq!(daemon.stdout(), expected);
    daemon.signal_term();
    assert!(within(PATIENCE, || response_of(
        daemon.address(),
        &Request::get("/livez")
    )
    .is_err()));
    assert_eq!(daemon.stdout(), expected);
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(0));
}

#[test]
fn the_data_directory_is_created_for_its_owner_only() {
    let daemon = Setup::default().start();
    let mode = fs::metadata(daemon.data()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    for name in ["store.toml", "journal", "segments", "index", "LOCK"] {
        assert!(daemon.data().join(name).exists(), "no {name}");
    }
}

#[test]
fn a_second_daemon_on_the_same_data_exits_with_3() {
    let daemon = Setup::default().start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
    for command in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["--listen", "127.0.0.1:0"],
    ] {
        let output = daemon.run(command, "");
        assert_eq!(
            output.status.code(),
            Some(3),
            "{command:?}: {}",
            stderr_of(&output)
        );
        assert!(output.stdout.is_empty(), "{command:?}: it never listened");
        let said = stderr_of(&output).to_lowercase();
        assert!(
            said.contains("use") || said.contains("another"),
            "{command:?}: {said}"
        );
    }
    daemon.assert_serves(&path("tool", "1", "f"), b"x");
    assert_eq!(daemon.put(&path("tool", "2", "f"), "x"), 201);
}

#[test]
fn a_killed_daemon_leaves_no_lock_behind() {
    let mut daemon = Setup::default().start();
    daemon.kill9();
    daemon.start();
    assert_eq!(daemon.put(&path("tool", "1", "f"), "x"), 201);
}

#[test]
fn before_it_is_ready_nothing_is_missing_it_is_503() {
    let mut daemon = Setup::default().start();
    let target = path("early", "0", "f");
    for version in 0..300 {
        assert_eq!(
            daemon.put(&path("early", &version.to_string(), "f"), vec![b'x'; 2_000]),
            201
        );
    }
    for round in 0..5 {
        daemon.kill9();
        if round % 2 == 0 {
            fs::remove_dir_all(daemon.data().join("index")).unwrap();
        }
        daemon.launch();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert_eq!(
                daemon.send(&Request::get("/livez")).status,
                200,
                "the process lives from the first answer on"
            );
            let ready = daemon.send(&Request::get("/readyz")).status;
            let get = daemon.get(&target).status;
            assert!(matches!(ready, 200 | 503), "/readyz: {ready}");
            assert!(
                get == 200 || (get == 503 && ready == 503),
                "GET: {get}, /readyz before: {ready}"
            );
            if ready == 200 {
                break;
            }
            assert!(Instant::now() < deadline, "never ready");
        }
    }
}

#[test]
fn the_printed_curl_lines_work_on_every_start() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED: the printed curl lines: curl is not installed");
        return;
    }
    let mut daemon = Setup::default().without_admin_password().prepare();
    let mut printed = 0;
    for start in 0..2 {
        daemon.start();
        // The lines may come after the store is open.
        assert!(
            within(PATIENCE, || curl_lines(&daemon.stderr()).len() >= printed + 2),
            "{}",
            daemon.stderr()
        );
        let lines = curl_lines(&daemon.stderr()).split_off(printed);
        printed += lines.len();
        let mut said = Vec::new();
        for line in &lines {
            let output = output_within(
                Command::new("sh").args(["-c", line]).current_dir(daemon.home()),
                "",
            );
            assert!(
                output.status.success(),
                "start {start}: {line}: {}",
                stderr_of(&output)
            );
            said.push(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        assert!(said[0].contains("201"), "start {start}: {lines:?}: {said:?}");
        assert_eq!(said[1].trim(), "hello, larder", "start {start}: {lines:?}");
        daemon.terminate();
    }
}

/// The lines of a log that are meant to be pasted.
fn curl_lines(log: &str) -> Vec<String> {
    log.lines()
        .map(str::trim)
        .filter(|line| line.contains("curl ") && line.contains("/api/packages/"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn without_a_password_one_is_made_and_written_down_for_the_owner_only() {
    let mut daemon = Setup::default().without_admin_password().prepare();
    daemon.start();
    let file = daemon.data().join("initial-admin-password");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = fs::read_to_string(&file).unwrap().trim_end().to_owned();
    assert!(password.len() >= 16, "{} characters", password.len());
    assert_eq!(login(&daemon, &password), 412);
    assert_eq!(login(&daemon, "larder"), 401);
    assert!(!daemon.stderr().contains(&password), "the log is no place for it");
}

#[test]
fn the_password_can_come_from_a_file() {
    let mut daemon = Setup::default().without_admin_password().prepare();
    let file = daemon.home().join("secret");
    fs::write(&file, "password of a file\n").unwrap();
    daemon.set_env("LARDER_ADMIN_PASSWORD_FILE", file.to_str().unwrap());
    daemon.start();
    assert_eq!(
        (
            login(&daemon, "password of a file"),
            login(&daemon, "another password")
        ),
        (412, 401)
    );
    assert!(!daemon.data().join("initial-admin-password").exists());
}

#[test]
fn on_an_existing_store_the_password_variable_is_ignored() {
    let mut daemon = Setup::default().start();
    daemon.terminate();
    let quiet = daemon.stderr().len();
    daemon.set_env("LARDER_ADMIN_PASSWORD", "another password");
    daemon.start();
    assert_eq!(
        (login(&daemon, ADMIN_PASSWORD), login(&daemon, "another password")),
        (412, 401)
    );
    let log = daemon.stderr().split_off(quiet);
    let lines = log
        .lines()
        .filter(|line| line.contains("LARDER_ADMIN_PASSWORD"))
        .count();
    assert_eq!(lines, 1, "one line says that it is ignored: {log}");
}

#[test]
fn account_password_changes_it_with_and_without_a_daemon() {
    let mut daemon = Setup::default().start();
    assert_eq!(login(&daemon, ADMIN_PASSWORD), 412);
    let online = daemon.run(&["account", "password", "admin"], "a second password\n");
    assert_eq!(online.status.code(), Some(0), "{}", stderr_of(&online));
    assert_eq!(
        (
            login(&daemon, ADMIN_PASSWORD),
            login(&daemon, "a second password")
        ),
        (401, 412),
        "at once"
    );

    daemon.terminate();
    let offline = daemon.run(&["account", "password", "admin"], "a third password\n");
    assert_eq!(offline.status.code(), Some(0), "{}", stderr_of(&offline));
    daemon.start();
    assert_eq!(
        (
            login(&daemon, "a second password"),
            login(&daemon, "a third password")
        ),
        (401, 412)
    );

    for (name, password) in [
        ("nobody", "a long password\n"),
        ("admin", "short\n"),
        ("admin", ""),
    ] {
        let refused = daemon.run(&["account", "password", name], password);
        let code = refused.status.code();
        assert!(
            matches!(code, Some(1 | 2)),
            "{name} {password:?}: {code:?} {}",
            stderr_of(&refused)
        );
        assert!(!refused.stderr.is_empty(), "{name} {password:?}: says why");
    }
    assert_eq!(login(&daemon, "a third password"), 412);
}

#[test]
fn the_control_socket_is_for_its_owner_only() {
    let daemon = Setup::default().start();
    let mode = fs::metadata(daemon.data().join("control.sock"))
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let daemon = Setup::default().start();
    let other = Setup::default().prepare();
    let mut command = binary();
    command
        .args(["serve", "--listen", &daemon.address().to_string(), "--data"])
        .arg(other.data());
    let output = output_within(&mut command, "");
    assert_eq!(output.status.code(), Some(1), "{}", stderr_of(&output));
    assert!(
        stderr_of(&output).contains(&daemon.address().to_string()),
        "{}",
        stderr_of(&output)
    );
}
