//! `X-Request-Id`: taken from the client if it is fit for a log, made otherwise, always returned.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::request::{RequestContext, RequestId};

/// The header.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a request says about itself and its trace.
pub fn context(headers: &HeaderMap) -> RequestContext {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    RequestContext::new(text(REQUEST_ID), text(TRACEPARENT))
}

/// Returns the id to the client.
pub fn stamp(headers: &mut HeaderMap, context: &RequestContext) {
    let value = match context.id() {
        RequestId::Ours(id) => HeaderValue::from_bytes(&hex_digits(*id)),
        RequestId::Theirs(id) => HeaderValue::from_str(id),
    };
    // Ids have no character that a header may not have.
    if let Ok(value) = value {
        headers.insert(REQUEST_ID, value);
    }
}

/// An id of ours, as it is shown.
pub fn hex_digits(id: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (n, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (60 - 4 * n)) as usize & 0xf];
    }
    digits
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_returned_as_the_log_shows_it() {
        let mut headers = HeaderMap::new();
        for sent in [None, Some("build-17/a"), Some("not fit")] {
            let mut request = HeaderMap::new();
            if let Some(sent) = sent {
                request.insert(REQUEST_ID, HeaderValue::from_static(sent));
            }
            let context = context(&request);
            stamp(&mut headers, &context);
            let returned = headers.get(REQUEST_ID).unwrap().to_str().unwrap();
            assert_eq!(returned, context.id().to_string());
            assert_eq!(Some(returned) == sent, sent == Some("build-17/a"));
        }
    }
}
