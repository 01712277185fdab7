//! The table of who may do what, row by row.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::access::{Grants, Scopes, fake};
use crate::owner::Pattern;
use crate::store::model::Grant;

const OWNER: u64 = 1;
const OTHER: u64 = 2;

const VISIBILITIES: [Visibility; 3] = [Visibility::Public, Visibility::Limited, Visibility::Private];

/// Every combination; the daemon is held to the same file in `tests/it/permissions.rs`.
const TABLE: &str = include_str!("permission_table.txt");

/// Lines with something in them, in words; the first names the columns.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| !row.is_empty()).skip(1).collect()
}

fn owner(kind: AccountKind, visibility: Visibility) -> Account {
    Account {
        kind,
        visibility,
        ..fake::account(OWNER, "owner")
    }
}

/// Who, and what they are in the organisation.
fn somebody(who: &str) -> Option<(Account, Option<Permission>)> {
    let (id, admin, active, membership) = match who {
        "anonymous" => return None,
        "unrelated" => (OTHER, false, true, None),
        "reader" => (OTHER, false, true, Some(Permission::Read)),
        "writer" => (OTHER, false, true, Some(Permission::Write)),
        "manager" => (OTHER, false, true, Some(Permission::Admin)),
        "owner" => (OWNER, false, true, None),
        "admin" => (OTHER, true, true, None),
        "inactive" => (OWNER, false, false, Some(Permission::Write)),
        other => panic!("{other}"),
    };
    let account = Account {
        admin,
        active,
        ..fake::account(id, who)
    };
    Some((account, membership))
}

/// `password`, or names of scopes of a token, with `@pattern:r` or `@pattern:w` for one that is narrowed.
fn caller(who: &str, credential: &str) -> (Caller, Option<Permission>) {
    let Some((account, membership)) = somebody(who) else {
        return (Caller::Anonymous, None);
    };
    let (names, grant) = match credential.split_once('@') {
        Some((names, grant)) => (names, grant.split_once(':')),
        None => (credential, None),
    };
    let grants = grant.map(|(packages, right)| {
        let grant = Grant {
            packages: packages.to_owned(),
            write: right == "w",
        };
        Grants::new(&[grant]).unwrap()
    });
    let scope = |name| match name {
        "read" => "read:package",
        "write" => "write:package",
        other => other,
    };
    let (scopes, token) = match names {
        "password" => (Scopes::ALL, None),
        names => {
            let names: Vec<_> = names.split(',').map(scope).collect();
            (Scopes::from_names(&names).unwrap(), Some(7))
        }
    };
    let who = SignedIn {
        account,
        scopes,
        token,
        grants,
    };
    (Caller::User(std::sync::Arc::new(who)), membership)
}

/// Four places: read, list, write and delete, as the file explains them.
fn cell(caller: &Caller, owner: &Account, membership: Option<Permission>) -> String {
    let place = |(action, package, letter): (Action, Option<&str>, char)| {
        let target = Target {
            owner,
            package,
            membership,
        };
        match permit(caller, target, action) {
            Ok(()) => letter,
            Err(Denied::SignIn) => '?',
            Err(Denied::Permission) => '-',
            Err(Denied::PublicOnly) => '!',
        }
    };
    let actions = [
        (Action::Read, Some("app"), 'r'),
        (Action::List, None, 'l'),
        (Action::Write, Some("app"), 'w'),
        (Action::Delete, Some("app"), 'd'),
    ];
    actions.into_iter().map(place).collect()
}

#[track_caller]
fn assert_row(kind: AccountKind, who: &str, credential: &str, expected: &[&str]) {
    let (caller, membership) = caller(who, credential);
    let found: Vec<_> = VISIBILITIES
        .iter()
        .map(|visibility| cell(&caller, &owner(kind, *visibility), membership))
        .collect();
    assert_eq!(found, expected, "{kind:?} {who} {credential}");
}

fn kind(word: &str) -> AccountKind {
    match word {
        "user" => AccountKind::User,
        "organisation" => AccountKind::Organisation,
        other => panic!("{other}"),
    }
}

#[test]
fn everyone_may_do_what_the_table_says() {
    for row in rows(TABLE) {
        assert_row(kind(row[0]), row[1], row[2], &row[3..]);
    }
}

#[test]
fn the_table_is_whole() {
    let scopes = ["read", "write", "all", "admin"];
    let credentials = std::iter::once("password".to_owned())
        .chain(scopes.map(str::to_owned))
        .chain(scopes.map(|scope| format!("{scope},public-only")));
    let credentials: Vec<String> = credentials.collect();
    let mut wanted = BTreeSet::new();
    for (kind, who) in [
        ("user", &["inactive", "unrelated", "owner", "admin"][..]),
        (
            "organisation",
            &["inactive", "unrelated", "reader", "writer", "manager", "admin"],
        ),
    ] {
        wanted.insert([kind, "anonymous", "none"].map(str::to_owned));
        for who in who {
            wanted.extend(
                credentials
                    .iter()
                    .map(|credential| [kind, who, credential].map(str::to_owned)),
            );
        }
    }
    let rows = rows(TABLE);
    let found: BTreeSet<_> = rows
        .iter()
        .map(|row| [row[0], row[1], row[2]].map(str::to_owned))
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(rows.len(), wanted.len(), "no row stands twice");
    assert!(rows.iter().all(|row| row.len() == 6));
}

