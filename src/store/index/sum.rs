//! A running sum over the index: the wrapping sum of a hash of every entry.
//!
//! It does not depend on the order of writes, so one scan of an index proves or refutes that it holds exactly what
//! the log says. Entries about the index itself (`m…`) do not count.

/// What an entry adds to the sum.
pub fn entry(key: &[u8], value: &[u8]) -> u128 {
    if key.first() == Some(&b'm') {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(sum)
}
