//! Taking a body from its sender: counted, hashed where asked, and cut off when it stalls.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout};

use super::checksum::Checksums;
use super::error::ArtifactError;

/// Hashing more than this in one go would keep other requests of the thread waiting.
const STEP: usize = 256 * 1024;

/// What a body must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Content-Length, where known: the body has exactly this length.
    pub length: Option<u64>,
    /// Largest length, bytes.
    pub max_size: Option<u64>,
    /// Bytes that must come within `stall_window`; 0: no limit.
    pub min_bytes_per_window: u64,
    /// See `min_bytes_per_window`.
    pub stall_window: Duration,
}

/// Reads the body to its end and hands it on in pieces of at most 256 KiB.
///
/// # Errors
/// `Incomplete`, `TooLarge` and `Stalled` as soon as they are certain, and whatever `write` says.
pub async fn receive<S, E, W>(
    mut body: S,
    rules: Rules,
    checksums: &mut Checksums,
    mut write: W,
) -> Result<(), ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Display,
    W: AsyncFnMut(Bytes) -> Result<(), ArtifactError>,
{
    let mut meter = Meter::new(rules);
    let mut pace = Pace::new(rules);
    while let Some(piece) = pace.next(&mut body).await? {
        meter.count(piece.len())?;
        let mut rest = piece;
        while !rest.is_empty() {
            let step = rest.split_to(rest.len().min(STEP));
            checksums.update(&step);
            write(step).await?;
            if !rest.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
    meter.finish()
}

/// Counts the bytes.
struct Meter {
    rules: Rules,
    received: u64,
}

impl Meter {
    fn new(rules: Rules) -> Self {
        Meter { rules, received: 0 }
    }

    fn count(&mut self, bytes: usize) -> Result<(), ArtifactError> {
        self.received = self.received.saturating_add(bytes as u64);
        if let Some(limit) = self.rules.max_size
            && self.received > limit
        {
            return Err(ArtifactError::TooLarge { limit });
        }
        match self.rules.length {
            Some(length) if self.received > length => Err(ArtifactError::Incomplete(format!(
                "more than the announced {length} bytes came"
            ))),
            _ => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), ArtifactError> {
        match self.rules.length {
            Some(length) if self.received != length => Err(ArtifactError::Incomplete(format!(
                "{} of the announced {length} bytes came",
                self.received
            ))),
            _ => Ok(()),
        }
    }
}

/// Sees to it that enough bytes come in each window. Only the time spent waiting for the sender counts, not the time
/// that the store takes.
struct Pace {
    rules: Rules,
    left: Duration,
    received: u64,
}

impl Pace {
    fn new(rules: Rules) -> Self {
        Pace {
            rules,
            left: rules.stall_window,
            received: 0,
        }
    }

    /// The next piece; `None` at the end.
    async fn next<S, E>(&mut self, body: &mut S) -> Result<Option<Bytes>, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let began = Instant::now();
        let next = if self.rules.min_bytes_per_window == 0 {
            body.next().await
        } else {
            timeout(self.left, body.next())
                .await
                .map_err(|_| self.stalled())?
        };
        let Some(piece) = next else { return Ok(None) };
        let piece = piece.map_err(|error| ArtifactError::Incomplete(error.to_string()))?;
        self.left = self.left.saturating_sub(began.elapsed());
        self.received = self.received.saturating_add(piece.len() as u64);
        if self.received >= self.rules.min_bytes_per_window {
            self.left = self.rules.stall_window;
            self.received = 0;
        }
        Ok(Some(piece))
    }

    fn stalled(&self) -> ArtifactError {
        ArtifactError::Stalled {
            bytes: self.rules.min_bytes_per_window,
            seconds: self.rules.stall_window.as_secs(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use futures_util::stream;

    use super::*;
    use crate::artifact::checksum::ExpectedChecksums;
    use crate::chunk::Digest;

    const RULES: Rules = Rules {
        length: None,
        max_size: None,
        min_bytes_per_window: 100,
        stall_window: Duration::from_secs(10),
    };

    type Piece = Result<Bytes, &'static str>;

    /// A body whose pieces come after the given seconds of waiting.
    fn body(pieces: Vec<(u64, Piece)>) -> impl Stream<Item = Piece> + Unpin {
        Box::pin(stream::iter(pieces).then(|(seconds, piece)| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            piece
        }))
    }

    fn piece(len: usize) -> Piece {
        Ok(Bytes::from(vec![7; len]))
    }

    async fn run(rules: Rules, pieces: Vec<(u64, Piece)>) -> Result<Vec<usize>, ArtifactError> {
        let written = RefCell::new(Vec::new());
        let mut checksums = Checksums::new(ExpectedChecksums::default());
        receive(body(pieces), rules, &mut checksums, async |piece: Bytes| {
            written.borrow_mut().push(piece.len());
            Ok(())
        })
        .await?;
        Ok(written.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn large_pieces_are_handed_on_in_steps() {
        assert_eq!(run(RULES, vec![]).await.unwrap(), Vec::<usize>::new());
        let lens = run(
            RULES,
            vec![(0, piece(STEP * 2 + 1)), (0, piece(0)), (0, piece(3))],
        )
        .await;
        assert_eq!(lens.unwrap(), [STEP, STEP, 1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_bytes_are_hashed_in_order() {
        let expected = ExpectedChecksums {
            sha256: Some([0; 32]),
            ..Default::default()
        };
        let mut checksums = Checksums::new(expected);
        let bytes: Vec<u8> = (0..STEP as u32 + 77).map(|i| i as u8).collect();
        let pieces = vec![
            (0, Ok(Bytes::from(bytes[..9].to_vec()))),
            (0, Ok(Bytes::from(bytes[9..].to_vec()))),
        ];
        receive(body(pieces), RULES, &mut checksums, async |_| Ok(()))
            .await
            .unwrap();
        let computed = checksums.verify(Digest::of(b"")).unwrap_err().computed;
        use sha2::Digest as _;
        assert_eq!(computed, hex::encode(sha2::Sha256::digest(&bytes)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_announced_length_is_exact() {
        let rules = Rules {
            length: Some(10),
            ..RULES
        };
        assert!(run(rules, vec![(0, piece(4)), (0, piece(6))]).await.is_ok());
        for lens in [vec![9], vec![4, 7], vec![]] {
            let pieces = lens.iter().map(|len| (0, piece(*len))).collect();
            let error = run(rules, pieces).await.unwrap_err();
            assert!(matches!(error, ArtifactError::Incomplete(_)), "{lens:?}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_size_is_allowed_and_not_a_byte_more() {
        let rules = Rules {
            max_size: Some(10),
            ..RULES
        };
        assert!(run(rules, vec![(0, piece(10))]).await.is_ok());
        let error = run(rules, vec![(0, piece(10)), (0, piece(1))]).await.unwrap_err();
        assert!(matches!(error, ArtifactError::TooLarge { limit: 10 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_body_says_why() {
        let error = run(RULES, vec![(0, piece(1)), (0, Err("reset"))])
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "the body is incomplete: reset");
    }

    #[tokio::test(start_paused = true)]
    async fn enough_bytes_in_each_window_is_enough() {
        let steady = (0..50).map(|_| (9, piece(100))).collect();
        assert!(run(RULES, steady).await.is_ok());
        let drops = (0..500).map(|_| (1, piece(11))).collect();
        assert!(run(RULES, drops).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn too_few_bytes_in_a_window_is_a_stall() {
        let drops: Vec<_> = (0..500).map(|_| (1, piece(9))).collect();
        let began = Instant::now();
        let error = run(RULES, drops).await.unwrap_err();
        assert!(matches!(
            error,
            ArtifactError::Stalled {
                bytes: 100,
                seconds: 10
            }
        ));
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        let silent = run(RULES, vec![(0, piece(1000)), (3600, piece(1))])
            .await
            .unwrap_err();
        assert!(matches!(silent, ArtifactError::Stalled { .. }));
        let unlimited = Rules {
            min_bytes_per_window: 0,
            ..RULES
        };
        assert!(run(unlimited, vec![(3600, piece(1))]).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_is_not_the_senders_fault() {
        let mut checksums = Checksums::new(ExpectedChecksums::default());
        let pieces = (0..20).map(|_| (1, piece(30))).collect();
        let received = receive(body(pieces), RULES, &mut checksums, async |_| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        });
        assert!(received.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_ends_it() {
        let mut checksums = Checksums::new(ExpectedChecksums::default());
        let received = receive(body(vec![(0, piece(1))]), RULES, &mut checksums, async |_| {
            Err(ArtifactError::NoSpace)
        });
        assert!(matches!(received.await.unwrap_err(), ArtifactError::NoSpace));
    }
}
