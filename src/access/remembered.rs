//! Passwords that were right a short while ago, so that a CI job pays for argon2 once and not for every file.

use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::aging::Aging;
use super::{locked, random};
use crate::store::model::Id;

/// How long after its last use a password is remembered.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How many are remembered at most, at about 60 bytes each.
const CAPACITY: usize = 10_000;

/// What stands for a password that was tried against an account's hash: neither password nor hash can be told from
/// it, and it says nothing outside this process.
pub(super) type Fingerprint = [u8; 32];

/// The memory. It knows only fingerprints, and a fingerprint holds the hash that the password was tried against: once
/// the account has another hash, the old password has a fingerprint that was never remembered.
pub(super) struct Remembered {
    key: OnceLock<[u8; 32]>,
    right: Mutex<Aging<Fingerprint, ()>>,
}

impl Remembered {
    /// Remembers nothing yet.
    pub(super) fn new() -> Self {
        Remembered {
            key: OnceLock::new(),
            right: Mutex::new(Aging::new(CAPACITY, LIFETIME)),
        }
    }

    /// The fingerprint of a password tried against an account's hash. Takes about a microsecond.
    pub(super) fn fingerprint(&self, account: Id, phc: &str, password: &str) -> io::Result<Fingerprint> {
        let mut hasher = blake3::Hasher::new_keyed(self.key()?);
        hasher.update(&account.to_le_bytes());
        // The length keeps the border between the two texts.
        hasher.update(&(phc.len() as u64).to_le_bytes());
        hasher.update(phc.as_bytes());
        hasher.update(password.as_bytes());
        Ok(*hasher.finalize().as_bytes())
    }

    /// Whether the password is remembered as right. Keeps it for another five minutes.
    pub(super) fn recall(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        let mut right = locked(&self.right);
        let known = right.get(fingerprint, now).is_some();
        if known {
            right.put(*fingerprint, (), now);
        }
        known
    }

    /// Remembers that the password was right.
    pub(super) fn remember(&self, fingerprint: Fingerprint, now: Instant) {
        locked(&self.right).put(fingerprint, (), now);
    }

    /// This process's key, drawn at first use.
    fn key(&self) -> io::Result<&[u8; 32]> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let fresh = random::key()?;
        Ok(self.key.get_or_init(|| fresh))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_password_is_remembered_until_five_minutes_after_its_last_use() {
        let memory = Remembered::new();
        let start = Instant::now();
        let fingerprint = memory.fingerprint(1, "hash", "password").unwrap();
        assert!(!memory.recall(&fingerprint, start));
        memory.remember(fingerprint, start);
        assert!(memory.recall(&fingerprint, start + 4 * MINUTE));
        assert!(memory.recall(&fingerprint, start + 8 * MINUTE));
        assert!(!memory.recall(&fingerprint, start + 13 * MINUTE));
    }

    #[test]
    fn fingerprints_differ_by_account_hash_password_and_process() {
        let memory = Remembered::new();
        let base = memory.fingerprint(1, "hash", "password").unwrap();
        assert_eq!(memory.fingerprint(1, "hash", "password").unwrap(), base);
        assert_ne!(memory.fingerprint(2, "hash", "password").unwrap(), base);
        assert_ne!(memory.fingerprint(1, "hash2", "password").unwrap(), base);
        assert_ne!(memory.fingerprint(1, "hash", "password2").unwrap(), base);
        assert_ne!(memory.fingerprint(1, "hashp", "assword").unwrap(), base);
        assert_ne!(
            Remembered::new().fingerprint(1, "hash", "password").unwrap(),
            base
        );
    }
}
