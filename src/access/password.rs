//! Passwords: the rule, the slow hash, and the check against it.

use std::{fmt, io};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use super::token::WellFormed;
use super::{oidc, random};

/// Fewest characters of a password.
pub const MIN_CHARS: usize = 8;
/// Most characters of a password.
pub const MAX_CHARS: usize = 256;

/// No more characters of a password that is too long are counted.
const MAX_COUNTED: usize = 1000;

const SALT_LEN: usize = 16;

/// What a hash costs: 19 MiB of memory, two passes, one lane (tens of milliseconds). The memory is what makes guessing on
/// graphics cards dear; two at a time keep the daemon within its memory bound. Unit tests pay as little as argon2
/// allows.
const COST: Params = if cfg!(test) {
    params(8, 1)
} else {
    params(19 * 1024, 2)
};

/// A password that cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too short.
    #[error("a password needs at least {MIN_CHARS} characters, not {given}: take a longer one")]
    Short {
        /// Its characters.
        given: usize,
    },
    /// Too long.
    #[error("a password has at most {MAX_CHARS} characters, not {given}: take a shorter one")]
    Long {
        /// Its characters, as far as they were counted.
        given: Counted,
    },
    /// It would be taken for a token, and never work.
    #[error("an access token cannot be used as a password")]
    Token,
}

/// A number of characters, or that there are more than anybody counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted(usize);

impl fmt::Display for Counted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..=MAX_COUNTED => self.0.fmt(out),
            _ => write!(out, "more than {MAX_COUNTED}"),
        }
    }
}

/// Whether a password may be set: 8 to 256 characters, and no other rule except that it is not itself a token.
pub fn check(password: &str) -> Result<(), BadPassword> {
    check_length(password)?;
    if WellFormed::parse(password).is_some() || oidc::looks_like_one(password) {
        return Err(BadPassword::Token);
    }
    Ok(())
}

/// Whether a password has a length that can be right.
pub(super) fn check_length(password: &str) -> Result<(), BadPassword> {
    match password.chars().take(MAX_COUNTED + 1).count() {
        given @ ..MIN_CHARS => Err(BadPassword::Short { given }),
        MIN_CHARS..=MAX_CHARS => Ok(()),
        given => Err(BadPassword::Long {
            given: Counted(given),
        }),
    }
}

/// Hashes a password with a fresh salt, to a PHC string. Slow by design: not for a thread that serves requests.
pub(super) fn hash(password: &str) -> io::Result<String> {
    let mut salt = [0; SALT_LEN];
    random::fill(&mut salt)?;
    let hash = hasher().hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|hash: PasswordHash| hash.to_string())
        .map_err(|error| io::Error::other(format!("password hashing failed: {error}")))
}

/// Whether a password is the one that was hashed; compared in constant time. As slow as [`hash`], with the cost that
/// the hash was made with.
pub(super) fn verify(password: &str, phc: &str) -> bool {
    hasher().verify_password(password.as_bytes(), phc).is_ok()
}

/// A hash that no password has, and that costs as much to try as a real one. Accounts that do not exist or have no
/// password are tried against it, so that the time of an answer does not tell who exists.
pub(super) fn unmatchable() -> String {
    let (memory, passes, lanes) = (COST.m_cost(), COST.t_cost(), COST.p_cost());
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}")
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, COST)
}

/// argon2's parameters; wrong ones do not compile.
const fn params(memory_kib: u32, passes: u32) -> Params {
    match Params::new(memory_kib, passes, 1, None) {
        Ok(params) => params,
        Err(_) => panic!("parameters out of argon2's bounds"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::access::token;

    #[test]
    fn length_counts_characters_and_is_the_only_rule() {
        assert_eq!(check("1234567"), Err(BadPassword::Short { given: 7 }));
        assert_eq!(check("12345678"), Ok(()));
        assert_eq!(check("ääääääää"), Ok(()));
        assert_eq!(check("äääääää"), Err(BadPassword::Short { given: 7 }));
        assert_eq!(check(&"ä".repeat(256)), Ok(()));
        let given = Counted(257);
        assert_eq!(check(&"a".repeat(257)), Err(BadPassword::Long { given }));
        assert_eq!(check("lrd_is a fine beginning"), Ok(()));
        assert_eq!(
            check(token::generate().unwrap().into_secret().expose()),
            Err(BadPassword::Token)
        );
        assert_eq!(check("eyJhbGci.eyJpc3Mi.c2ln"), Err(BadPassword::Token));
    }

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let phc = hash("correct horse").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{phc}");
        assert!(verify("correct horse", &phc));
        assert!(!verify("correct horsf", &phc));
        assert!(!verify("", &phc));
        assert_ne!(hash("correct horse").unwrap(), phc, "salted");
    }

    #[test]
    fn hashes_of_other_costs_stay_valid() {
        let dearer = Argon2::new(Algorithm::Argon2id, Version::V0x13, params(64, 2));
        let phc: PasswordHash = dearer
            .hash_password_with_salt(b"correct horse", &[7; 16])
            .unwrap();
        assert!(verify("correct horse", &phc.to_string()));
    }

    #[test]
    fn a_damaged_hash_matches_nothing() {
        let phc = hash("correct horse").unwrap();
        for end in 0..phc.len() {
            assert!(!verify("correct horse", &phc[..end]), "{}", &phc[..end]);
        }
    }

    #[test]
    fn the_unmatchable_hash_is_one_that_argon2_works_on() {
        let phc = unmatchable();
        let parsed = PasswordHash::new(&phc).unwrap();
        assert_eq!(Params::try_from(&parsed).unwrap().m_cost(), COST.m_cost());
        assert_eq!(parsed.hash.unwrap().len(), 32);
        let outcome = hasher().verify_password(b"correct horse", phc.as_str());
        assert_eq!(outcome, Err(argon2::password_hash::Error::PasswordInvalid));
    }
}
