//! Downloads (API.md §1 and §3).

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;

use super::auth::permitted;
use super::byteranges::{Layout, Part, content_range};
use super::conditions::{self, Validators, Verdict};
use super::error::Refusal;
use super::head::Head;
use super::ranges::{self, Selection};
use super::state::State;
use crate::access::Action;
use crate::artifact::{ArtifactError, Coordinates, Fetched};
use crate::store::blob::{Blob, BlobReader};
use crate::store::error::StoreError;
use crate::store::model::File;

/// What every file is: bytes.
const OCTETS: &str = "application/octet-stream";

/// GET of a file.
pub async fn get(
    state: &State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let (_, owner) = permitted(state, engine, head, owner, Action::Read).await?;
    let Fetched { file, blob } = engine.artifacts.fetch(&owner, at)?;
    if let Some(response) = judged(head, &file)? {
        return Ok(response);
    }
    let (mut response, layout) = selected(head, &file)?;
    match Sending::start(blob, layout).await {
        Ok(body) => Ok(response.body(body)),
        // Builds go on and store it again.
        Err(StoreError::Damaged(_)) if engine.artifacts.is_cache(&owner, at) => {
            Err(ArtifactError::NoFile.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// HEAD of a file. Never reads its bytes.
pub async fn head(
    state: &State,
    head: Head<'_>,
    owner: &str,
    at: &Coordinates,
) -> Result<HttpResponse, Refusal> {
    let engine = state.engine()?;
    let (_, owner) = permitted(state, engine, head, owner, Action::Read).await?;
    let Fetched { file, .. } = engine.artifacts.fetch(&owner, at)?;
    if let Some(response) = judged(head, &file)? {
        return Ok(response);
    }
    let mut response = described(StatusCode::OK, &file);
    response.insert_header((CONTENT_TYPE, OCTETS));
    Ok(response.body(NoBytes { size: file.size }))
}

/// The answer, if the conditions decide it.
fn judged(head: Head<'_>, file: &File) -> Result<Option<HttpResponse>, Refusal> {
    match conditions::judge_read(head.headers, validators(file)) {
        Verdict::Proceed => Ok(None),
        Verdict::Failed => Err(Refusal::precondition()),
        Verdict::NotModified => Ok(Some(described(StatusCode::NOT_MODIFIED, file).finish())),
    }
}

fn validators(file: &File) -> Validators {
    Validators {
        digest: file.blob,
        modified: file.created.div_euclid(1000),
    }
}

/// Which bytes to send, and under which head.
fn selected(head: Head<'_>, file: &File) -> Result<(HttpResponseBuilder, Layout), Refusal> {
    let range = head.headers.get(RANGE).and_then(|value| value.to_str().ok());
    let range = range.filter(|_| conditions::range_counts(head.headers, validators(file)));
    let selection = range.map_or(Selection::Whole, |range| ranges::select(range, file.size));
    match selection {
        Selection::Whole => {
            let mut response = described(StatusCode::OK, file);
            response.insert_header((CONTENT_TYPE, OCTETS));
            Ok((response, Layout::single(0..file.size)))
        }
        Selection::Parts(parts) => Ok(partial(file, parts)),
        Selection::Unsatisfiable => Err(Refusal::range(file.size)),
    }
}

fn partial(file: &File, mut parts: Vec<Range<u64>>) -> (HttpResponseBuilder, Layout) {
    let mut response = described(StatusCode::PARTIAL_CONTENT, file);
    if parts.len() == 1 {
        let range = parts.swap_remove(0);
        response.insert_header((CONTENT_TYPE, OCTETS));
        response.insert_header((CONTENT_RANGE, content_range(&range, file.size)));
        return (response, Layout::single(range));
    }
    let boundary = boundary(file);
    response.insert_header((CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}")));
    (response, Layout::multipart(parts, file.size, OCTETS, &boundary))
}

/// A line that is in no file: it takes the hash of a file to predict it, and the file to contain it.
fn boundary(file: &File) -> String {
    let digest = file.blob.to_string();
    format!("larder-{}", &digest[..32])
}

/// The headers that describe a file, whatever of it is sent.
fn described(status: StatusCode, file: &File) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CACHE_CONTROL, "private, max-age=0, must-revalidate"))
        .insert_header((CONTENT_DISPOSITION, disposition(&file.name)))
        .insert_header((ETAG, conditions::etag(&file.blob)))
        .insert_header(("x-checksum-blake3", file.blob.to_string()))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if let Some(date) = conditions::http_date(file.created.div_euclid(1000)) {
        response.insert_header((LAST_MODIFIED, date));
    }
    if let Some(sha256) = file.sha256 {
        response.insert_header(("x-checksum-sha256", hex::encode(sha256)));
    }
    response
}

/// The value of Content-Disposition: quoted only when it must be.
fn disposition(name: &str) -> String {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) {
        return format!("attachment; filename={name}");
    }
    let mut quoted = String::with_capacity(name.len() + 2);
    for c in name.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            // The rules for names allow none of these; a header could not carry them.
            _ => quoted.push('_'),
        }
    }
    format!("attachment; filename=\"{quoted}\"")
}

