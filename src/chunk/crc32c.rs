//! CRC-32C, which tells bytes that were damaged or never wholly written from those that were.

use crc_fast::{CrcAlgorithm, Digest};

/// Of `bytes`.
pub fn of(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Of what `crc` is of, with `bytes` behind it.
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    // As wide as its name says.
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By another library.
    #[test]
    fn it_is_crc32c_wherever_the_bytes_are_split() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| (n * n % 251) as u8).collect();
        for len in (0..600).chain([4095, 4096, 4097, 5000]) {
            let bytes = &bytes[..len];
            assert_eq!(of(bytes), crc32c::crc32c(bytes), "{len}");
            for split in [0, 1, len / 3, len.saturating_sub(9), len] {
                let (first, second) = bytes.split_at(split.min(len));
                assert_eq!(append(of(first), second), of(bytes), "{split} of {len}");
            }
        }
        assert_eq!(of(b"123456789"), 0xe306_9283);
    }
}
