//! Who may do what. Nothing else decides it.

use super::{Caller, SignedIn};
use crate::store::model::{Account, Visibility};

/// What a caller wants to do with an owner's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Download.
    Read,
    /// Publish.
    Write,
    /// Remove.
    Delete,
}

/// Why not. `http::error` turns these into status codes: differently for /api/packages and /api/v1 (API.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credentials, and they are needed.
    #[error("authentication is required")]
    SignIn,
    /// Too little permission, too little scope, or an inactive account.
    #[error("permission denied")]
    Permission,
    /// A `public-only` token on an owner that is not public.
    #[error("the token is limited to public owners")]
    PublicOnly,
}

/// Whether a caller may do this with the packages of `owner`.
///
/// A token can only narrow what its account may do, an admin's too: its scopes count first, then `public-only`, then
/// the account.
pub fn permit(caller: &Caller, owner: &Account, action: Action) -> Result<(), Denied> {
    let public = owner.visibility == Visibility::Public;
    let signed_in = match caller {
        Caller::Anonymous if public && action == Action::Read => return Ok(()),
        Caller::Anonymous => return Err(Denied::SignIn),
        Caller::User(signed_in) => signed_in,
    };
    let in_scope = match action {
        Action::Read => signed_in.scopes.reads_packages(),
        Action::Write | Action::Delete => signed_in.scopes.writes_packages(),
    };
    if !in_scope {
        return Err(Denied::Permission);
    }
    if signed_in.scopes.is_public_only() && !public {
        return Err(Denied::PublicOnly);
    }
    if account_may(&signed_in.account, owner, action) {
        Ok(())
    } else {
        Err(Denied::Permission)
    }
}

/// Whether a caller may administer: accounts, owners, the store. A `public-only` token may not, since it could make
/// itself a token without that limit.
pub fn permit_admin(caller: &Caller) -> Result<(), Denied> {
    let SignedIn { account, scopes, .. } = signed_in(caller)?;
    if !(account.active && account.admin && scopes.administers()) {
        return Err(Denied::Permission);
    }
    if scopes.is_public_only() {
        return Err(Denied::PublicOnly);
    }
    Ok(())
}

/// Whether a caller may list, create and revoke the tokens of `account`: its user by password, so that a token cannot
/// make more of itself, and admins.
pub fn permit_tokens(caller: &Caller, account: &Account) -> Result<(), Denied> {
    let signed_in = signed_in(caller)?;
    let own = signed_in.account.active && signed_in.account.id == account.id;
    if own && signed_in.token.is_none() {
        return Ok(());
    }
    permit_admin(caller)
}

fn account_may(account: &Account, owner: &Account, action: Action) -> bool {
    if !account.active {
        return false;
    }
    let own = account.id == owner.id;
    let readable = matches!(owner.visibility, Visibility::Public | Visibility::Limited);
    own || account.admin || (action == Action::Read && readable)
}

