//! A raw HTTP/1.1 client on one blocking connection, cheap beside the server it measures: one head built in place,
//! body slices written without a copy, answers compared as they arrive, no allocation for a request.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::body::{Body, Source, Stamps};
use crate::stats::Failure;
use crate::target::Target;
use crate::workload::{Job, Object, Verb};

/// How long a connection may make no progress.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is read at once. The head of an answer must fit.
const BUFFER: usize = 256 * 1024;

/// One client.
#[derive(Debug)]
pub struct Client<'a> {
    target: &'a Target,
    source: &'a Source,
    keep_alive: bool,
    stream: Option<TcpStream>,
    head: Vec<u8>,
    stamps: Stamps,
    buffer: Vec<u8>,
    filled: usize,
}

/// The head of an answer.
struct Answer {
    status: u16,
    length: Option<u64>,
    close: bool,
    /// Where the body begins in the buffer.
    body: usize,
}

impl<'a> Client<'a> {
    /// A client of `target` that keeps its connection, or takes a new one for each request.
    pub fn new(target: &'a Target, source: &'a Source, keep_alive: bool) -> Self {
        Client {
            target,
            source,
            keep_alive,
            stream: None,
            head: Vec::with_capacity(1024),
            stamps: Stamps::default(),
            buffer: vec![0; BUFFER],
            filled: 0,
        }
    }

    /// Connects ahead of the first request.
    pub fn connect(&mut self) -> Result<(), Failure> {
        if self.stream.is_some() {
            return Ok(());
        }
        let connect = || {
            let stream = TcpStream::connect_timeout(&self.target.address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok::<_, io::Error>(stream)
        };
        self.stream = Some(connect().map_err(|_| Failure::Connect)?);
        Ok(())
    }

    /// Gives up the buffer of a client that sends nothing more.
    pub fn release_buffers(&mut self) {
        self.buffer = Vec::new();
    }

    /// Sends one request and checks its answer. The bytes of the body, sent or received.
    pub fn perform(&mut self, job: &Job) -> Result<u64, Failure> {
        self.connect()?;
        let result = self.exchange(job);
        let keep = matches!(result, Ok((_, true)));
        if !keep || !self.keep_alive {
            self.stream = None;
        }
        match result {
            Ok((answer, _)) if !job.verb.accepts(answer.status) => Err(Failure::Status(answer.status)),
            Ok(_) if matches!(job.verb, Verb::Get | Verb::Put) => Ok(job.object.body.size),
            Ok(_) => Ok(0),
            Err(failure) => Err(failure),
        }
    }

    /// The answer, and whether the connection can carry another request.
    fn exchange(&mut self, job: &Job) -> Result<(Answer, bool), Failure> {
        self.write_head(job.verb, &job.object);
        // A server may refuse a body before it has read all of it: the answer says more than the broken pipe.
        let sent = self.send(job);
        let answer = self.receive_head().map_err(|failure| match &sent {
            Err(error) => classify(error),
            Ok(()) => failure,
        })?;
        if sent.is_err() {
            return Ok((answer, false));
        }
        self.receive_body(job, &answer)?;
        let keep = !answer.close;
        Ok((answer, keep))
    }

    fn write_head(&mut self, verb: Verb, object: &Object) {
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(verb.method().as_bytes());
        head.push(b' ');
        self.target.write_path(head, object);
        head.extend_from_slice(self.target.headers.as_bytes());
        if !self.keep_alive {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        if verb == Verb::Put {
            // Writing to a Vec cannot fail.
            let _ = write!(head, "Content-Length: {}\r\n", object.body.size);
        }
        head.extend_from_slice(b"\r\n");
    }

    fn send(&mut self, job: &Job) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if job.verb == Verb::Put {
            let write = |slices: &mut [IoSlice<'_>]| write_all(stream, slices);
            self.stamps
                .write(self.source, &job.object.body, &self.head, write)
        } else {
            stream.write_all(&self.head)
        }
    }

    /// Reads up to the end of the head; what follows it stays in the buffer.
    fn receive_head(&mut self) -> Result<Answer, Failure> {
        self.filled = 0;
        loop {
            let received = self.receive(self.filled)?;
            // The mark may begin in what was read before.
            let from = self.filled.saturating_sub(3);
            self.filled += received;
            let window = self.buffer[from..self.filled].windows(4);
            if let Some(end) = { window }.position(|four| four == b"\r\n\r\n") {
                return parse(&self.buffer[..from + end], from + end + 4).ok_or(Failure::Framing);
            }
            if self.filled == BUFFER {
                return Err(Failure::Framing);
            }
        }
    }

    /// Reads the body that the answer announces, and compares it if it is the object's.
    fn receive_body(&mut self, job: &Job, answer: &Answer) -> Result<(), Failure> {
        let expected = match job.verb {
            Verb::Get | Verb::Head if answer.status == 200 => Some(&job.object.body),
            _ => None,
        };
        let bodiless = job.verb == Verb::Head || matches!(answer.status, 204 | 304);
        let length = match answer.length {
            Some(length) => length,
            None if bodiless && expected.is_none() => 0,
            None => return Err(Failure::Framing),
        };
        if expected.is_some_and(|body| body.size != length) {
            return Err(Failure::WrongBytes);
        }
        if bodiless {
            return Ok(());
        }
        let mut range = answer.body..self.filled;
        let mut offset = 0;
        loop {
            let now = range.len() as u64;
            if offset + now > length || !self.check(expected, offset, range) {
                return Err(Failure::WrongBytes);
            }
            offset += now;
            if offset == length {
                return Ok(());
            }
            range = 0..self.receive(0)?;
        }
    }

    fn check(&self, expected: Option<&Body>, offset: u64, range: std::ops::Range<usize>) -> bool {
        expected.is_none_or(|body| self.source.matches(body, offset, &self.buffer[range]))
    }

    /// Reads once into the buffer from `at` on. At least one byte.
    fn receive(&mut self, at: usize) -> Result<usize, Failure> {
        let stream = self.stream.as_mut().ok_or(Failure::Closed)?;
        loop {
            match stream.read(&mut self.buffer[at..]) {
                Ok(0) => return Err(Failure::Closed),
                Ok(received) => return Ok(received),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(classify(&error)),
            }
        }
    }
}

fn write_all(stream: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match stream.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn classify(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Closed,
    }
}

/// Reads the head of an answer, of which the body begins at `body`.
fn parse(head: &[u8], body: usize) -> Option<Answer> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let mut answer = Answer {
        status: status_line.get(..3)?.parse().ok()?,
        length: None,
        close: false,
        body,
    };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            answer.length = Some(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("connection") {
            answer.close = value.trim().eq_ignore_ascii_case("close");
        }
    }
    Some(answer)
}
