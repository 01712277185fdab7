//! Lists in pages, as Gitea has them: `page` and `limit` in the query, `X-Total-Count` and `Link` in the answer.

use std::num::NonZeroUsize;

use actix_web::HttpResponse;
use serde::Serialize;

use super::error::Refusal;
use super::fields::BadField;
use super::head::Head;
use crate::artifact::browse::Window;

/// Items on a page, unless asked for fewer or more.
pub const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::new(30).unwrap();
/// Most items on a page.
pub const MAX_LIMIT: NonZeroUsize = NonZeroUsize::new(50).unwrap();

/// What a page or a limit must be.
const RANGE: &str = "a whole number from 0 to 18446744073709551615";

/// The page that the query asks for. Zero and what is beyond the bounds count as unsaid, as with Gitea.
pub fn window(head: Head<'_>, default: NonZeroUsize, most: NonZeroUsize) -> Result<Window, BadField> {
    let number = |field: &'static str| match head.query(field).as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(NonZeroUsize::new(usize::try_from(number).unwrap_or(usize::MAX))),
            Err(_) => {
                let (what, given) = (RANGE, text.to_owned());
                Err(BadField::Wrong { field, what, given })
            }
        },
    };
    Ok(Window {
        page: number("page")?.unwrap_or(NonZeroUsize::MIN),
        limit: number("limit")?.unwrap_or(default).min(most),
    })
}

/// The page of a list that is at hand whole. What is not on it is not shown.
pub fn listed<T, S: Serialize>(
    items: &[T],
    show: impl FnMut(&T) -> Result<S, Refusal>,
    head: Head<'_>,
) -> Result<HttpResponse, Refusal> {
    let window = window(head, DEFAULT_LIMIT, MAX_LIMIT)?;
    let page = items.iter().skip(window.skip()).take(window.limit.get());
    let shown: Result<Vec<S>, Refusal> = page.map(show).collect();
    Ok(paged(shown?, items.len() as u64, window, head))
}

/// A page as a response, with what Gitea says about the others.
pub fn paged<T: Serialize>(answer: T, total: u64, window: Window, head: Head<'_>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header(("x-total-count", total.to_string()))
        .insert_header(("access-control-expose-headers", "X-Total-Count, Link"));
    let (page, limit) = (window.page.get() as u64, window.limit.get() as u64);
    let last = total.div_ceil(limit).max(1);
    let link = |page: u64, relation: &str| {
        let url = format!("{}{}", head.base_url(), head.path);
        format!(
            "<{url}?{}>; rel=\"{relation}\"",
            with_page(head.uri.query(), page, limit)
        )
    };
    let mut links = Vec::new();
    if page < last {
        links.extend([link(page + 1, "next"), link(last, "last")]);
    }
    if page > 1 {
        // From past the end the way back is to the last page that there is.
        links.extend([link(1, "first"), link((page - 1).min(last), "prev")]);
    }
    if !links.is_empty() {
        response.insert_header(("link", links.join(",")));
    }
    response.json(answer)
}

/// The query with another page; tokens in it are left out.
fn with_page(query: Option<&str>, page: u64, limit: u64) -> String {
    let mut query: Vec<String> = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| {
            ["q=", "type=", "verdict="]
                .iter()
                .any(|kept| pair.starts_with(kept))
        })
        .map(str::to_owned)
        .collect();
    query.extend([format!("page={page}"), format!("limit={limit}")]);
    query.join("&")
}
