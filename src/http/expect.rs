//! `Expect: 100-continue`: a client that asks first gets the final status instead of `100` when its PUT is refused
//! early, and never sends the body.

use std::sync::Arc;

use actix_http::{Request, Response};
use actix_service::{ServiceFactory, fn_service};
use actix_web::body::BoxBody;
use actix_web::dev::RequestHead;
use actix_web::http::Method;

use super::error::Refusal;
use super::gate::admit_publication;
use super::path::Target;
use super::state::AppState;

/// The service that decides whether `100 Continue` is sent.
pub fn factory(
    state: Arc<AppState>,
) -> impl ServiceFactory<Request, Config = (), Response = Request, Error = Response<BoxBody>, InitError = ()>
{
    fn_service(move |request: Request| {
        let state = state.clone();
        async move {
            if !request.path().starts_with("/api/packages/") {
                return Ok(request);
            }
            match judge(&state, request.head()).await {
                Ok(()) => Ok(request),
                Err(refusal) => Err(refusal.respond(&request.head().headers).into()),
            }
        }
    })
}

async fn judge(state: &AppState, head: &RequestHead) -> Result<(), Refusal> {
    match (Target::parse(head.uri.path())?, &head.method) {
        (Target::File { owner, at }, &Method::PUT) => {
            admit_publication(state, head, &owner, at).await.map(drop)
        }
        (target, method) => target.allows(method),
    }
}
