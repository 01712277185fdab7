//! Targets and referers without the secrets that clients put into them.

use actix_web::http::Uri;
use percent_encoding::percent_decode_str;

/// Parameters whose names have one of these in them are not shown.
const SECRET: [&str; 5] = ["token", "secret", "password", "signature", "key"];

/// Path and query of a request, the values of secret parameters left out.
pub fn target(uri: &Uri) -> String {
    let mut target = uri.path().to_owned();
    let Some(query) = uri.query() else {
        return target;
    };
    for (n, pair) in query.split('&').enumerate() {
        target.push(if n == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                target.push_str(name);
                target.push_str("=REDACTED");
            }
            _ => target.push_str(pair),
        }
    }
    target
}

/// A URL without its query and fragment.
pub fn without_query(mut url: String) -> String {
    if let Some(at) = url.find(['?', '#']) {
        url.truncate(at);
    }
    url
}

/// Names are compared as whoever reads credentials does: decoded.
fn is_secret(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy().to_lowercase();
    SECRET.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_however_their_names_are_written() {
        for (sent, shown) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?q=1&token=x&page=2", "/a?q=1&token=REDACTED&page=2"),
            ("/a?access_token=x", "/a?access_token=REDACTED"),
            ("/a?to%6Ben=x", "/a?to%6Ben=REDACTED"),
            ("/a?TOKEN=x=y", "/a?TOKEN=REDACTED"),
            ("/a?token", "/a?token"),
            ("/a?X-Amz-Signature=x", "/a?X-Amz-Signature=REDACTED"),
        ] {
            assert_eq!(target(&sent.parse().unwrap()), shown, "{sent}");
        }
        assert_eq!(without_query("http://a/b?token=x#y".to_owned()), "http://a/b");
        assert_eq!(without_query("http://a/b".to_owned()), "http://a/b");
    }
}
