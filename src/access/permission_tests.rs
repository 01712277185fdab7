//! The table of who may do what.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::{Grants, Scopes, fake};
use crate::store::model::Grant;

const OWNER: u64 = 1;
const OTHER: u64 = 2;

fn owner(kind: AccountKind, visibility: &str) -> Account {
    Account {
        kind,
        visibility: match visibility {
            "public" => Visibility::Public,
            "limited" => Visibility::Limited,
            "private" => Visibility::Private,
            other => panic!("{other}"),
        },
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
        "self" => (OWNER, false, true, None),
        "admin" => (OTHER, true, true, None),
        "inactive" => (OWNER, true, false, Some(Permission::Admin)),
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
    let (scopes, token) = match names {
        "password" => (Scopes::ALL, None),
        names => (
            Scopes::from_names(&names.split(',').collect::<Vec<_>>()).unwrap(),
            Some(7),
        ),
    };
    let who = SignedIn {
        account,
        scopes,
        token,
        grants,
    };
    (Caller::User(Box::new(who)), membership)
}

/// `ok`, `401` for an anonymous caller, `no` for too little permission, `pub` for a public-only token.
fn word(result: Result<(), Denied>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(Denied::SignIn) => "401",
        Err(Denied::Permission) => "no",
        Err(Denied::PublicOnly) => "pub",
    }
}

