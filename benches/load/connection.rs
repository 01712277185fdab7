//! One connection of a raw HTTP/1.1 client that never blocks: it goes as far as the socket lets it and says when a
//! request has been answered.
//!
//! It is cheap beside the server it measures: the head is built in place, body slices are written without a copy, the
//! answer is compared as it arrives in a buffer that all connections of a thread share, and nothing is allocated for
//! a request.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use socket2::{Domain, Socket, Type};

use crate::answer::{Answer, end_of_head};
use crate::body::{Body, Source, Stamps};
use crate::stats::Failure;
use crate::target::Target;
use crate::workload::{Job, Verb};

/// How long a request may make no progress.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is read at once.
const BUFFER: usize = 256 * 1024;
/// The longest head of an answer.
const HEAD: usize = 64 * 1024;

/// What the connections of one thread share.
pub struct Tools<'a> {
    /// The server.
    pub target: &'a Target,
    /// What bodies are made of.
    pub source: &'a Source,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    /// Says which connections can go on.
    pub epoll: OwnedFd,
    stamps: Stamps,
    buffer: Vec<u8>,
}

impl<'a> Tools<'a> {
    /// Tools for connections to `target`.
    pub fn new(target: &'a Target, source: &'a Source, keep_alive: bool) -> io::Result<Self> {
        Ok(Tools {
            target,
            source,
            keep_alive,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            stamps: Stamps::default(),
            buffer: vec![0; BUFFER],
        })
    }
}

/// One connection, and the request it carries.
#[derive(Debug)]
pub struct Connection {
    /// What the events of its socket are marked with.
    mark: u64,
    stream: Option<TcpStream>,
    request: Option<Request>,
    head: Vec<u8>,
    /// The beginning of an answer's head, if it came in pieces.
    pending: Vec<u8>,
}

/// A request under way.
#[derive(Debug)]
struct Request {
    job: Job,
    due: Instant,
    progress: Instant,
    /// Bytes of head and body that were sent.
    sent: u64,
    /// Why sending stopped early; the answer may say more.
    broken: Option<Failure>,
    answer: Option<Answer>,
    /// Bytes of the answer's body that were received.
    received: u64,
}

/// What became of a request.
pub struct Done {
    /// When it was to be sent.
    pub due: Instant,
    /// The bytes of the body, sent or received.
    pub result: Result<u64, Failure>,
}

