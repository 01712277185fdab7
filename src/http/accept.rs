//! The Accept header: does a client prefer JSON, or a page, to plain text?

use actix_web::http::header::{ACCEPT, HeaderMap};

const JSON: [&str; 2] = ["application/json", "application/problem+json"];
const HTML: [&str; 2] = ["text/html", "application/xhtml+xml"];

/// Weights of media ranges, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    json: Option<u32>,
    html: Option<u32>,
    text: Option<u32>,
    any_application: Option<u32>,
    any_text: Option<u32>,
    any: Option<u32>,
}

/// Whether JSON is strictly preferred over plain text. Without an Accept header it is not.
pub fn prefers_json(headers: &HeaderMap) -> bool {
    let weights = Weights::of(headers);
    weights.json() > weights.text()
}

/// Whether HTML is strictly preferred over plain text, as browsers do. Without an Accept header it is not.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let weights = Weights::of(headers);
    weights.html() > weights.text()
}

impl Weights {
    fn of(headers: &HeaderMap) -> Self {
        let mut weights = Weights::default();
        for value in headers.get_all(ACCEPT) {
            let text = value.to_str().unwrap_or_default();
            text.split(',').for_each(|range| weights.add(range));
        }
        weights
    }

    fn add(&mut self, range: &str) {
        let mut pieces = range.split(';').map(str::trim);
        let kind = pieces.next().unwrap_or_default().to_ascii_lowercase();
        let weight = pieces.find_map(quality).unwrap_or(1000);
        let slot = match kind.as_str() {
            kind if JSON.contains(&kind) => &mut self.json,
            kind if HTML.contains(&kind) => &mut self.html,
            "text/plain" => &mut self.text,
            "application/*" => &mut self.any_application,
            "text/*" => &mut self.any_text,
            "*/*" => &mut self.any,
            _ => return,
        };
        *slot = (*slot).max(Some(weight));
    }

    /// The most specific range counts.
    fn json(self) -> u32 {
        self.json.or(self.any_application).or(self.any).unwrap_or(0)
    }

    fn html(self) -> u32 {
        self.html.or(self.any_text).or(self.any).unwrap_or(0)
    }

    fn text(self) -> u32 {
        self.text.or(self.any_text).or(self.any).unwrap_or(0)
    }
}

/// The weight of a parameter `q=0.5`; one that is malformed counts for nothing.
fn quality(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().unwrap_or(0.0);
    // The cast saturates, and takes what is no number for 0.
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn prefers(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        prefers_json(&headers)
    }

    #[test]
    fn json_must_be_preferred() {
        for accept in [
            "application/json",
            "application/problem+json",
            "APPLICATION/JSON",
            "application/json, text/plain;q=0.1",
            "application/json, */*;q=0.5",
            "application/*",
            "text/html, application/json",
        ] {
            assert!(prefers(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain, application/json;q=0.5",
            "application/json, text/plain",
            "application/json;q=0",
            "text/html,*/*;q=0.8",
            "text/html",
            ";;q=x,//",
        ] {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!prefers_json(&HeaderMap::new()));
    }

    #[test]
    fn browsers_get_pages_and_curl_gets_text() {
        let html = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            prefers_html(&headers)
        };
        assert!(html(
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
        ));
        assert!(html("text/html"));
        for accept in [
            "*/*",
            "",
            "text/*",
            "text/plain, text/html;q=0.5",
            "application/json",
        ] {
            assert!(!html(accept), "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn any_value_is_understood_somehow(accept in "[ -~]{0,60}") {
            let _ = prefers(&accept);
        }
    }
}
