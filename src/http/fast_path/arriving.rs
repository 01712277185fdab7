//! The body of a plain PUT, read as it comes.
//!
//! The dispatcher reads into a buffer that grows while it is read into, in five calls for 128 KiB, each of which wakes
//! the client. Here a call takes as much as is there, up to a piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use crate::http::connection::{Connection, Transport};

/// The largest piece, in bytes: what is hashed before others of the same thread get their turn.
const PIECE: usize = 256 << 10;

/// A buffer with less room than this, in bytes, is not read into again: small reads cost more than the room.
const LEAST: usize = 32 << 10;

/// What has not come yet of a body. Holds one buffer while it is waited for.
pub(super) struct Arriving<T> {
    connection: Connection<T>,
    /// Bytes that are still to come.
    left: usize,
    buffer: BytesMut,
    /// Bytes given out since it was others' turn.
    taken: usize,
}

impl<T: Transport> Arriving<T> {
    /// The next `len` bytes of this connection.
    pub fn new(connection: Connection<T>, len: usize) -> Self {
        Arriving {
            connection,
            left: len,
            buffer: BytesMut::new(),
            taken: 0,
        }
    }

    /// Reads what is there, up to the end of the buffer: how much.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, PayloadError>> {
        if self.room() < LEAST.min(self.left) {
            self.buffer = BytesMut::with_capacity(self.left.min(PIECE));
        }
        let mut read = 0;
        loop {
            let most = self.room().min(self.left - read);
            match self.connection.poll_body(context, &mut self.buffer, most) {
                Poll::Ready(Ok(len)) if len > 0 => read += len,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(PayloadError::Io(error))),
                _ if read > 0 => return Poll::Ready(Ok(read)),
                Poll::Ready(_) => return Poll::Ready(Err(PayloadError::Incomplete(None))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn room(&self) -> usize {
        self.buffer.capacity() - self.buffer.len()
    }
}

impl<T: Transport> Stream for Arriving<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.taken >= PIECE {
            self.taken = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = ready!(self.poll_read(context))?;
        self.left -= read;
        self.taken += read;
        Poll::Ready(Some(Ok(self.buffer.split().freeze())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn all_of_it_comes_and_nothing_behind_it() {
        let bytes = noise(3 * PIECE + 1000);
        for (len, transport) in [
            (1, 10),
            (PIECE, 1 << 20),
            (2 * PIECE + 77, 1 << 20),
            (2 * PIECE, 999),
        ] {
            let (near, mut far) = duplex(transport);
            let mut body = Arriving::new(Connection::new(near), len);
            let sent = bytes.clone();
            let sender = tokio::spawn(async move { far.write_all(&sent).await });
            let mut received = Vec::new();
            while let Some(piece) = body.next().await {
                let piece = piece.unwrap();
                assert!((1..=PIECE).contains(&piece.len()));
                received.extend_from_slice(&piece);
            }
            assert!(received == bytes[..len], "{len}");
            drop(body);
            sender.abort();
        }
    }

    /// A slow sender's pieces share a buffer: they would keep many otherwise.
    #[tokio::test]
    async fn small_pieces_share_a_buffer() {
        let (near, mut far) = duplex(1000);
        let mut body = Arriving::new(Connection::new(near), PIECE);
        let mut ends = Vec::new();
        for _ in 0..100 {
            far.write_all(&[1; 1000]).await.unwrap();
            let piece = body.next().await.unwrap().unwrap();
            assert_eq!(piece.len(), 1000);
            ends.push((piece.as_ptr() as usize, piece));
        }
        let apart = ends
            .windows(2)
            .filter(|pair| pair[1].0 - pair[0].0 != 1000)
            .count();
        assert_eq!(apart, 0);
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_incomplete() {
        let (near, mut far) = duplex(1000);
        let mut body = Arriving::new(Connection::new(near), 1000);
        far.write_all(&[1; 999]).await.unwrap();
        drop(far);
        assert_eq!(body.next().await.unwrap().unwrap().len(), 999);
        assert!(matches!(
            body.next().await,
            Some(Err(PayloadError::Incomplete(None)))
        ));
    }
}
