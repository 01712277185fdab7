//! What the binary brings for those who install it: configuration shown and described, health, completions, manual pages
//! (issue 6).

use std::fs;
use std::io;
use std::process::Stdio;

use crate::support::{Setup, binary, ended, output_within};

/// Runs the binary; exit code, stdout and stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = output_within(binary().args(arguments), "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn healthcheck_asks_the_configured_address_or_the_one_that_is_given() {
    let mut daemon = Setup::default().start();
    let url = format!("http://{}", daemon.address());
    let ready = (0, "ready\n".to_owned(), String::new());
    assert_eq!(run(&["healthcheck", "--url", &url]), ready);
    assert_eq!(run(&["healthcheck", "--url", &format!("{url}/livez")]).1, "ok\n");
    assert_eq!(run(&["healthcheck", "--url", &format!("{url}/nowhere")]).0, 1);

    // The daemon's own file has no address in it: port 0 was given as a flag.
    let socket = daemon.home().join("larder.sock");
    let config = format!(
        "[server]\nlisten = [\"tls:127.0.0.1:1\", \"unix:{}\"]\n[tls]\ncertificate = \"a\"\nkey = \"b\"\n",
        socket.display()
    );
    let other = Setup::default().config(&config).prepare();
    let file = other.config_path();
    let asked = ["healthcheck", "--config", file.to_str().unwrap()];
    assert_eq!(run(&asked).0, 1, "nobody is there");
    daemon.terminate();
    daemon.set_listen(&format!("127.0.0.1:0,unix:{}", socket.display()));
    daemon.start();
    assert_eq!(run(&asked), ready);
    daemon.terminate();
    let (code, _, said) = run(&["healthcheck", "--url", &url]);
    assert!(code == 1 && said.contains(&url["http://".len()..]), "{said}");
    assert_eq!(run(&["healthcheck", "--url", "https://127.0.0.1"]).0, 2);
}

#[test]
fn the_configuration_is_shown_so_that_it_can_be_used() {
    let daemon = Setup::default()
        .config("[limits]\nmax_file_size = \"5 MiB\"\n[metrics]\ntoken = \"0123456789abcdef\"\n")
        .prepare();
    let file = daemon.config_path();
    let file = file.to_str().unwrap();
    let (code, changed, _) = run(&["config", "--changed", "--config", file]);
    let place = format!("# {file}");
    assert_eq!(code, 0);
    assert!(
        changed.contains("limits.max_file_size = \"5 MiB\"") && changed.contains(&place),
        "{changed}"
    );
    assert!(
        changed.contains("metrics.token = \"(hidden)\"") && !changed.contains("0123456789abcdef"),
        "{changed}"
    );
    let (code, shown, _) = run(&["config", "--config", file]);
    assert!(code == 0 && shown.contains("# built-in default"), "{shown}");
    assert!(shown.parse::<toml::Table>().is_ok(), "it is TOML: {shown}");

    let (_, defaults, _) = run(&["config", "--defaults"]);
    fs::write(file, &defaults).unwrap();
    assert_eq!(
        run(&["check-config", "--config", file]).0,
        0,
        "the defaults are a good file"
    );
    assert_eq!(run(&["config", "--changed", "--schema"]).0, 2);
}

#[test]
fn the_schema_describes_every_setting() {
    let (code, schema, _) = run(&["config", "--schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(code, 0);
    let listen = &schema["properties"]["server"]["properties"]["listen"];
    assert!(
        listen["description"].as_str().unwrap().contains("unix:"),
        "{listen}"
    );
    assert_eq!(schema["properties"]["server"]["additionalProperties"], false);
}

#[test]
fn check_config_looks_at_the_certificate_too() {
    let daemon = Setup::default()
        .config("[server]\nlisten = \"tls:127.0.0.1:0\"\n[tls]\ncertificate = \"/nowhere/c.pem\"\nkey = \"/nowhere/k.pem\"\n")
        .prepare();
    let file = daemon.config_path();
    let (code, _, said) = run(&["check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 2, "{said}");
    let expected = if cfg!(feature = "tls") {
        "/nowhere/c.pem"
    } else {
        "without TLS"
    };
    assert!(said.contains(expected), "{said}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(
            script.contains("healthcheck") && script.contains("check-config"),
            "{shell}"
        );
    }
    assert_eq!(run(&["completions", "dos"]).0, 2);
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH larder 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    assert_eq!(run(&["man", pages.to_str().unwrap()]).0, 0);
    for page in ["larder.1", "larder-serve.1", "larder-account-password.1"] {
        assert!(
            fs::read_to_string(pages.join(page)).unwrap().contains(".SH"),
            "{page}"
        );
    }
}

/// `larder completions bash | head`: the reader may have seen enough, and that is no failure of the command.
#[test]
fn a_reader_that_has_gone_neither_fails_a_command_nor_makes_it_talk() {
    let closed = || {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        writer
    };
    let daemon = Setup::default().start();
    let data = daemon.data();
    let data = data.to_str().unwrap();
    let url = format!("http://{}", daemon.address());
    let export = daemon.home().join("monitoring");
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["completions", "bash"],
        &["man"],
        &["config"],
        &["config", "--defaults"],
        &["config", "--schema"],
        &["check-config"],
        &["monitoring", "export", export.to_str().unwrap()],
        &["healthcheck", "--url", &url],
        &["stats", "--data", data],
        &["stats", "--json", "--data", data],
        &["gc", "--dry-run", "--data", data],
        &["account", "list", "--data", data],
        &["reload", "--data", data],
    ] {
        let output = ended(
            binary().args(arguments).stdout(closed()).stderr(Stdio::piped()),
            "",
        );
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*told), (Some(0), ""), "{arguments:?}");
    }
    // What failed has the exit code of that, also with nobody to tell why.
    for (arguments, code) in [
        (&["config", "--config", "/nowhere/larder.toml"][..], 2),
        (&["sevre"], 2),
        (&["verify", "--data", data], 3),
    ] {
        let output = ended(binary().args(arguments).stdout(closed()).stderr(closed()), "");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    // Only a reader may go. A disk that is full is a failure, and is told.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = ended(
        binary()
            .args(["config", "--defaults"])
            .stdout(full)
            .stderr(Stdio::piped()),
        "",
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.starts_with("larder: ") && told.lines().count() == 1,
        "{told}"
    );
}
