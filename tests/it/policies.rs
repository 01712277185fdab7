//! What happens to a name that is taken, and which policy holds where (API.md §5).

use crate::support::{Daemon, Request, Setup, file_path, path};

#[test]
fn each_policy_answers_as_its_row_says() {
    let mut setup = Setup::default();
    for policy in ["release", "package", "write-once", "cache"] {
        setup = setup.policy(&format!("admin/{policy}"), policy);
    }
    let daemon = setup.start();
    // Policy, first PUT, another file of the version, the same file with the same bytes, with other bytes, bytes after.
    let table = [
        ("release", 201, 400, 400, 400, "one"),
        ("package", 201, 201, 409, 409, "one"),
        ("write-once", 201, 201, 200, 409, "one"),
        ("cache", 200, 200, 200, 200, "two"),
    ];
    for (policy, first, joins, same, other, after) in table {
        let file = path(policy, "1", "f");
        assert_eq!(daemon.put(&file, "one"), first, "{policy}: first");
        assert_eq!(
            daemon.put(&path(policy, "1", "g"), "one"),
            joins,
            "{policy}: second file"
        );
        assert_eq!(daemon.put(&file, "one"), same, "{policy}: same bytes");
        daemon.assert_serves(&file, b"one");
        assert_eq!(daemon.put(&file, "two"), other, "{policy}: other bytes");
        daemon.assert_serves(&file, after.as_bytes());
        assert_eq!(daemon.delete(&file), 204, "{policy}");
    }
    for (policy, text) in [
        ("package", "package file already exists"),
        ("write-once", "package file already exists"),
    ] {
        let taken = path(policy, "2", "f");
        daemon.put(&taken, "one");
        assert_eq!(
            daemon.as_admin(Request::put(&taken, "two")).text(),
            text,
            "{policy}"
        );
    }
}

#[test]
fn what_a_replacing_put_answers_describes_the_new_bytes() {
    let daemon = Setup::default().policy("admin/*", "cache").start();
    for body in ["one", "two", "two", "three"] {
        let put = daemon.as_admin(Request::put(&path("any", "1", "f"), body));
        assert_eq!(put.status, 200);
        assert_eq!(
            put.header("etag"),
            Some(crate::support::etag(body.as_bytes()).as_str())
        );
        daemon.assert_serves(&path("any", "1", "f"), body.as_bytes());
    }
}

/// Finds out by its behaviour which policy a package has.
fn policy_of(daemon: &Daemon, owner: &str, package: &str) -> &'static str {
    let put = |file: &str| daemon.put(&file_path(owner, package, "probe", file), "same");
    let outcome = [put("f"), put("g"), put("f")];
    match outcome {
        [201, 400, 400] => "release",
        [201, 201, 409] => "package",
        [201, 201, 200] => "write-once",
        [200, 200, 200] => "cache",
        _ => panic!("{owner}/{package}: no policy answers {outcome:?}"),
    }
}

#[test]
fn the_most_specific_pattern_wins() {
    let daemon = Setup::default()
        .policy("*/tool", "write-once")
        .policy("*/*", "package")
        .policy("admin/*", "cache")
        .policy("admin/to*", "package")
        .policy("admin/tool-*", "release")
        .policy("admin/tool", "release")
        .policy("ADMIN/Mixed-Case", "write-once")
        .policy("al*/x", "release")
        .policy("alice/*", "cache")
        .policy("admin/la*", "cache")
        .policy("admin/*st", "write-once")
        .policy("admin/twice", "release")
        .policy("admin/twice", "write-once")
        .start();
    daemon.create_user("alice", "a long password", "public");
    daemon.create_user("alfred", "a long password", "public");
    #[rustfmt::skip]
    let table = [
        ("admin", "tool", "release", "a literal package beats a glob"),
        ("admin", "tool-x", "release", "more literal characters"),
        ("admin", "tower", "package", "more literal characters"),
        ("admin", "other", "cache", "a literal owner beats a glob owner"),
        ("admin", "mixed-case", "write-once", "patterns are compared in lower case"),
        ("admin", "MIXED-CASE", "write-once", "so are names"),
        ("admin", "last", "write-once", "of equals the later"),
        ("admin", "twice", "write-once", "of equals the later"),
        ("alice", "x", "cache", "a literal owner beats a literal package"),
        ("alice", "tool", "cache", "a literal owner beats a literal package"),
        ("alfred", "tool", "write-once", "a literal package beats a glob"),
        ("alfred", "y", "package", "the widest pattern"),
    ];
    for (owner, package, policy, why) in table {
        assert_eq!(
            policy_of(&daemon, owner, package),
            policy,
            "{owner}/{package}: {why}"
        );
        assert_eq!(
            daemon.delete(&format!("/api/packages/{owner}/generic/{package}/probe")),
            204
        );
    }
}

#[test]
fn without_a_setting_it_is_release() {
    let daemon = Setup::default().policy("admin/cached", "cache").start();
    daemon.create_user("alice", "a long password", "public");
    assert_eq!(policy_of(&daemon, "admin", "tool"), "release");
    assert_eq!(policy_of(&daemon, "alice", "cached"), "release");
    assert_eq!(policy_of(&daemon, "admin", "cached"), "cache");
}
