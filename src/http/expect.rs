//! `Expect: 100-continue`: a client that asks first gets the final status instead of `100` when its PUT is refused
//! early, and never sends the body.

use std::sync::Arc;

use actix_http::{Request, Response};
use actix_service::{ServiceFactory, fn_service};
use actix_web::body::BoxBody;
use actix_web::http::Method;

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
            if request.method() != Method::PUT {
                return Ok(request);
            }
            // Anything else about the path is for the handlers to say.
            let Ok(Target::File { owner, at }) = Target::parse(request.path()) else {
                return Ok(request);
            };
            match admit_publication(&state, request.head(), &owner, at).await {
                Ok(_) => Ok(request),
                Err(refusal) => Err(refusal.respond(&request.head().headers).into()),
            }
        }
    })
}
