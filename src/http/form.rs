//! `multipart/form-data`, as some clients send a file.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::error::Refusal;
use super::incoming::Incoming;

/// How long the fields before the file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file in a form: its bytes are the artifact.
pub struct FormFile {
    file: Field,
    /// The field can be read only as long as its form is there.
    _form: Multipart,
}

impl Stream for FormFile {
    type Item = Result<Bytes, MultipartError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.file).poll_next(context)
    }
}

/// The first part that is a file. Parts after it are not looked at.
pub async fn first_file(headers: &HeaderMap, body: Incoming) -> Result<FormFile, Refusal> {
    let mut form = Multipart::new(headers, body);
    match timeout(PATIENCE, find(&mut form)).await {
        Ok(found) => Ok(FormFile {
            file: found?,
            _form: form,
        }),
        Err(_) => Err(Refusal::slow_body(PATIENCE.as_secs())),
    }
}

async fn find(form: &mut Multipart) -> Result<Field, Refusal> {
    while let Some(field) = form.next().await {
        let field = field.map_err(malformed)?;
        let disposition = field.content_disposition();
        if disposition.is_some_and(|disposition| disposition.get_filename().is_some()) {
            return Ok(field);
        }
    }
    Err(Refusal::bad_request("no-file-in-form", "the form has no file"))
}

fn malformed(error: MultipartError) -> Refusal {
    Refusal::bad_request("malformed-form", format!("malformed form: {error}"))
}
