//! What an account may be called.

/// Most characters of an account's name. Shorter than a token, so that neither is taken for the other.
const MAX_LEN: usize = 40;

/// First segments of this server's own paths, which an owner's page may want one day, too.
const RESERVED: [&str; 5] = ["api", "metrics", "livez", "readyz", "healthz"];

/// Why an account cannot be called that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Empty or too long.
    #[error("an account name has 1 to {MAX_LEN} characters, not {given}")]
    Length {
        /// How many it has.
        given: usize,
    },
    /// A character that is not allowed, or not there.
    #[error(
        "an account name is made of letters and digits, with single '-', '_' or '.' between them, unlike {0:?}"
    )]
    Character(String),
    /// A name that the server needs for itself.
    #[error("the account name {0:?} is reserved for the server's own pages: take another")]
    Reserved(String),
}

/// Checks the name of a new account.
pub(super) fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() || name.len() > MAX_LEN {
        let given = name.chars().count();
        return Err(BadName::Length { given });
    }
    // Pieces between the special characters; an empty one means that two stand together, or one at an end.
    let mut pieces = name.split(['-', '_', '.']);
    if !pieces.all(|piece| !piece.is_empty() && piece.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err(BadName::Character(name.to_owned()));
    }
    if RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
    {
        return Err(BadName::Reserved(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let forty = "a".repeat(40);
        for good in [
            "a", "7", "admin", "Ann", "ci-bot", "a.b_c-d", "lrd_bot", "apis", &forty,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "-", ".", "..", "-a", "a-", "a--b", "a.-b", "a b", "a/b", "ä", "a\n", "a:b", "a%",
        ] {
            assert_eq!(check(bad), Err(BadName::Character(bad.to_owned())), "{bad:?}");
        }
        for reserved in ["api", "API", "metrics", "livez", "readyz", "healthz"] {
            assert_eq!(
                check(reserved),
                Err(BadName::Reserved(reserved.to_owned())),
                "{reserved}"
            );
        }
        assert_eq!(check(""), Err(BadName::Length { given: 0 }));
        assert_eq!(check(&"a".repeat(41)), Err(BadName::Length { given: 41 }));
    }
}
