//! The form of access tokens: `lrd_`, 34 random characters, 6 characters of checksum.
//!
//! The characters are `0-9A-Za-z`, standing for 0 to 61 in this order. The checksum is the CRC-32C of the 34 random
//! characters, written in base 62 with the most significant digit first, padded with `0`. So a mistyped or truncated
//! token, or one that a secret scanner finds, is told from a real one without asking the store.
//!
//! The store keeps no token, only its blake3 hash keyed with a secret of the store. The 34 characters are worth
//! 202 bits, so unlike a password the token needs no slow hash.

use std::io;

use super::random;
use super::secret::Secret;
use crate::chunk::crc32c;

const PREFIX: &str = "lrd_";
const RANDOM_LEN: usize = 34;
const CHECKSUM_LEN: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HASH_CONTEXT: &str = "larder access token hash 2026-07 v1";

/// Length of a token in characters (and bytes). Longer than any account name, so the two cannot be mistaken for each
/// other.
pub(super) const LEN: usize = PREFIX.len() + RANDOM_LEN + CHECKSUM_LEN;

/// A text that has the form of a token, checksum included. Whether there is such a token, the store knows.
#[derive(Clone, Copy)]
pub(super) struct WellFormed<'a>(&'a str);

/// What a store's tokens are hashed with. Derived once: two of three compressions of a check would go into it.
pub(super) struct HashKey([u8; 32]);

impl HashKey {
    /// The key of the store with this secret.
    pub(super) fn of(store_secret: &[u8; 32]) -> Self {
        HashKey(blake3::derive_key(HASH_CONTEXT, store_secret))
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// A token that was just made.
pub(super) struct NewToken(String);

/// Makes a new token.
pub(super) fn generate() -> io::Result<NewToken> {
    let random = random::text(DIGITS, RANDOM_LEN)?;
    let checksum = checksum(&random);
    Ok(NewToken(format!("{PREFIX}{random}{checksum}")))
}

impl NewToken {
    /// What there is to know about it.
    pub(super) fn form(&self) -> WellFormed<'_> {
        WellFormed(&self.0)
    }

    /// The token itself.
    pub(super) fn into_secret(self) -> Secret {
        Secret::new(self.0)
    }
}

/// Whether a text can only have been meant as a token, well-formed or not.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.len() == LEN && text.starts_with(PREFIX)
}

impl<'a> WellFormed<'a> {
    /// Checks the form.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let body = text.strip_prefix(PREFIX)?;
        let in_form =
            body.len() == RANDOM_LEN + CHECKSUM_LEN && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !in_form {
            return None;
        }
        let (random, sum) = body.split_at(RANDOM_LEN);
        (sum == checksum(random)).then_some(WellFormed(text))
    }

    /// The name under which the store with this key keeps the token.
    pub(super) fn hash(self, key: &HashKey) -> [u8; 32] {
        *blake3::keyed_hash(&key.0, self.0.as_bytes()).as_bytes()
    }

    /// What lists show of it.
    pub(super) fn last_eight(self) -> &'a str {
        &self.0[LEN - 8..]
    }
}

fn checksum(random: &str) -> String {
    let mut rest = crc32c::of(random.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn new_tokens_have_the_documented_form_and_differ() {
        let token = generate().unwrap().into_secret();
        let text = token.expose();
        assert_eq!(text.len(), 44);
        assert!(text.starts_with("lrd_") && looks_like_one(text));
        let parsed = WellFormed::parse(text).unwrap();
        assert_eq!(parsed.last_eight(), &text[36..]);
        assert_ne!(generate().unwrap().into_secret(), token);
        assert_eq!(format!("{token:?}"), "Secret(..)");
    }

    #[test]
    fn the_checksum_is_crc32c_in_base_62() {
        // CRC-32C of 34 zeros ('0' is 0x30), worked out bit by bit below.
        let random = "0".repeat(34);
        let mut crc = !0u32;
        for byte in random.bytes() {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
        let sum = checksum(&random);
        let value = sum.bytes().fold(0u64, |value, byte| {
            value * 62 + DIGITS.iter().position(|&digit| digit == byte).unwrap() as u64
        });
        assert_eq!(value, u64::from(!crc));
        assert!(WellFormed::parse(&format!("lrd_{random}{sum}")).is_some());
    }

    #[test]
    fn one_wrong_character_is_noticed() {
        let token = generate().unwrap().0;
        for at in 0..token.len() {
            for wrong in ["!", "0", "z", "_"] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, wrong);
                if changed != token {
                    assert!(WellFormed::parse(&changed).is_none(), "{changed}");
                }
            }
        }
        for cut in 0..token.len() {
            assert!(WellFormed::parse(&token[..cut]).is_none());
        }
        assert!(WellFormed::parse(&format!("{token}0")).is_none());
    }

    #[test]
    fn the_hash_depends_on_the_store() {
        let token = generate().unwrap();
        let parsed = token.form();
        let [one, other] = [1, 2].map(|secret| HashKey::of(&[secret; 32]));
        assert_eq!(parsed.hash(&one), parsed.hash(&HashKey::of(&[1; 32])));
        assert_ne!(parsed.hash(&one), parsed.hash(&other));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(lrd_)?\\PC{0,60}") {
            let _ = WellFormed::parse(&text);
            let _ = looks_like_one(&text);
        }
    }
}