/// Stands for the body of an answer to HEAD: its size, none of its bytes.
struct NoBytes {
    size: u64,
}

impl MessageBody for NoBytes {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// Parts of a file on their way out. A read that fails ends the body with an error, which breaks the connection: the
/// client sees that bytes are missing.
struct Sending {
    blob: Blob,
    parts: std::vec::IntoIter<Part>,
    tail: Bytes,
    /// What is sent before the reader goes on, the last of them first.
    ready: Vec<Bytes>,
    /// Of the part that is being sent.
    reader: Option<BlobReader>,
}

impl Sending {
    /// Reads the first piece: damage that shows there still gets a status of its own.
    async fn start(blob: Blob, layout: Layout) -> Result<BoxBody, StoreError> {
        let len = layout.len();
        let mut parts = layout.parts.into_iter();
        let Some(part) = parts.next() else {
            return Ok(BoxBody::new(layout.tail));
        };
        let mut reader = blob.read(part.range);
        let first = reader.next().await?.unwrap_or_default();
        // A small file is sent in one go.
        if first.len() as u64 == len {
            return Ok(BoxBody::new(first));
        }
        let sending = Sending {
            blob,
            parts,
            tail: layout.tail,
            ready: vec![first, part.head],
            reader: Some(reader),
        };
        let stream = stream::try_unfold(sending, |mut sending| async move {
            let next = sending.next().await?;
            Ok::<_, StoreError>(next.map(|bytes| (bytes, sending)))
        });
        Ok(BoxBody::new(SizedStream::new(len, Box::pin(stream))))
    }

    /// The next bytes, which may be none yet; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.ready.pop() {
            return Ok(Some(bytes));
        }
        if let Some(reader) = &mut self.reader
            && let Some(bytes) = reader.next().await?
        {
            return Ok(Some(bytes));
        }
        self.reader = None;
        if let Some(part) = self.parts.next() {
            self.reader = Some(self.blob.read(part.range));
            return Ok(Some(part.head));
        }
        let tail = std::mem::take(&mut self.tail);
        Ok(Some(tail).filter(|tail| !tail.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_when_they_must_be() {
        for (name, value) in [
            ("plain.tar.gz", "plain.tar.gz"),
            ("a+b_c~d", "a+b_c~d"),
            ("with space.bin", "\"with space.bin\""),
            ("semi;colon=x", "\"semi;colon=x\""),
            ("(paren)[x]{y}", "\"(paren)[x]{y}\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("line\r\nbreak ü", "\"line__break _\""),
            ("", "\"\""),
        ] {
            assert_eq!(disposition(name), format!("attachment; filename={value}"), "{name}");
        }
    }
}
