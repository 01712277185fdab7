//! `Expect: 100-continue`: a client that asks before it sends gets the refusal instead of the invitation.

use actix_http::{Request, Response};
use actix_web::body::BoxBody;

use super::error::Form;
use super::head::Head;
use super::incoming::Incoming;
use super::metrics::{METRICS, Op};
use super::path;
use super::refuse;
use super::routes::{self, Serves};
use super::state::State;
use super::trail::Trail;

/// Gives the request back if its body is wanted, else the answer.
pub async fn expect(
    state: State,
    serves: Serves,
    mut request: Request,
) -> Result<Request, Response<BoxBody>> {
    let head = Head::from(&request);
    let parsed = path::parse(head.uri.path());
    let op = Op::of(&parsed, head.method);
    let trail = Trail::begin(&state, &parsed, op, head);
    let head = Head {
        trail: trail.as_ref(),
        ..head
    };
    let refusal = match routes::before_body(&state, serves, &parsed, head).await {
        Ok(()) => return Ok(request),
        Err(refusal) => refusal,
    };
    let response = refusal.respond(Form::of(&parsed, head), head);
    let response: Response<BoxBody> = METRICS
        .begin(op)
        .following(trail.clone())
        .send(response)
        .into();
    // A client need not wait for ever, and may have begun to send.
    let incoming = Incoming::new(request.take_payload(), METRICS.received(op), trail);
    let bounds = routes::bounds(&state, response.status());
    Err(response.map_body(|_, body| refuse::behind(body, incoming, bounds)))
}
