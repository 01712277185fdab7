//! The refusals that routes have in common, in groups for `responses(...)`.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
};

/// Statuses with what they mean.
type Rows = &'static [(u16, &'static str)];

/// Declares groups: their name, how they are written down, and their rows.
macro_rules! groups {
    ($form:ident: $($(#[$says:meta])* $group:ident { $($status:literal: $means:literal,)* })*) => {$(
        $(#[$says])*
        pub struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                const ROWS: Rows = &[$(($status, $means)),*];
                ROWS.iter().map(|(status, means)| (status.to_string(), $form(*status, means).into())).collect()
            }
        }
    )*};
}

groups! { api:
    /// What every call for which one signs in may meet.
    Refused {
        401: "Not signed in, or with wrong credentials.",
        403: "Not permitted to this account or token.",
        429: "Too many failed attempts to sign in.",
        500: "The server failed, or what is stored is damaged.",
        503: "Not ready, too busy, or read-only after a failed write.",
    }
    /// A name in the path that there is not.
    Missing { 404: "No such owner, package, version, file, user or token.", }
    /// A parameter that cannot be understood.
    BadQuery { 422: "A parameter of the query is wrong; the message names it.", }
    /// A body that cannot be used.
    BadBody {
        400: "The body is not JSON or broke off, or a value is not acceptable.",
        408: "The body did not come in time.",
        413: "The body is too large.",
        415: "The body is compressed.",
        422: "A field or a parameter is wrong, or the name is taken; the message says which.",
    }
    /// What is written to the log.
    Writing { 507: "No space left in the store.", }
    /// Before the store is open.
    Unready { 503: "The store is not open yet.", }
}

/// Refusals below `/api/packages`: a line of text, or problem details for clients that prefer JSON.
pub mod file {
    use super::*;

    groups! { packages:
        /// What every request may meet.
        Refused {
            400: "An escape in the path is broken.",
            401: "Not signed in where that is needed, with wrong credentials, or not permitted.",
            403: "The token is limited to public owners.",
            404: "No such owner, version or file.",
            429: "Too many failed attempts to sign in.",
            500: "The server failed, or what is stored is damaged.",
            503: "Not ready, too busy, or read-only after a failed write.",
        }
        /// Before the store is open.
        Unready { 503: "The store is not open yet.", }
        /// Where a scraper has to bring a token, or has to ask elsewhere.
        NotScraped {
            401: "Not the token that the configuration asks for.",
            404: "Metrics have an address of their own.",
        }
        /// What is written to the log.
        Writing { 507: "No space left in the store.", }
        /// What a GET may meet besides.
        NotSelected {
            412: "A precondition does not hold.",
            416: "None of the ranges is in the file.",
        }
        /// What a HEAD may meet besides.
        NoCondition { 412: "A precondition does not hold.", }
        /// What a PUT may meet besides.
        NotPublished {
            400: "A bad name or header, a checksum that does not match, or a version that is published already.",
            403: "A quota is exceeded, or the token is limited to public owners.",
            408: "The body came too slowly.",
            409: "The file is published already.",
            412: "A precondition does not hold.",
            413: "Larger than the limit for one file.",
            507: "No space left in the store.",
        }
    }
}

/// Gitea's form.
fn api(status: u16, means: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ApiError")))
        .build();
    with_headers(status, ResponseBuilder::new().description(means))
        .content("application/json", content)
        .build()
}

/// The two forms of `/api/packages`.
fn packages(status: u16, means: &str) -> Response {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let text = ContentBuilder::new().schema(Some(text)).build();
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    with_headers(status, ResponseBuilder::new().description(means))
        .content("text/plain", text)
        .content("application/problem+json", problem)
        .build()
}

fn with_headers(status: u16, response: ResponseBuilder) -> ResponseBuilder {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let says = "Seconds after which it is worth another try.";
    match status {
        429 | 503 => response.header(
            "Retry-After",
            HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some(says))
                .build(),
        ),
        401 => response.header(
            "WWW-Authenticate",
            HeaderBuilder::new().schema(Some(text)).build(),
        ),
        416 => response.header("Content-Range", HeaderBuilder::new().schema(Some(text)).build()),
        _ => response,
    }
}
