//! A small HTTP/1.1 client over a plain socket. It does what it is told, also what no decent client would: send only
//! a head, stop in the middle, send everything before it reads. Every read and write has a time limit.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{PATIENCE, documented};

/// How a request's body is announced and sent.
#[derive(Clone, Debug)]
enum Framing {
    /// No body, no length.
    None,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, in chunks of this many bytes.
    Chunked(usize),
}

/// A request, not yet sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
}

impl Request {
    /// A request without headers or body; `Host` is added when it is sent.
    pub fn new(method: &str, target: &str) -> Self {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::None,
        }
    }

    /// GET `target`.
    pub fn get(target: &str) -> Self {
        Request::new("GET", target)
    }

    /// HEAD `target`.
    pub fn head(target: &str) -> Self {
        Request::new("HEAD", target)
    }

    /// DELETE `target`.
    pub fn delete(target: &str) -> Self {
        Request::new("DELETE", target)
    }

    /// PUT `body` to `target`, with a Content-Length.
    pub fn put(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Request::new("PUT", target).body(body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body and announces its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Framing::Length;
        self
    }

    /// Sends the body in chunks of `size` bytes, without a Content-Length.
    pub fn chunked(mut self, size: usize) -> Self {
        self.framing = Framing::Chunked(size);
        self
    }

    /// Adds a JSON body.
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(value.to_string())
    }

    /// The method, which decides whether a response has a body.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Where it goes to.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Request line and headers with the empty line, as they go over the wire.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: larder.test\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::None => {}
            Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
            Framing::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body as it goes over the wire.
    pub fn body_bytes(&self) -> Vec<u8> {
        let Framing::Chunked(size) = self.framing else {
            return self.body.clone();
        };
        let mut wire = Vec::with_capacity(self.body.len() + 64);
        for chunk in self.body.chunks(size) {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        wire
    }
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In the order received, names as sent.
    pub headers: Vec<(String, String)>,
    /// Decoded.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text, without the line end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {:?}", self.status, self.text()))
    }

    /// Whether the server will take another request on this connection.
    pub fn keeps_alive(&self) -> bool {
        !self
            .header("connection")
            .is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    /// Bytes received but not yet used.
    pending: Vec<u8>,
}

impl Conn {
    /// Connects, with time limits on everything that follows.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Conn {
            stream,
            pending: Vec::new(),
        })
    }

    /// Changes how long a read may wait.
    pub fn read_limit(&self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a read limit can be set");
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub fn finish_writing(&self) {
        // The server may have closed already, which is as good.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a whole request before it reads the response.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.head_bytes())?;
        self.write(&request.body_bytes())?;
        let answer = self.read_response(request.method())?;
        documented::check(request, &answer);
        Ok(answer)
    }

    /// Reads a response to a request with `method`; interim responses (100) are returned like any other.
    pub fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let (status, headers) = self.read_head()?;
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if bodiless {
            return Ok(response);
        }
        if response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            response.body = self.read_chunks()?;
        } else if let Some(length) = response.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| broken("content-length is no number"))?;
            response.body = self.take(length)?;
        } else {
            while self.fill()? {}
            response.body = std::mem::take(&mut self.pending);
        }
        Ok(response)
    }

    /// Waits until an answer has begun; its bytes are kept for [`Conn::read_response`].
    pub fn await_answer(&mut self) -> io::Result<()> {
        if self.pending.is_empty() && !self.fill()? {
            return Err(broken("closed without an answer"));
        }
        Ok(())
    }

    /// Whether the server closes (or resets) the connection within `limit` without sending anything more.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.read_limit(limit);
        let closed = match self.fill() {
            Ok(more) => !more,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.read_limit(PATIENCE);
        closed && self.pending.is_empty()
    }

    /// Whether the server says nothing more, and ends in order rather than by a reset.
    pub fn ends_in_order(&mut self) -> bool {
        self.pending.is_empty() && matches!(self.fill(), Ok(false))
    }

    /// Whatever the server sends until it closes or falls silent for `limit`.
    pub fn drain(&mut self, limit: Duration) -> Vec<u8> {
        self.read_limit(limit);
        while self.fill().unwrap_or(false) {}
        std::mem::take(&mut self.pending)
    }

    fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = find(&self.pending, b"\r\n\r\n") {
                break at;
            }
            if self.pending.len() > 64 * 1024 {
                return Err(broken("response head is too long"));
            }
            if !self.fill()? {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "closed before a whole response head",
                ));
            }
        };
        let head: Vec<u8> = self.pending.drain(..end + 4).collect();
        let head = String::from_utf8(head).map_err(|_| broken("response head is not UTF-8"))?;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| {
                line.strip_prefix("HTTP/1.1 ")
                    .or_else(|| line.strip_prefix("HTTP/1.0 "))
            })
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| broken("no status line"))?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| broken("header without colon"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok((status, headers))
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or(""), 16)
                .map_err(|_| broken("chunk size is no number"))?;
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.read_line()?;
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.pending, b"\r\n") {
                let line: Vec<u8> = self.pending.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.fill()? {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed within a line"));
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < length {
            if !self.fill()? {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed within a body"));
            }
        }
        let rest = self.pending.split_off(length);
        Ok(std::mem::replace(&mut self.pending, rest))
    }

    /// Reads once; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 64 * 1024];
        let count = loop {
            match self.stream.read(&mut piece) {
                // Reads with a time limit are not begun again by the kernel after a signal.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.pending.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }
}

/// Sends one request on a connection of its own.
pub fn response_of(address: SocketAddr, request: &Request) -> io::Result<Response> {
    Conn::open(address)?.send(request)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
