//! `larder account …`, with a running daemon and without one: the same answers.

use std::process::Output;

use serde_json::Value;

use crate::support::{Daemon, Request, Setup, basic, bearer, file_path};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `larder account` with these words; it must succeed.
#[track_caller]
fn account(daemon: &Daemon, words: &str) -> String {
    let output = run(daemon, words, "");
    assert!(output.status.success(), "{words}: {}", told(&output));
    text(&output)
}

fn run(daemon: &Daemon, words: &str, input: &str) -> Output {
    let mut arguments = vec!["account"];
    arguments.extend(words.split(' '));
    daemon.run(&arguments, input)
}

fn json(daemon: &Daemon, words: &str) -> Value {
    let shown = account(daemon, &format!("{words} --json"));
    serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{words}: {error}: {shown}"))
}

/// The names in a list.
fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// Everything that can be done, one after the other.
fn everything(daemon: &Daemon) -> Vec<Value> {
    account(daemon, "organisation create tools --visibility limited");
    account(daemon, "org create empty");
    let created = run(
        daemon,
        "create alice --email a@example.org --visibility private",
        "a long password\n",
    );
    assert!(created.status.success(), "{}", told(&created));
    let generated = account(daemon, "create bob --generate --inactive");
    assert_eq!(generated.len(), 32, "only the password: {generated}");
    let bot = json(daemon, "create ci-bot --no-password --member tools=write");
    assert_eq!(
        (&bot["name"], &bot["password"]),
        (&"ci-bot".into(), &false.into())
    );

    let token = account(
        daemon,
        "token create ci-bot ci --scope write:package --grant tools/*=write --expires 90days",
    );
    assert!(token.starts_with("lrd_") && token.len() == 44, "{token}");
    let tokens = json(daemon, "token list ci-bot");
    assert_eq!(names(&tokens["tokens"]), ["ci"]);
    assert_eq!(tokens["tokens"][0]["scopes"][0], "write:package");
    assert!(tokens["tokens"][0]["expires"].is_string());
    assert!(tokens["tokens"][0]["last_used"].is_null());
    assert!(!tokens.to_string().contains(&token));
    account(daemon, "token create ci-bot second --scope all");
    account(daemon, "token revoke ci-bot second");

    account(daemon, "member set tools alice read");
    account(daemon, "member set tools bob admin");
    account(daemon, "member remove tools bob");
    let members = json(daemon, "member list tools");
    assert_eq!(names(&members["members"]), ["alice", "ci-bot"]);

    account(daemon, "edit alice --visibility limited --admin true");
    account(daemon, "edit bob --active true --email b@example.org");
    account(daemon, "edit tools --visibility private");
    account(daemon, "organisation delete empty");
    account(daemon, "delete bob");

    let listed = account(daemon, "list");
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("ID") && lines.len() == 5, "{listed}");
    let mut shown = json(daemon, "list")["accounts"].as_array().unwrap().clone();
    shown.push(json(daemon, "show tools"));
    for account in &mut shown {
        // These differ from store to store.
        account["created"].take();
        account["id"].take();
    }
    shown
}

#[test]
fn accounts_are_managed_with_and_without_a_daemon() {
    let online = Setup::default().start();
    let with = everything(&online);
    assert_eq!(with.len(), 5, "{with:?}");

    let mut offline = Setup::default().start();
    offline.terminate();
    assert_eq!(everything(&offline), with);
    offline.start();
    let alice = Request::get("/api/v1/user").header("Authorization", basic("alice", "a long password"));
    let answer = offline.send(&alice);
    assert_eq!(answer.json()["is_admin"], true, "{}", answer.text());
    assert_eq!(answer.json()["visibility"], "limited");
}

#[test]
fn an_owner_of_packages_goes_only_with_them() {
    let mut daemon = Setup::default().start();
    for running in [true, false] {
        let name = if running { "online" } else { "offline" };
        daemon.create_user(name, "a long password", "public");
        assert_eq!(daemon.put(&file_path(name, "tool", "1", "f"), "x"), 201);
        if !running {
            daemon.terminate();
        }
        let refused = run(&daemon, &format!("delete {name}"), "");
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            told(&refused).contains("still owns packages"),
            "{}",
            told(&refused)
        );
        account(&daemon, &format!("delete {name} --purge"));
        if !running {
            daemon.start();
        }
        assert_eq!(daemon.get(&file_path(name, "tool", "1", "f")).status, 404);
        assert!(!account(&daemon, "list").contains(name));
    }
}

#[test]
fn what_cannot_be_done_is_said_with_a_code() {
    let mut daemon = Setup::default().start();
    account(&daemon, "create bob --no-password");
    account(&daemon, "org create tools");
    for running in [true, false] {
        if !running {
            daemon.terminate();
        }
        for (words, code, message) in [
            ("create bob --no-password", 1, "already exists"),
            ("create a--b --no-password", 1, "letters and digits"),
            (
                "create new --no-password --member nothing=read",
                1,
                "no such organisation",
            ),
            (
                "create new --no-password --member tools=own",
                2,
                "read, write or admin",
            ),
            ("create new --no-password --generate", 2, "cannot be used with"),
            (
                "create new --no-password --visibility secret",
                2,
                "public, limited, private",
            ),
            ("show nobody", 1, "no such account"),
            ("edit admin --active false", 1, "last active admin"),
            ("edit admin --active perhaps", 2, "true, false"),
            ("edit tools --admin true", 1, "only the visibility"),
            ("delete admin", 1, "last active admin"),
            ("token create bob t --scope read:everything", 1, "unknown scope"),
            ("token create bob t", 2, "--scope"),
            ("token create bob t --scope all --expires yesterday", 2, "90days"),
            (
                "token create bob t --scope all --expires 2001-01-01T00:00:00Z",
                1,
                "expired already",
            ),
            ("token create bob t --scope all --grant tools=write", 1, "tools"),
            (
                "token create bob t --scope all --grant tools/*=all",
                2,
                "owner/package=read",
            ),
            ("token create tools t --scope all", 1, "does not exist"),
            ("token revoke bob nothing", 1, "token does not exist"),
            ("member set tools nobody read", 1, "user does not exist"),
            ("member remove tools bob", 1, "not a member"),
            ("member list bob", 1, "no such organisation"),
        ] {
            let output = run(&daemon, words, "");
            assert_eq!(output.status.code(), Some(code), "{words}: {}", told(&output));
            assert!(told(&output).contains(message), "{words}: {}", told(&output));
            assert_eq!(text(&output), "", "{words}");
        }
        let listed = account(&daemon, "list");
        assert_eq!(
            listed.lines().count(),
            4,
            "nothing was created on the way: {listed}"
        );
    }
}

#[test]
fn a_token_from_the_command_line_works_until_it_is_revoked() {
    let daemon = Setup::default().start();
    account(&daemon, "org create tools --visibility limited");
    account(&daemon, "create ci-bot --no-password --member tools=write");
    let token = account(&daemon, "token create ci-bot ci --scope write:package");
    let put = |version: &str| {
        let request = Request::put(&file_path("tools", "app", version, "f"), "x");
        daemon
            .send(&request.header("Authorization", bearer(&token)))
            .status
    };
    assert_eq!(put("1"), 201);
    let used = json(&daemon, "token list ci-bot");
    assert!(used["tokens"][0]["last_used"].is_string(), "{used}");
    account(&daemon, "token revoke ci-bot ci");
    assert_eq!(put("2"), 401);
}
