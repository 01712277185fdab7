//! `Expect: 100-continue`: a client that asks before it sends gets the refusal instead of the invitation.

use actix_http::{Request, Response};
use actix_web::body::BoxBody;

use super::error::Form;
use super::head::Head;
use super::incoming::Incoming;
use super::metrics::{METRICS, Op};
use super::path;
use super::refuse;
use super::request_id;
use super::routes::{self, Entrance};
use super::state::State;
use super::trail::Trail;
use crate::telemetry::request::RequestContext;

/// Gives the request back if its body is wanted, else the answer.
pub async fn expect(
    state: State,
    entrance: Entrance,
    request: Request,
) -> Result<Request, Response<BoxBody>> {
    let context = request_id::context(request.head().headers());
    let decided = decide(&state, entrance, request, &context);
    let decided = context.clone().scope(decided).await;
    decided.map_err(|mut response| {
        request_id::stamp(response.headers_mut(), &context);
        response
    })
}

async fn decide(
    state: &State,
    entrance: Entrance,
    mut request: Request,
    context: &RequestContext,
) -> Result<Request, Response<BoxBody>> {
    let head = Head::from(&request).through(state.options(), entrance.tls);
    let record = state.requests().map(|log| log.begin(head, context));
    let head = head.recorded(record.as_deref());
    let parsed = path::parse(head.path);
    let op = Op::of(&parsed, head.method);
    let trail = Trail::begin(state, &parsed, op, head, context);
    let head = head.audited(trail.as_ref());
    let refusal = match routes::before_body(state, entrance.serves, &parsed, head).await {
        Ok(()) => return Ok(request),
        Err(refusal) => refusal,
    };
    if op == Op::PutFile {
        METRICS.not_sent(head.content_length().unwrap_or_default());
    }
    let watch = METRICS.begin(op).logged(context.clone(), record.clone());
    let watch = watch.audited(trail.clone());
    let response = Response::from(watch.send(refusal.respond(Form::of(&parsed, head), head)));
    // A client need not wait for ever, and may have begun to send.
    let incoming = Incoming::new(request.take_payload(), METRICS.received(op));
    let incoming = incoming.recorded(record).audited(trail);
    let bounds = routes::bounds(state, response.status());
    Err(response.map_body(|_, body| refuse::behind(body, incoming, bounds)))
}
