#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn with_file(text: &str) -> Result<Config, ConfigError> {
    let file = file(text);
    load(&Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    })
}

fn with_variables(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load(&Sources {
        environment: environment(variables),
        ..Sources::default()
    })
}

fn flag(name: &'static str, key: &'static str, value: &str) -> Flag {
    Flag {
        name,
        key,
        value: value.into(),
    }
}

/// The one line of an error that has one.
fn only(result: Result<Config, ConfigError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    error.to_string()
}

#[test]
fn the_defaults_are_complete_and_valid() {
    let config = load(&Sources::default()).unwrap();
    assert_eq!(config.listen, [Listen::Http("127.0.0.1:3000".parse().unwrap())]);
    assert_eq!(config.store.data.to_str(), Some("./larder-data"));
    assert_eq!(config.store.limits, crate::store::Limits::default());
    assert_eq!(config.artifact.max_uploads, 1024);
    assert_eq!(config.artifact.max_uploads_per_owner, 256);
    assert_eq!(config.artifact.limits.file_size, None);
    assert_eq!(config.http.drain_bytes, 64 << 20);
    assert_eq!(config.metrics_listen, None);
}

#[test]
fn the_production_file_loads() {
    let config = with_file(include_str!("../../config/production.toml")).unwrap();
    assert_eq!(config.artifact.limits.file_size, Some(10 << 30));
    assert_eq!(config.store.limits.max_size, Some(920 << 30));
    assert!(!config.http.query_tokens);
}

#[test]
fn later_layers_win() {
    let file = file("[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\nkeep_alive = \"1m\"\n");
    let config = load(&Sources {
        file: Some(file.path().to_owned()),
        environment: environment(&[
            ("LARDER__SERVER__LISTEN", "127.0.0.1:2"),
            ("LARDER__SERVER__WORKERS", "4"),
        ]),
        flags: vec![flag("--listen", "server.listen", "127.0.0.1:3")],
    })
    .unwrap();
    assert_eq!(config.listen[0].to_string(), "127.0.0.1:3");
    assert_eq!(config.http.workers, 4);
    assert_eq!(config.http.keep_alive, Duration::from_secs(60));
    assert_eq!(
        config.effective["server.listen"],
        (Place::Flag("--listen"), "127.0.0.1:3".to_owned())
    );
    assert_eq!(
        config.effective["server.workers"].0,
        Place::Variable("LARDER__SERVER__WORKERS".to_owned())
    );
    assert_eq!(
        config.effective["server.keep_alive"].0,
        Place::File(file.path().to_owned())
    );
    assert_eq!(config.effective["store.data"].0, Place::BuiltIn);
}

#[test]
fn the_file_can_be_named_by_a_variable_and_the_flag_beats_it() {
    let [flagged, named] = [file("[server]\nworkers = 5\n"), file("[server]\nworkers = 6\n")];
    let mut sources = Sources {
        environment: vec![("LARDER_CONFIG".into(), named.path().into())],
        ..Sources::default()
    };
    assert_eq!(load(&sources).unwrap().http.workers, 6);
    sources.file = Some(flagged.path().to_owned());
    assert_eq!(load(&sources).unwrap().http.workers, 5);
}

#[test]
fn unknown_keys_name_their_place_and_the_nearest_key() {
    let error = with_file("[server]\nlisen = \"x\"\n[sever]\nlisten = 1\n[store]\nshutdown_grace = \"1s\"\n")
        .unwrap_err();
    let lines: Vec<String> = error.problems.iter().map(Problem::to_string).collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(
        lines[0].ends_with("server.lisen: unknown key; did you mean server.listen?"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].ends_with("sever: unknown key; did you mean server?"),
        "{}",
        lines[1]
    );
    assert!(lines[2].ends_with("store.shutdown_grace: unknown key; did you mean server.shutdown_grace?"));
    assert!(matches!(error.problems[0].place, Place::File(_)));
}

