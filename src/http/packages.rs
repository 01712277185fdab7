//! Generic packages: publish, download, remove (API.md §1, §3, §4).

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_multipart::{Field, Multipart};
use actix_web::dev::Payload;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::conditions::etag;
use super::download;
use super::error::Refusal;
use super::gate::{Admitted, admit, admit_publication, content_length, is_multipart};
use super::path::Target;
use super::refuse::refuse;
use super::state::AppState;
use crate::access::Action;
use crate::artifact::{ArtifactError, Coordinates, Published};

impl Target {
    /// Whether this can be done with it at all.
    pub fn allows(&self, method: &Method) -> Result<(), Refusal> {
        let (methods, allow): (&[Method], _) = match self {
            Target::File { .. } => (
                &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
                "GET, HEAD, PUT, DELETE",
            ),
            Target::Version { .. } => (&[Method::DELETE], "DELETE"),
        };
        if methods.contains(method) {
            Ok(())
        } else {
            Err(Refusal::method(allow))
        }
    }
}

/// Serves everything under `/api/packages`, and says 404 for what no other route knows.
pub async fn serve(request: HttpRequest, payload: web::Payload, state: web::Data<AppState>) -> HttpResponse {
    let payload = Body::new(payload.into_inner());
    match answer(&request, &payload, &state).await {
        Ok(response) => response,
        Err(refusal) => {
            super::observe::rejected(&refusal);
            let response = refusal.respond(request.headers());
            refuse(
                response,
                payload.rest(),
                content_length(request.head()),
                &state.options,
            )
            .await
        }
    }
}

async fn answer(request: &HttpRequest, payload: &Body, state: &AppState) -> Result<HttpResponse, Refusal> {
    let head = request.head();
    match (Target::parse(head.uri.path())?, &head.method) {
        (Target::File { owner, at }, &Method::PUT) => put(request, payload, state, &owner, at).await,
        (Target::File { owner, at }, &Method::GET | &Method::HEAD) => {
            let Admitted { engine, owner, .. } = admit(state, head, &owner, Action::Read).await?;
            download::answer(&engine, &owner, &at, head).await
        }
        (Target::File { owner, at }, &Method::DELETE) => {
            let Admitted { engine, owner, .. } = admit(state, head, &owner, Action::Delete).await?;
            engine.artifacts.remove_file(&owner, &at).await?;
            Ok(HttpResponse::NoContent().finish())
        }
        (
            Target::Version {
                owner,
                package,
                version,
            },
            &Method::DELETE,
        ) => {
            let Admitted { engine, owner, .. } = admit(state, head, &owner, Action::Delete).await?;
            engine
                .artifacts
                .remove_version(&owner, &package, &version)
                .await?;
            Ok(HttpResponse::NoContent().finish())
        }
        (target, method) => {
            target.allows(method)?;
            Err(Refusal::internal(&"a method that is allowed has no handler"))
        }
    }
}

async fn put(
    request: &HttpRequest,
    payload: &Body,
    state: &AppState,
    owner: &str,
    at: Coordinates,
) -> Result<HttpResponse, Refusal> {
    let (engine, publication) = admit_publication(state, request.head(), owner, at).await?;
    let published = if is_multipart(request.head()) {
        let mut form = Multipart::new(request.headers(), payload.clone());
        // The form must outlive its part: it is what reads.
        let part = first_file(&mut form).await?;
        engine.artifacts.publish(publication, part).await?
    } else {
        engine.artifacts.publish(publication, payload.clone()).await?
    };
    let Published { file, ok } = published;
    let status = if ok { StatusCode::OK } else { StatusCode::CREATED };
    Ok(HttpResponse::build(status)
        .insert_header((header::ETAG, etag(&file.blob)))
        .insert_header(("X-Checksum-Blake3", file.blob.to_string()))
        .finish())
}

/// The first part of a form that is a file.
async fn first_file(form: &mut Multipart) -> Result<Field, Refusal> {
    while let Some(field) = form.next().await {
        let field = field.map_err(|error| ArtifactError::Incomplete(error.to_string()))?;
        if field
            .content_disposition()
            .is_some_and(|value| value.get_filename().is_some())
        {
            return Ok(field);
        }
    }
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        "no-file-part",
        "the form has no part that is a file",
    ))
}

/// The body of a request, shared with whoever drains it after a refusal.
#[derive(Clone)]
struct Body(Rc<RefCell<Payload>>);

impl Body {
    fn new(payload: Payload) -> Self {
        Body(Rc::new(RefCell::new(payload)))
    }

    /// What has not been read.
    fn rest(&self) -> Payload {
        self.0.replace(Payload::None)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, actix_web::error::PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}