/// Tokens that are narrowed to packages, read or write; the package asked about is `owner/app`.
const NARROWED: &str = "
    owner         who       credential          public  limited  private
    user          owner     all@owner/app:w     r-wd    r-wd     r-wd
    user          owner     all@owner/a*:r      r---    r---     r---
    user          owner     all@owner/*:r       rl--    rl--     rl--
    user          owner     read@owner/*:w      rl--    rl--     rl--
    user          owner     all@owner/lib:w     ----    ----     ----
    user          owner     all@other/*:w       ----    ----     ----
    user          admin     all@owner/lib:w     ----    ----     ----
    user          admin     all@owner/*:w       rlwd    rlwd     rlwd
    user          unrelated all@owner/*:w       rl--    rl--     ----
    organisation  writer    all@owner/app:w     r-wd    r-wd     r-wd
    organisation  writer    all@owner/*:r       rl--    rl--     rl--
    organisation  reader    all@owner/*:w       rl--    rl--     rl--
";

#[test]
fn a_narrowed_token_may_do_no_more_than_that_and_no_more_than_its_account() {
    for row in rows(NARROWED) {
        assert_row(kind(row[0]), row[1], row[2], &row[3..]);
    }
}

/// Workloads, by what their rules grant.
const WORKLOADS: &str = "
    grant           public  limited  private
    owner/*:w       rlwd    rlwd     rlwd
    owner/*:r       rl--    rl--     rl--
    owner/app:w     r-wd    r-wd     r-wd
    owner/lib:w     r---    ----     ----
    other/*:w       r---    ----     ----
";

fn workload(grant: &str) -> Caller {
    let (packages, right) = grant.split_once(':').unwrap();
    Caller::Workload(Box::new(Workload {
        issuer: "github".into(),
        subject: "repo:acme/app".into(),
        grants: Grants::of_rules(vec![(Pattern::new(packages).unwrap(), right == "w")]),
    }))
}

#[test]
fn a_workload_may_do_what_its_rules_grant_and_what_anybody_may() {
    for row in rows(WORKLOADS) {
        let caller = workload(row[0]);
        for kind in [AccountKind::User, AccountKind::Organisation] {
            let found = VISIBILITIES.map(|visibility| cell(&caller, &owner(kind, visibility), None));
            assert_eq!(found[..], row[1..], "{kind:?} {}", row[0]);
        }
        let inactive = Account {
            active: false,
            ..owner(AccountKind::User, Visibility::Public)
        };
        assert_eq!(cell(&caller, &inactive, None), "r---", "{}", row[0]);
        assert_eq!(permit_admin(&caller), Err(Denied::Permission));
        assert_eq!(permit_tokens(&caller, &inactive), Err(Denied::Permission));
        assert_eq!(permit_management(&caller, None), Err(Denied::Permission));
        assert_eq!(permit_new_organisation(&caller, true), Err(Denied::Permission));
    }
}

#[test]
fn packages_of_an_inactive_owner_stay_readable() {
    let owner = Account {
        active: false,
        ..owner(AccountKind::User, Visibility::Public)
    };
    for (who, credential, expected) in [("anonymous", "-", "r???"), ("unrelated", "password", "rl--")] {
        let (caller, _) = caller(who, credential);
        assert_eq!(cell(&caller, &owner, None), expected, "{who}");
    }
}

/// Who may administer the server, manage an organisation, manage the tokens of the account `owner`, create an
/// organisation where users may, and leave one.
const MANAGEMENT: &str = "
    who        credential        server  organisation  tokens  create  leave
    anonymous  -                 401     401           401     401     401
    unrelated  password          no      no            no      ok      no
    writer     password          no      no            no      ok      ok
    manager    password          no      ok            no      ok      ok
    manager    all               no      ok            no      ok      ok
    manager    admin             no      no            no      no      no
    manager    write             no      no            no      no      no
    manager    all,public-only   no      no            no      no      no
    manager    all@owner/*:w     no      no            no      no      no
    owner      password          no      no            ok      ok      no
    owner      all               no      no            no      ok      no
    owner      admin             no      no            no      no      no
    admin      password          ok      ok            ok      ok      ok
    admin      all               ok      ok            ok      ok      ok
    admin      admin             ok      ok            ok      ok      ok
    admin      all,public-only   pub     pub           pub     pub     pub
    admin      all@owner/*:w     no      no            no      no      no
    admin      write             no      no            no      no      no
    inactive   password          no      no            no      no      no
";

fn name_of(caller: &Caller) -> &str {
    match caller {
        Caller::User(who) => &who.account.name,
        _ => "nobody",
    }
}

fn word(result: Result<(), Denied>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(Denied::SignIn) => "401",
        Err(Denied::Permission) => "no",
        Err(Denied::PublicOnly) => "pub",
    }
}

#[test]
fn management_needs_the_right_people_and_credentials() {
    let rows = rows(MANAGEMENT);
    assert_eq!(rows.len(), 19);
    for row in rows {
        let (caller, membership) = caller(row[0], row[1]);
        let found = [
            permit_admin(&caller),
            permit_management(&caller, membership),
            permit_tokens(&caller, &owner(AccountKind::User, Visibility::Public)),
            permit_new_organisation(&caller, true),
            permit_removal(&caller, name_of(&caller), membership),
        ];
        assert_eq!(found.map(word)[..], row[2..], "{} with {}", row[0], row[1]);
        assert_eq!(
            word(permit_new_organisation(&caller, false)),
            row[2],
            "{} with {}",
            row[0],
            row[1]
        );
    }
}
