//! A connection under actix's HTTP/1 dispatcher, and the way past its write buffer.
//!
//! The dispatcher copies every byte of an answer into a buffer of its own before it writes. Bodies of files need not
//! go through there: they write themselves, through the [`Outlet`] that [`Connection::outlet`] gives out. What keeps
//! the order is the size of the dispatcher's buffer, one byte ([`WRITE_BUFFER`]): it asks a body for nothing before it has
//! handed over everything that stands before.
//!
//! So that head and body still leave together, whoever answers calls [`Outlet::hold`], and the head waits here for the
//! first bytes behind it.
//!
//! Before the dispatcher there is the fast path, which reads with [`Connection::poll_fill`], [`Connection::poll_fill_to`]
//! and [`Connection::poll_body`]: what it has read and not taken is what the dispatcher reads first.

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_rt::net::{TcpStream, UnixStream};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};

use crate::store::blob::{FileRange, Piece};

/// How much of an answer the dispatcher may gather: nothing.
pub const WRITE_BUFFER: usize = 1;

/// The longest head that is held back, in bytes.
const HELD: usize = 16 << 10;

/// How much [`Connection::poll_fill`] reads at once, in bytes.
const FILL: usize = 16 << 10;

thread_local! {
    /// Read into before anybody knows how much there is, so that idle connections hold no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; FILL].into_boxed_slice());
    /// The buffer of the last answer that has left, for the next one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What connections run over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether bytes of files can be sent without being copied.
    fn sends_files(&self) -> bool {
        false
    }

    /// Sends bytes behind which a file follows; returns how many.
    fn poll_send_before_file(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(context, bytes)
    }

    /// Sends some of `range`.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _: &mut FileRange) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// A socket, by whatever family.
trait Socket: AsFd {
    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_io<R>(&self, work: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
}

macro_rules! sockets {
    ($($stream:ty),*) => {$(
        impl Socket for $stream {
            fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(context)
            }

            fn try_io<R>(&self, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
                self.try_io(Interest::WRITABLE, work)
            }
        }

        impl Transport for $stream {
            fn sends_files(&self) -> bool {
                true
            }

            fn poll_send_before_file(
                &mut self,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
                poll_socket(self, context, || Ok(send(&*self, bytes, flags)?))
            }

            fn poll_send_file(
                &mut self,
                context: &mut Context<'_>,
                range: &mut FileRange,
            ) -> Poll<io::Result<()>> {
                poll_socket(self, context, || range.send(&*self).map(drop))
            }
        }
    )*};
}

sockets!(TcpStream, UnixStream);

/// Calls `work` whenever the socket may take bytes, until it no longer says `WouldBlock`.
fn poll_socket<T>(
    socket: &impl Socket,
    context: &mut Context<'_>,
    mut work: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(socket.poll_write_ready(context))?;
        match socket.try_io(&mut work) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// What the dispatcher reads from and writes to.
pub struct Connection<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    transport: T,
    /// What has been read and not been taken.
    unread: Vec<u8>,
    /// The next head stays here until something follows it.
    hold: bool,
    /// A head that waits.
    held: Vec<u8>,
    /// A body could not be read on.
    broken: bool,
    /// Bytes of pieces that have been sent and not been counted.
    sent: usize,
}

impl<T: Transport> Connection<T> {
    /// Over this transport.
    pub fn new(transport: T) -> Self {
        Connection(Rc::new(RefCell::new(Inner {
            transport,
            unread: Vec::new(),
            hold: false,
            held: Vec::new(),
            broken: false,
            sent: 0,
        })))
    }

    /// Another handle to the same connection.
    pub fn share(&self) -> Self {
        Connection(self.0.clone())
    }

    /// The way past the dispatcher, for whoever answers requests of this connection.
    pub fn outlet(&self) -> Outlet {
        Outlet(self.0.clone())
    }

    /// Whether bytes of files can be sent without being copied.
    pub fn sends_files(&self) -> bool {
        self.0.borrow().transport.sends_files()
    }

    /// Reads some more behind what has not been taken; false at the end of what the client sends.
    pub fn poll_fill(&self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let inner = &mut *self.0.borrow_mut();
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut inner.transport).poll_read(context, &mut buffer))?;
            inner.unread.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(!buffer.filled().is_empty()))
        })
    }

    /// Reads until `len` bytes have not been taken; false where the client sends fewer.
    pub fn poll_fill_to(&self, context: &mut Context<'_>, len: usize) -> Poll<io::Result<bool>> {
        let Inner {
            transport, unread, ..
        } = &mut *self.0.borrow_mut();
        unread.reserve_exact(len.saturating_sub(unread.len()));
        while unread.len() < len {
            if ready!(pin!(transport.read_buf(unread)).poll(context))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// What has been read and not been taken.
    pub fn unread(&self) -> Ref<'_, [u8]> {
        Ref::map(self.0.borrow(), |inner| inner.unread.as_slice())
    }

    /// Takes so many bytes of what has been read.
    pub fn take(&self, len: usize) {
        self.0.borrow_mut().unread.drain(..len);
    }

    /// Takes a head and the body behind it, of so many bytes, and gives the body back. Both are there.
    pub fn take_body(&self, head: usize, len: usize) -> Bytes {
        let unread = &mut self.0.borrow_mut().unread;
        let behind = unread.split_off(head + len);
        let mut taken = Bytes::from(std::mem::replace(unread, behind));
        taken.advance(head);
        taken
    }

    /// Moves the next bytes of a body to the end of `buffer`, at most so many: how many. None at the end of what the
    /// client sends.
    pub fn poll_body(
        &self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.unread.is_empty() {
            let mut buffer = buffer.limit(most);
            let read = ready!(pin!(inner.transport.read_buf(&mut buffer)).poll(context));
            inner.broken |= read.is_err();
            return Poll::Ready(read);
        }
        let len = inner.unread.len().min(most);
        buffer.extend_from_slice(&inner.unread[..len]);
        inner.forget(len);
        Poll::Ready(Ok(len))
    }

    /// Whether the connection broke while a body was read: nobody is there to be answered.
    pub fn is_broken(&self) -> bool {
        self.0.borrow().broken
    }

    /// Writes what leaves before anything that is sent from now on.
    pub fn begin_answer<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let held = &mut self.0.borrow_mut().held;
        if held.capacity() == 0 {
            *held = SPARE.take();
        }
        write(held)
    }

    /// Sends the piece behind what has been begun, until all of both is gone.
    pub fn poll_answer(&self, context: &mut Context<'_>, piece: &mut Piece) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_send_all(context, piece))?;
        ready!(inner.poll_flush(context))?;
        SPARE.set(std::mem::take(&mut inner.held));
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> Inner<T> {
    /// So many bytes have been taken.
    fn forget(&mut self, len: usize) {
        self.unread.drain(..len);
        if self.unread.is_empty() {
            self.unread = Vec::new();
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hold && self.held.len() + bytes.len() <= HELD {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !self.held.is_empty() {
            let slices = [IoSlice::new(&self.held), IoSlice::new(bytes)];
            let sent = ready!(Pin::new(&mut self.transport).poll_write_vectored(context, &slices))?;
            let of_head = sent.min(self.held.len());
            self.held.drain(..of_head);
            if sent == 0 || sent > of_head {
                return Poll::Ready(Ok(sent - of_head));
            }
        }
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    /// The head is not held back any longer; the one call that comes right after it is passed over.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.hold) {
            return Poll::Ready(Ok(()));
        }
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.transport).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        Pin::new(&mut self.transport).poll_flush(context)
    }
}

impl<T: Transport> AsyncRead for Connection<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.unread.is_empty() {
            return Pin::new(&mut inner.transport).poll_read(context, buffer);
        }
        let len = inner.unread.len().min(buffer.remaining());
        buffer.put_slice(&inner.unread[..len]);
        inner.forget(len);
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Connection<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        inner.hold = false;
        ready!(inner.poll_flush(context))?;
        Pin::new(&mut inner.transport).poll_shutdown(context)
    }
}