fn signed_in(caller: &Caller) -> Result<&SignedIn, Denied> {
    match caller {
        Caller::Anonymous => Err(Denied::SignIn),
        Caller::User(signed_in) => Ok(signed_in),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::access::Scopes;
    use crate::access::fake;

    const OWNER: u64 = 1;
    const OTHER: u64 = 2;

    fn owner(visibility: &str) -> Account {
        Account {
            visibility: match visibility {
                "public" => Visibility::Public,
                "limited" => Visibility::Limited,
                "private" => Visibility::Private,
                other => panic!("{other}"),
            },
            ..fake::account(OWNER, "owner")
        }
    }

    fn caller(who: &str, scopes: &str) -> Caller {
        let (id, admin, active) = match who {
            "anonymous" => return Caller::Anonymous,
            "unrelated" => (OTHER, false, true),
            "self" => (OWNER, false, true),
            "admin" => (OTHER, true, true),
            "inactive" => (OWNER, true, false),
            other => panic!("{other}"),
        };
        let account = Account {
            admin,
            active,
            ..fake::account(id, who)
        };
        let (scopes, token) = match scopes {
            "password" => (Scopes::ALL, None),
            names => (
                Scopes::from_names(&names.split(',').collect::<Vec<_>>()).unwrap(),
                Some(7),
            ),
        };
        Caller::User(Box::new(SignedIn {
            account,
            scopes,
            token,
        }))
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

    /// Read and write for each visibility of the owner. Delete is as write.
    const TABLE: &str = "
        who        credential                 public    limited   private
        anonymous  -                          ok  401   401 401   401 401

        unrelated  password                   ok  no    ok  no    no  no
        unrelated  read:package               ok  no    ok  no    no  no
        unrelated  write:package              ok  no    ok  no    no  no
        unrelated  all                        ok  no    ok  no    no  no
        unrelated  admin                      no  no    no  no    no  no
        unrelated  all,public-only            ok  no    pub pub   pub pub
        unrelated  read:package,public-only   ok  no    pub no    pub no
        unrelated  admin,public-only          no  no    no  no    no  no

        self       password                   ok  ok    ok  ok    ok  ok
        self       read:package               ok  no    ok  no    ok  no
        self       write:package              ok  ok    ok  ok    ok  ok
        self       all                        ok  ok    ok  ok    ok  ok
        self       admin                      no  no    no  no    no  no
        self       all,public-only            ok  ok    pub pub   pub pub
        self       read:package,public-only   ok  no    pub no    pub no
        self       write:package,public-only  ok  ok    pub pub   pub pub

        admin      password                   ok  ok    ok  ok    ok  ok
        admin      read:package               ok  no    ok  no    ok  no
        admin      write:package              ok  ok    ok  ok    ok  ok
        admin      all                        ok  ok    ok  ok    ok  ok
        admin      admin                      no  no    no  no    no  no
        admin      all,public-only            ok  ok    pub pub   pub pub
        admin      admin,public-only          no  no    no  no    no  no

        inactive   password                   no  no    no  no    no  no
        inactive   all                        no  no    no  no    no  no
    ";

    #[test]
    fn everyone_may_do_what_the_table_says() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|row| !row.is_empty())
            .collect();
        assert_eq!(rows.len(), 27);
        for row in &rows[1..] {
            let caller = caller(row[0], row[1]);
            for (column, visibility) in ["public", "limited", "private"].into_iter().enumerate() {
                let owner = owner(visibility);
                let (read, write) = (row[2 + 2 * column], row[3 + 2 * column]);
                let expected = [
                    (Action::Read, read),
                    (Action::Write, write),
                    (Action::Delete, write),
                ];
                for (action, expected) in expected {
                    let found = word(permit(&caller, &owner, action));
                    assert_eq!(
                        found, expected,
                        "{} with {}: {action:?} on {visibility}",
                        row[0], row[1]
                    );
                }
            }
        }
    }

    #[test]
    fn packages_of_an_inactive_owner_stay_readable() {
        let owner = Account {
            active: false,
            ..owner("public")
        };
        assert_eq!(permit(&Caller::Anonymous, &owner, Action::Read), Ok(()));
        assert_eq!(
            permit(&caller("unrelated", "password"), &owner, Action::Read),
            Ok(())
        );
    }

    #[test]
    fn administration_needs_an_admin_and_a_scope_for_it() {
        let table = [
            ("anonymous", "-", "401"),
            ("self", "password", "no"),
            ("self", "all", "no"),
            ("admin", "password", "ok"),
            ("admin", "all", "ok"),
            ("admin", "admin", "ok"),
            ("admin", "all,public-only", "pub"),
            ("admin", "write:package", "no"),
            ("inactive", "password", "no"),
        ];
        for (who, credential, expected) in table {
            assert_eq!(
                word(permit_admin(&caller(who, credential))),
                expected,
                "{who} with {credential}"
            );
        }
    }

    #[test]
    fn tokens_are_made_with_the_own_password_or_by_an_admin() {
        let table = [
            ("anonymous", "-", "401"),
            ("unrelated", "password", "no"),
            ("self", "password", "ok"),
            ("self", "all", "no"),
            ("self", "admin", "no"),
            ("admin", "password", "ok"),
            ("admin", "all", "ok"),
            ("admin", "admin", "ok"),
            ("admin", "all,public-only", "pub"),
            ("admin", "write:package", "no"),
            ("inactive", "password", "no"),
        ];
        for (who, credential, expected) in table {
            let found = word(permit_tokens(&caller(who, credential), &owner("public")));
            assert_eq!(found, expected, "{who} with {credential}");
        }
    }
}
