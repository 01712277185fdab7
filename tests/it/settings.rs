//! Configuration and command line: mistakes are named, with exit code 2, before anything is touched (issue 2).

use std::process::Output;

use crate::support::{Setup, binary, output_within};

/// Environment variables: name and value.
type Variables<'a> = &'a [(&'a str, &'a str)];

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the binary with a configuration file and an environment, to see it refuse or accept them.
fn check(config: &str, env: Variables) -> Output {
    let daemon = Setup::default().config(config).prepare();
    let mut command = binary();
    command
        .args(["check-config", "--config"])
        .arg(daemon.config_path())
        .envs(env.iter().copied());
    output_within(&mut command, "")
}

#[test]
fn check_config_accepts_what_is_right() {
    let good = "[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"5s\"\n[store]\nmax_size = \"10 GiB\"\n\
                [limits]\nmax_file_size = \"1 GiB\"\n[log]\nformat = \"json\"\n\
                [[policies]]\npackages = \"ci/*\"\npolicy = \"package\"\n";
    #[rustfmt::skip]
    let rows: [(&str, Variables); 4] = [
        ("", &[]),
        (good, &[]),
        ("", &[("LARDER__LIMITS__MAX_FILE_SIZE", "5 MiB")]),
        ("", &[("LARDER_OTHER", "left alone"), ("LARDERX", "x"), ("LARDER_ADMIN_PASSWORD", "x")]),
    ];
    for (config, env) in rows {
        let output = check(config, env);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{config} {env:?}: {}",
            stderr_of(&output)
        );
    }
}

#[test]
fn mistakes_in_the_configuration_are_exit_2_and_named() {
    #[rustfmt::skip]
    let rows: [(&str, Variables, &str); 18] = [
        ("[server]\nlissten = \"127.0.0.1:0\"\n", &[], "lissten"),
        ("[sever]\nlisten = \"127.0.0.1:0\"\n", &[], "sever"),
        ("[server]\nlisten = \"not an address\"\n", &[], "server.listen"),
        ("[server]\nshutdown_grace = \"soon\"\n", &[], "shutdown_grace"),
        ("[limits]\nmax_file_size = \"many\"\n", &[], "max_file_size"),
        ("[limits]\nuploads_per_owner = 0\n", &[], "uploads_per_owner"),
        ("[limits]\nuploads_per_owner = -1\n", &[], "uploads_per_owner"),
        ("[log]\nformat = \"pretty\"\n", &[], "log.format"),
        ("[metrics]\ntoken = \"short\"\n", &[], "metrics.token"),
        ("[metrics]\ntoken_file = \"/nowhere/at/all\"\n", &[], "/nowhere/at/all"),
        ("[metrics]\ntoken = \"0123456789abcdef\"\ntoken_file = \"x\"\n", &[], "write one"),
        ("[[policies]]\npackages = \"admin/*\"\npolicy = \"relese\"\n", &[], "relese"),
        ("[[policies]]\npackages = \"no-slash\"\npolicy = \"cache\"\n", &[], "no-slash"),
        ("[[policies]]\npackages = \"a/[\"\npolicy = \"cache\"\n", &[], "a/["),
        ("[[policies]]\npackages = \"a/b\"\npolicy = \"cache\"\nextra = 1\n", &[], "extra"),
        ("this is = = no toml", &[], "larder.toml"),
        ("", &[("LARDER__SERVER__LISSTEN", "127.0.0.1:0")], "LISSTEN"),
        ("", &[("LARDER__LIMITS__MAX_FILE_SIZE", "many")], "MAX_FILE_SIZE"),
    ];
    for (config, env, place) in rows {
        let output = check(config, env);
        let said = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{config} {env:?}: {said}");
        assert!(
            said.to_lowercase().contains(&place.to_lowercase()),
            "{config} {env:?} does not name {place}: {said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn serve_refuses_the_same_mistakes_before_it_touches_anything() {
    let daemon = Setup::default().config("[server]\nlissten = \"x\"\n").prepare();
    let mut command = binary();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(daemon.data());
    command.arg("--config").arg(daemon.config_path());
    let output = output_within(&mut command, "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("lissten"), "{}", stderr_of(&output));
    assert!(!daemon.data().exists(), "no store was created");
}

#[test]
fn mistakes_on_the_command_line_are_exit_2() {
    let rows: [&[&str]; 7] = [
        &["serve", "--lissten", "127.0.0.1:0"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--config", "/does/not/exist.toml"],
        &["frobnicate"],
        &["account"],
        &["account", "password"],
        &["check-config", "--config", "/does/not/exist.toml"],
    ];
    for arguments in rows {
        let output = output_within(binary().args(arguments), "");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr_of(&output)
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}: says why");
    }
}

#[test]
fn help_and_version() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["account", "password", "--help"],
        &["--version"],
    ] {
        let output = output_within(binary().args(arguments), "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(said.contains("larder"), "{arguments:?}: {said}");
    }
    let version = output_within(binary().arg("--version"), "");
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
    let help = output_within(binary().arg("--help"), "");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for command in ["serve", "check-config", "rebuild-index", "account"] {
        assert!(help.contains(command), "--help does not mention {command}");
    }
}