/// The way past the dispatcher to one connection. Clones lead to the same.
#[derive(Clone)]
pub struct Outlet(Rc<RefCell<dyn Sends>>);

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outlet")
    }
}

/// A connection whose transport does not matter.
trait Sends {
    fn hold(&mut self);
    fn sends_files(&self) -> bool;
    fn poll_send(&mut self, context: &mut Context<'_>, piece: &mut Piece) -> Poll<io::Result<()>>;
    fn take_sent(&mut self) -> usize;
}

impl Outlet {
    /// An answer with a body is about to be given: its head waits for the first bytes of the body.
    pub fn hold(&self) {
        self.0.borrow_mut().hold();
    }

    /// Whether bytes of files can be sent without being copied.
    pub fn sends_files(&self) -> bool {
        self.0.borrow().sends_files()
    }

    /// How many bytes of pieces have been sent since this was last asked.
    pub fn take_sent(&self) -> usize {
        self.0.borrow_mut().take_sent()
    }

    /// Sends the piece, whatever is held back first; to be called by a body when the dispatcher asks for its next
    /// bytes, and until it is done.
    pub fn poll_send(&self, context: &mut Context<'_>, piece: &mut Piece) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(context, piece)
    }
}

impl<T: Transport> Sends for Inner<T> {
    fn hold(&mut self) {
        self.hold = true;
    }

    fn sends_files(&self) -> bool {
        self.transport.sends_files()
    }

    fn take_sent(&mut self) -> usize {
        std::mem::take(&mut self.sent)
    }

    fn poll_send(&mut self, context: &mut Context<'_>, piece: &mut Piece) -> Poll<io::Result<()>> {
        let before = piece.len();
        let sent = self.poll_send_all(context, piece);
        self.sent += (before - piece.len()) as usize;
        sent
    }
}

impl<T: Transport> Inner<T> {
    fn poll_send_all(&mut self, context: &mut Context<'_>, piece: &mut Piece) -> Poll<io::Result<()>> {
        self.hold = false;
        while !piece.is_empty() {
            match piece {
                Piece::Bytes(bytes) => {
                    let sent = ready!(self.poll_write(context, bytes))?;
                    if sent == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    bytes.advance(sent);
                }
                Piece::File(range) if !self.held.is_empty() || range.has_head() => {
                    self.held.extend_from_slice(&range.take_head());
                    let sent = ready!(self.transport.poll_send_before_file(context, &self.held))?;
                    self.held.drain(..sent);
                }
                Piece::File(range) => ready!(self.transport.poll_send_file(context, range))?,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