#[test]
fn unknown_variables_are_errors_and_other_names_are_not_ours() {
    assert_eq!(
        only(with_variables(&[("LARDER__SERVER__LISTN", "x")])),
        "environment variable LARDER__SERVER__LISTN: there is no such setting; did you mean LARDER__SERVER__LISTEN?"
    );
    assert!(only(with_variables(&[("LARDER__", "x")])).starts_with("environment variable LARDER__: "));
    assert!(only(with_variables(&[("LARDER__SERVER", "x")])).contains("LARDER__SERVER: "));
    assert!(only(with_variables(&[("LARDER__server__listen", "x")])).contains("LARDER__SERVER__LISTEN?"));
    with_variables(&[
        ("LARDER_ADMIN_PASSWORD", "x"),
        ("LARDER_SERVER__LISTEN", "x"),
        ("HOME", "/"),
    ])
    .unwrap();
}

#[test]
fn bad_values_name_their_place() {
    let error = only(with_variables(&[("LARDER__SERVER__SHUTDOWN_GRACE", "soon")]));
    assert!(
        error.starts_with("environment variable LARDER__SERVER__SHUTDOWN_GRACE: server.shutdown_grace: ")
    );
    assert!(error.contains("\"soon\" is not a duration"), "{error}");

    let error = only(with_file("[store]\nmax_size = \"lots\"\n"));
    assert!(
        error.contains("store.max_size: \"lots\" is not a size") && error.ends_with("or \"none\""),
        "{error}"
    );

    let listen = flag("--listen", "server.listen", "3000");
    let sources = Sources {
        flags: vec![listen],
        ..Sources::default()
    };
    assert!(
        only(load(&sources))
            .starts_with("flag --listen: server.listen: \"3000\" is not an IP address and port")
    );

    for (text, key) in [
        ("[server]\nworkers = 0\n", "server.workers"),
        ("[server]\nworkers = true\n", "server.workers"),
        ("[server]\nworkers = -1\n", "server.workers"),
        ("[server]\nquery_tokens = \"perhaps\"\n", "server.query_tokens"),
        ("[server]\nlisten = [1]\n", "server.listen"),
        ("[server.listen]\nport = 1\n", "server.listen"),
        ("server = 1\n", "server"),
        ("[store]\ndata = \"\"\n", "store.data"),
        ("[store]\nsegment_queue = 1\n", "store.segment_queue"),
        ("[limits]\nuploads = 0\n", "limits.uploads"),
        ("[limits]\nstall_window = \"1ms\"\n", "limits.stall_window"),
        ("[gc]\nrate = \"1KiB\"\n", "gc.rate"),
        ("[gc]\nevery = \"1s\"\n", "gc.every"),
        ("[gc]\nafter_removed = 5\n", "gc.after_removed"),
        ("[gc]\nyield_above = \"2h\"\n", "gc.yield_above"),
        ("[scrub]\nrate = \"1KiB\"\n", "scrub.rate"),
        ("[scrub]\nevery = \"1ms\"\n", "scrub.every"),
        ("[log]\nformat = \"xml\"\n", "log.format"),
        ("[log]\nlevel = \"inof\"\n", "log.level"),
        ("[metrics]\nlisten = \"127.0.0.1:3000\"\n", "metrics.listen"),
        ("policies = 1\n", "policies"),
        ("[policies]\n", "policies"),
        ("[[policies]]\npackages = \"a/*\"\n", "policies[0].policy"),
        (
            "[[policies]]\npackages = \"a/*\"\npolicy = \"keep\"\n",
            "policies[0].policy",
        ),
        (
            "[[policies]]\npackages = \"a/*\"\npolicy = \"cache\"\nname = 1\n",
            "policies[0]",
        ),
    ] {
        let error = only(with_file(text));
        assert!(error.contains(&format!(": {key}: ")), "{text}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_named() {
    let missing = Sources {
        file: Some("/nonexistent/larder.toml".into()),
        ..Sources::default()
    };
    assert!(only(load(&missing)).starts_with("/nonexistent/larder.toml: cannot be opened"));
    assert!(only(with_file("[server\n")).contains("line 1"));
    assert!(only(with_file(&"#".repeat((1 << 20) + 1))).contains("larger than"));
    let directory = Sources {
        file: Some("/".into()),
        ..Sources::default()
    };
    assert!(only(load(&directory)).contains("cannot be read"));
}

#[test]
fn every_rule_of_a_file_is_kept_in_order() {
    let config = with_file(
        "[[policies]]\npackages = \"ci/*\"\npolicy = \"cache\"\n[[policies]]\npackages = \"ci/keep\"\npolicy = \"package\"\n",
    )
    .unwrap();
    assert_eq!(
        config.artifact.policies.policy("ci", "tmp"),
        crate::owner::Policy::Cache
    );
    assert_eq!(
        config.artifact.policies.policy("ci", "keep"),
        crate::owner::Policy::Package
    );
    assert_eq!(
        config.artifact.policies.policy("other", "x"),
        crate::owner::Policy::Release
    );
}

#[test]
fn the_low_watermark_is_below_the_high_one() {
    let config = with_file("[store]\nhigh_watermark = \"70%\"\nlow_watermark = 60\n").unwrap();
    assert_eq!((config.store.limits.high, config.store.limits.low), (70, 60));
    let error = only(with_file("[store]\nhigh_watermark = \"80%\"\n"));
    assert!(
        error.contains("store.low_watermark: 85% is not below store.high_watermark, 80%"),
        "{error}"
    );
    let error = only(with_file("[store]\nhigh_watermark = \"1.5\"\n"));
    assert!(error.contains("\"1.5\" is not a percentage"), "{error}");
}

/// Lines that are close to right, so that the cases reach beyond the parser.
fn near_miss() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("listen".to_owned()),
        Just("data".to_owned()),
        Just("max_size".to_owned()),
        Just("\"server.listen\"".to_owned()),
        Just("\"a[0\"".to_owned()),
        "[a-z_]{1,8}",
    ];
    let value = prop_oneof![
        "-?[0-9]{1,20}",
        "\"[0-9a-zA-Z :.*/-]{0,12}\"",
        Just("[]".to_owned()),
        Just("[[1], {a = 1}]".to_owned()),
        Just("{}".to_owned()),
        Just("nan".to_owned()),
        Just("1979-05-27".to_owned()),
    ];
    let section = prop_oneof![
        Just(""),
        Just("[server]"),
        Just("[store]"),
        Just("[limits]"),
        Just("[[policies]]"),
        Just("[a.b]"),
    ];
    (section, key, value).prop_map(|(section, key, value)| format!("{section}\n{key} = {value}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![".{0,64}", near_miss(), prop::collection::vec(near_miss(), 1..4).prop_map(|parts| parts.concat())]) {
        if let Err(error) = with_file(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_variable_makes_it_panic(name in "[A-Z_.\\[\\]0-9é]{0,20}", value in ".{0,20}") {
        let name = format!("LARDER__{name}");
        if let Err(error) = with_variables(&[(&name, &value)]) {
            prop_assert!(error.to_string().contains(&name));
        }
    }

    #[test]
    fn no_value_makes_it_panic(key in prop::sample::select(vec!["SERVER__WORKERS", "STORE__MAX_SIZE", "LIMITS__STALL_WINDOW", "LOG__LEVEL", "METRICS__LISTEN"]), value in ".{0,20}") {
        let name = format!("LARDER__{key}");
        if let Err(error) = with_variables(&[(&name, &value)]) {
            prop_assert!(error.to_string().contains(&name));
        }
    }
}

#[test]
fn the_readme_lists_every_key_with_its_default() {
    let readme = include_str!("../../README.md");
    let config = load(&Sources::default()).unwrap();
    for (key, (_, value)) in &config.effective {
        let row = format!("| `{key}` | `{value}` |");
        assert!(
            readme.contains(&row),
            "README.md has no row that begins with {row}"
        );
    }
}
