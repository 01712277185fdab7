//! The body of a plain PUT, read as it comes.
//!
//! The dispatcher reads into a buffer that grows while it is read into, in five calls for 128 KiB, each of which wakes
//! the client. Here a call takes as much as is there, up to a piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::buffers::Buffers;
use crate::http::connection::{Connection, Transport};

/// The largest piece, in bytes: what is hashed before others of the same thread get their turn.
const PIECE: usize = super::buffers::SIZE;

/// A buffer with less room than this, in bytes, is not read into again: small reads cost more than the room.
const LEAST: usize = 32 << 10;

/// What has not come yet of a body. Holds one buffer while it is waited for.
pub(super) struct Arriving<T> {
    connection: Connection<T>,
    /// Bytes that are still to come.
    left: usize,
    /// Where buffers come from and go to, unless one is enough.
    buffers: Option<Buffers>,
    /// What is read into.
    buffer: Option<BytesMut>,
    /// Bytes given out since it was others' turn.
    taken: usize,
}

impl<T> Arriving<T> {
    /// The next `len` bytes of this connection.
    pub fn new(connection: Connection<T>, len: usize) -> Self {
        Arriving {
            connection,
            left: len,
            buffers: (len > PIECE).then(Buffers::new),
            buffer: None,
            taken: 0,
        }
    }

    /// The buffer, or the next one where it is full.
    fn buffer_with_room(&mut self) -> &mut BytesMut {
        let enough = LEAST.min(self.left);
        if self.buffer.as_ref().is_none_or(|buffer| room(buffer) < enough) {
            self.give_back();
        }
        let (buffers, left) = (&self.buffers, self.left);
        self.buffer.get_or_insert_with(|| match buffers {
            Some(buffers) => buffers.take(),
            None => BytesMut::with_capacity(left),
        })
    }

    fn give_back(&mut self) {
        if let (Some(buffers), Some(buffer)) = (&self.buffers, self.buffer.take()) {
            buffers.give_back(buffer);
        }
    }
}

impl<T: Transport> Arriving<T> {
    /// Reads what is there, up to the end of the buffer.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, PayloadError>> {
        let (connection, left) = (self.connection.share(), self.left);
        let buffer = self.buffer_with_room();
        loop {
            let most = room(buffer).min(left - buffer.len());
            match connection.poll_body(context, buffer, most) {
                Poll::Ready(Ok(len)) if len > 0 => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(PayloadError::Io(error))),
                _ if !buffer.is_empty() => return Poll::Ready(Ok(buffer.split().freeze())),
                Poll::Ready(_) => return Poll::Ready(Err(PayloadError::Incomplete(None))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T> Drop for Arriving<T> {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn room(buffer: &BytesMut) -> usize {
    buffer.capacity() - buffer.len()
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
        let piece = ready!(self.poll_read(context))?;
        self.left -= piece.len();
        self.taken += piece.len();
        Poll::Ready(Some(Ok(piece)))
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