/// Read, list and write of the package `app` for each visibility of a user. Delete is as write.
const USER: &str = "
    who        credential                 public        limited       private
    anonymous  -                          ok  401 401   401 401 401   401 401 401

    unrelated  password                   ok  ok  no    ok  ok  no    no  no  no
    unrelated  read:package               ok  ok  no    ok  ok  no    no  no  no
    unrelated  write:package              ok  ok  no    ok  ok  no    no  no  no
    unrelated  all                        ok  ok  no    ok  ok  no    no  no  no
    unrelated  admin                      no  no  no    no  no  no    no  no  no
    unrelated  all,public-only            ok  ok  no    pub pub pub   pub pub pub
    unrelated  read:package,public-only   ok  ok  no    pub pub no    pub pub no
    unrelated  admin,public-only          no  no  no    no  no  no    no  no  no

    self       password                   ok  ok  ok    ok  ok  ok    ok  ok  ok
    self       read:package               ok  ok  no    ok  ok  no    ok  ok  no
    self       write:package              ok  ok  ok    ok  ok  ok    ok  ok  ok
    self       all                        ok  ok  ok    ok  ok  ok    ok  ok  ok
    self       admin                      no  no  no    no  no  no    no  no  no
    self       all,public-only            ok  ok  ok    pub pub pub   pub pub pub
    self       write:package,public-only  ok  ok  ok    pub pub pub   pub pub pub
    self       all@owner/app:w            ok  no  ok    ok  no  ok    ok  no  ok
    self       all@owner/a*:r             ok  no  no    ok  no  no    ok  no  no
    self       all@owner/*:r              ok  ok  no    ok  ok  no    ok  ok  no
    self       read:package@owner/*:w     ok  ok  no    ok  ok  no    ok  ok  no
    self       all@owner/lib:w            no  no  no    no  no  no    no  no  no
    self       all@other/*:w              no  no  no    no  no  no    no  no  no

    admin      password                   ok  ok  ok    ok  ok  ok    ok  ok  ok
    admin      read:package               ok  ok  no    ok  ok  no    ok  ok  no
    admin      all                        ok  ok  ok    ok  ok  ok    ok  ok  ok
    admin      admin                      no  no  no    no  no  no    no  no  no
    admin      all,public-only            ok  ok  ok    pub pub pub   pub pub pub
    admin      all@owner/lib:w            no  no  no    no  no  no    no  no  no

    inactive   password                   no  no  no    no  no  no    no  no  no
    inactive   all                        no  no  no    no  no  no    no  no  no
";

/// The same for an organisation.
const ORGANISATION: &str = "
    who        credential                 public        limited       private
    anonymous  -                          ok  401 401   401 401 401   401 401 401
    unrelated  password                   ok  ok  no    ok  ok  no    no  no  no
    unrelated  all,public-only            ok  ok  no    pub pub pub   pub pub pub

    reader     password                   ok  ok  no    ok  ok  no    ok  ok  no
    reader     write:package              ok  ok  no    ok  ok  no    ok  ok  no
    reader     admin                      no  no  no    no  no  no    no  no  no
    reader     all,public-only            ok  ok  no    pub pub pub   pub pub pub

    writer     password                   ok  ok  ok    ok  ok  ok    ok  ok  ok
    writer     read:package               ok  ok  no    ok  ok  no    ok  ok  no
    writer     write:package              ok  ok  ok    ok  ok  ok    ok  ok  ok
    writer     write:package,public-only  ok  ok  ok    pub pub pub   pub pub pub
    writer     all@owner/app:w            ok  no  ok    ok  no  ok    ok  no  ok
    writer     all@owner/*:r              ok  ok  no    ok  ok  no    ok  ok  no

    manager    password                   ok  ok  ok    ok  ok  ok    ok  ok  ok
    manager    read:package               ok  ok  no    ok  ok  no    ok  ok  no

    admin      password                   ok  ok  ok    ok  ok  ok    ok  ok  ok
    admin      admin                      no  no  no    no  no  no    no  no  no
    inactive   password                   no  no  no    no  no  no    no  no  no
";

fn check(table: &str, kind: AccountKind, expected_rows: usize) {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
        .collect();
    assert_eq!(rows.len(), expected_rows);
    for row in &rows[1..] {
        let (caller, membership) = caller(row[0], row[1]);
        for (column, visibility) in ["public", "limited", "private"].into_iter().enumerate() {
            let owner = owner(kind, visibility);
            let words = &row[2 + 3 * column..5 + 3 * column];
            for (action, package, expected) in [
                (Action::Read, Some("app"), words[0]),
                (Action::List, None, words[1]),
                (Action::Write, Some("app"), words[2]),
                (Action::Delete, Some("app"), words[2]),
            ] {
                let target = Target {
                    owner: &owner,
                    package,
                    membership,
                };
                assert_eq!(
                    word(permit(&caller, target, action)),
                    expected,
                    "{} with {}: {action:?} on a {visibility} {kind:?}",
                    row[0],
                    row[1]
                );
            }
        }
    }
}

#[test]
fn everyone_may_do_what_the_table_says() {
    check(USER, AccountKind::User, 31);
    check(ORGANISATION, AccountKind::Organisation, 19);
}

#[test]
fn packages_of_an_inactive_owner_stay_readable() {
    let owner = Account {
        active: false,
        ..owner(AccountKind::User, "public")
    };
    let target = Target {
        owner: &owner,
        package: Some("app"),
        membership: None,
    };
    for (who, credential) in [("anonymous", "-"), ("unrelated", "password")] {
        let (caller, _) = caller(who, credential);
        assert_eq!(permit(&caller, target, Action::Read), Ok(()), "{who}");
    }
}

/// Who may administer the server, manage an organisation, and manage the tokens of the account `owner`.
const MANAGEMENT: &str = "
    who        credential         server  organisation  tokens
    anonymous  -                  401     401           401
    unrelated  password           no      no            no
    writer     password           no      no            no
    manager    password           no      ok            no
    manager    all                no      ok            no
    manager    admin              no      no            no
    manager    write:package      no      no            no
    manager    all,public-only    no      no            no
    manager    all@owner/*:w      no      no            no
    self       password           no      no            ok
    self       all                no      no            no
    self       admin              no      no            no
    admin      password           ok      ok            ok
    admin      all                ok      ok            ok
    admin      admin              ok      ok            ok
    admin      all,public-only    pub     pub           pub
    admin      all@owner/*:w      no      no            no
    admin      write:package      no      no            no
    inactive   password           no      no            no
";

#[test]
fn management_needs_the_right_people_and_credentials() {
    let rows: Vec<Vec<&str>> = MANAGEMENT
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
        .collect();
    assert_eq!(rows.len(), 20);
    for row in &rows[1..] {
        let (caller, membership) = caller(row[0], row[1]);
        let found = [
            word(permit_admin(&caller)),
            word(permit_management(&caller, membership)),
            word(permit_tokens(&caller, &owner(AccountKind::User, "public"))),
        ];
        assert_eq!(found[..], row[2..], "{} with {}", row[0], row[1]);
    }
}