impl Connection {
    /// Not connected yet.
    pub fn new(mark: u64) -> Self {
        Connection {
            mark,
            stream: None,
            request: None,
            head: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Connects, or begins to; what comes of it shows when the first bytes are sent.
    pub fn connect(&mut self, tools: &Tools<'_>) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        let address = tools.target.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&tools.epoll, &socket, EventData::new_u64(self.mark), flags)?;
        self.stream = Some(socket.into());
        Ok(())
    }

    /// Takes on a request; `advance` does the rest.
    pub fn begin(&mut self, tools: &Tools<'_>, job: Job, due: Instant) {
        self.write_head(tools, &job);
        self.pending.clear();
        self.request = Some(Request {
            job,
            due,
            progress: Instant::now(),
            sent: 0,
            broken: None,
            answer: None,
            received: 0,
        });
    }

    /// Goes on with the request as far as possible without waiting.
    pub fn advance(&mut self, tools: &mut Tools<'_>) -> Option<Done> {
        let mut request = self.request.take()?;
        let result = match self.connect(tools) {
            Ok(()) => self.exchange(tools, &mut request),
            Err(_) => Err(Failure::Connect),
        };
        let result = match result {
            Ok(None) => {
                self.request = Some(request);
                return None;
            }
            Ok(Some(answer)) if request.broken.is_some() || answer.close || !tools.keep_alive => {
                self.stream = None;
                request.judge(answer)
            }
            Ok(Some(answer)) => request.judge(answer),
            Err(failure) => {
                self.stream = None;
                Err(request.broken.unwrap_or(failure))
            }
        };
        Some(Done {
            due: request.due,
            result,
        })
    }

    /// Gives up a request that has made no progress for too long.
    pub fn give_up(&mut self) -> Option<Done> {
        self.request
            .as_ref()
            .filter(|request| request.progress.elapsed() > PATIENCE)?;
        self.stream = None;
        self.request.take().map(|request| Done {
            due: request.due,
            result: Err(Failure::Timeout),
        })
    }

    fn write_head(&mut self, tools: &Tools<'_>, job: &Job) {
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(job.verb.method().as_bytes());
        head.push(b' ');
        tools.target.write_path(head, &job.object);
        if !tools.keep_alive {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        if job.verb == Verb::Put {
            // Writing to a Vec cannot fail.
            let _ = write!(head, "Content-Length: {}\r\n", job.object.body.size);
        }
        head.extend_from_slice(b"\r\n");
    }

    /// The answer, once it is there in full.
    fn exchange(&mut self, tools: &mut Tools<'_>, request: &mut Request) -> Result<Option<Answer>, Failure> {
        let Some(stream) = self.stream.as_mut() else {
            return Err(Failure::Connect);
        };
        let total = self.head.len() as u64 + request.body().map_or(0, |body| body.size);
        while request.sent < total && request.broken.is_none() {
            let sent = match request.body() {
                Some(body) => {
                    let write = |slices: &[IoSlice<'_>]| stream.write_vectored(slices);
                    tools
                        .stamps
                        .write(tools.source, body, &self.head, request.sent, write)
                }
                None => stream.write(&self.head[request.sent as usize..]),
            };
            match sent {
                Ok(sent) => request.sent += sent as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Err(Failure::Connect);
                }
                // A server may refuse a body before it has read all of it.
                Err(_) => request.broken = Some(Failure::Closed),
            }
            request.progress = Instant::now();
        }
        loop {
            let received = match stream.read(&mut tools.buffer) {
                Ok(0) => return Err(Failure::Closed),
                Ok(received) => &tools.buffer[..received],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(Failure::Closed),
            };
            request.progress = Instant::now();
            if let Some(answer) = request.receive(tools.source, &mut self.pending, received)? {
                return Ok(Some(answer));
            }
        }
    }
}

impl Request {
    /// The body to be sent.
    fn body(&self) -> Option<&Body> {
        (self.job.verb == Verb::Put).then_some(&self.job.object.body)
    }

    /// Takes in bytes of the answer. The answer, once it is complete.
    fn receive(
        &mut self,
        source: &Source,
        pending: &mut Vec<u8>,
        received: &[u8],
    ) -> Result<Option<Answer>, Failure> {
        if let Some(answer) = self.answer {
            return self.receive_body(source, answer, received);
        }
        if pending.is_empty()
            && let Some((end, body)) = end_of_head(received)
        {
            return self.receive_head(source, &received[..end], &received[body..]);
        }
        pending.extend_from_slice(received);
        match end_of_head(pending) {
            Some((end, body)) => self.receive_head(source, &pending[..end], &pending[body..]),
            None if pending.len() > HEAD => Err(Failure::Framing),
            None => Ok(None),
        }
    }

    fn receive_head(&mut self, source: &Source, head: &[u8], body: &[u8]) -> Result<Option<Answer>, Failure> {
        let answer = Answer::parse(head).ok_or(Failure::Framing)?;
        self.answer = Some(answer);
        self.receive_body(source, answer, body)
    }

    /// Takes in bytes of the body, and compares them if it is the object's.
    fn receive_body(
        &mut self,
        source: &Source,
        answer: Answer,
        bytes: &[u8],
    ) -> Result<Option<Answer>, Failure> {
        let verb = self.job.verb;
        let object = &self.job.object.body;
        let is_object = matches!(verb, Verb::Get | Verb::Head) && answer.status == 200;
        let has_body = verb != Verb::Head && !matches!(answer.status, 204 | 304);
        let length = match answer.length {
            Some(length) if is_object && length != object.size => return Err(Failure::WrongBytes),
            Some(length) if has_body => length,
            None if has_body || is_object => return Err(Failure::Framing),
            _ => 0,
        };
        let offset = self.received;
        self.received += bytes.len() as u64;
        if self.received > length {
            return Err(Failure::Framing);
        }
        if is_object && !source.matches(object, offset, bytes) {
            return Err(Failure::WrongBytes);
        }
        Ok((self.received == length).then_some(answer))
    }

    /// Whether the answer is the one the step expects.
    fn judge(&self, answer: Answer) -> Result<u64, Failure> {
        match self.job.verb {
            verb if !verb.accepts(answer.status) => Err(Failure::Status(answer.status)),
            Verb::Get | Verb::Put => Ok(self.job.object.body.size),
            Verb::Head | Verb::Delete | Verb::Miss => Ok(0),
        }
    }
}
