//! Randomness from the operating system, as bytes and as text.

use std::io;

/// Random bytes for keys.
pub(super) fn key() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// `length` characters, each drawn evenly from `alphabet` (1 to 256 ASCII characters).
pub(super) fn text(alphabet: &[u8], length: usize) -> io::Result<String> {
    // A byte at or above the largest multiple of the alphabet's length would favour its first characters.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        fill(&mut bytes)?;
        let fair_bytes = bytes
            .iter()
            .map(|&byte| usize::from(byte))
            .filter(|&byte| byte < fair);
        for byte in fair_bytes.take(length - text.len()) {
            text.push(char::from(alphabet[byte % alphabet.len()]));
        }
    }
    Ok(text)
}

/// Fills `bytes`.
pub(super) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(format!("no randomness: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_character_comes_up_about_equally_often() {
        let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let drawn = text(alphabet, 62 * 1000).unwrap();
        assert_eq!(drawn.len(), 62_000);
        for &character in alphabet {
            let count = drawn.bytes().filter(|&byte| byte == character).count();
            // 1,000 expected, standard deviation 31. Taking bytes modulo 62 would give eight characters 1,211.
            assert!(
                (850..1150).contains(&count),
                "{} came {count} times",
                char::from(character)
            );
        }
    }

    #[test]
    fn keys_differ() {
        assert_ne!(key().unwrap(), key().unwrap());
    }
}
