//! Parts of a file on their way out, past the dispatcher's write buffer.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;

use super::connection::Outlet;
use crate::store::blob::{Blob, BlobReader, Piece};
use crate::store::error::StoreError;

/// What a body is made of.
pub struct Layout {
    /// Text, then bytes of the file.
    pub parts: Vec<(Bytes, Range<u64>)>,
    /// What stands after the last part.
    pub tail: Bytes,
    /// Of the whole body, in bytes.
    pub len: u64,
}

impl Layout {
    /// Only these bytes of the file.
    pub fn bytes(range: Range<u64>) -> Self {
        Layout {
            len: range.end - range.start,
            parts: vec![(Bytes::new(), range)],
            tail: Bytes::new(),
        }
    }
}

/// Answers with the bytes, the first of which are read before: damage that shows there still gets a status of its own.
pub async fn answer(
    response: &mut HttpResponseBuilder,
    blob: Blob,
    layout: Layout,
    outlet: Option<&Outlet>,
) -> Result<HttpResponse, StoreError> {
    let outlet = outlet.ok_or_else(|| StoreError::Io(io::ErrorKind::NotConnected.into()))?;
    let len = layout.len;
    let mut parts = Parts {
        blob,
        parts: layout.parts.into_iter(),
        tail: layout.tail,
        in_place: outlet.sends_files(),
        reader: None,
    };
    let mut first = parts.next().await?.unwrap_or_else(|| Piece::Bytes(Bytes::new()));
    if first.is_empty() && len > 0 {
        first = parts.next().await?.unwrap_or(first);
    }
    let rest = (first.len() < len).then(|| parts.into_stream());
    let sending = Sending {
        outlet: outlet.clone(),
        piece: first,
        rest,
        left: len,
    };
    Ok(response.no_chunking(len).body(sending))
}

/// Answers HEAD as [`answer`] would GET.
pub fn answer_head(response: &mut HttpResponseBuilder, len: u64) -> HttpResponse {
    response.no_chunking(len).body(NoBytes)
}

/// Stands for the body of an answer to HEAD.
///
/// Of no size as far as the dispatcher is concerned: it believes the last request that it has read to be the one that
/// is answered, and would miss the bytes if that is no HEAD.
struct NoBytes;

impl MessageBody for NoBytes {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// The pieces of the parts, in order.
struct Parts {
    blob: Blob,
    parts: std::vec::IntoIter<(Bytes, Range<u64>)>,
    tail: Bytes,
    in_place: bool,
    /// Of the part that is being sent.
    reader: Option<BlobReader>,
}

impl Parts {
    /// The next piece, which may be empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Piece>, StoreError> {
        if let Some(reader) = &mut self.reader
            && let Some(piece) = reader.next_piece().await?
        {
            return Ok(Some(piece));
        }
        self.reader = None;
        if let Some((head, range)) = self.parts.next() {
            let reader = self.blob.read(range);
            self.reader = Some(if self.in_place { reader.in_place() } else { reader });
            return Ok(Some(Piece::Bytes(head)));
        }
        let tail = std::mem::take(&mut self.tail);
        Ok(Some(Piece::Bytes(tail)).filter(|tail| !tail.is_empty()))
    }

    fn into_stream(self) -> Pieces {
        Box::pin(stream::try_unfold(self, |mut parts| async move {
            let next = parts.next().await?;
            Ok::<_, StoreError>(next.map(|piece| (piece, parts)))
        }))
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, StoreError>>>>;

/// A body that writes itself to its connection. A read that fails ends it with an error, which breaks the connection:
/// the client sees that bytes are missing.
struct Sending {
    outlet: Outlet,
    /// On its way.
    piece: Piece,
    /// What follows, if anything.
    rest: Option<Pieces>,
    /// Bytes that have not been sent.
    left: u64,
}

impl Sending {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        loop {
            let before = self.piece.len();
            let sent = self.outlet.poll_send(context, &mut self.piece);
            let gone = before - self.piece.len();
            self.left = self.left.saturating_sub(gone);
            ready!(sent)?;
            let Some(rest) = &mut self.rest else { break };
            match ready!(rest.as_mut().poll_next(context)) {
                Some(piece) => self.piece = piece?,
                None => self.rest = None,
            }
        }
        match self.left {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(StoreError::Io(io::ErrorKind::UnexpectedEof.into()))),
        }
    }
}

impl MessageBody for Sending {
    type Error = StoreError;

    /// The length stands in the head already; the dispatcher counts nothing.
    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StoreError>>> {
        self.poll(context).map(|done| done.err().map(Err))
    }
}
