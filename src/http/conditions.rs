//! Conditional requests (RFC 9110 §13): entity tags, dates, and the order in which they count.

use std::time::{Duration, SystemTime};

use actix_web::http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use crate::chunk::Digest;
use crate::owner::WriteCondition;
use crate::owner::precondition::EtagSet;
use crate::store::model::Millis;

/// What tells one content of a name from another.
#[derive(Clone, Copy, Debug)]
pub struct Validators {
    /// The blake3 of the bytes: a strong tag.
    pub digest: Digest,
    /// Publication, in seconds since the epoch.
    pub modified: i64,
}

/// What the conditions of a GET or HEAD say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as usual.
    Proceed,
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// A condition on a write that cannot be understood. Ignoring it could overwrite what it was meant to protect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCondition(pub HeaderName);

/// The value of ETag.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Judges a GET or HEAD of a file that exists. Malformed conditions match nothing; malformed dates do not count.
pub fn judge_read(headers: &HeaderMap, current: Validators) -> Verdict {
    let ours = current.digest.to_string();
    if let Some(tags) = tags(headers, &IF_MATCH) {
        if !tags.is_some_and(|tags| tags.match_strongly(&ours)) {
            return Verdict::Failed;
        }
    } else if date(headers, &IF_UNMODIFIED_SINCE).is_some_and(|since| current.modified > since) {
        return Verdict::Failed;
    }
    if let Some(tags) = tags(headers, &IF_NONE_MATCH) {
        if tags.is_some_and(|tags| tags.match_weakly(&ours)) {
            return Verdict::NotModified;
        }
    } else if date(headers, &IF_MODIFIED_SINCE).is_some_and(|since| current.modified <= since) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether If-Range, if there is one, lets a Range count: the very tag or the very date.
pub fn range_counts(headers: &HeaderMap, current: Validators) -> bool {
    let Some(value) = headers.get(&IF_RANGE) else {
        return true;
    };
    match value.to_str() {
        Ok(tag) if tag == etag(&current.digest) => true,
        Ok(text) => parse_date(text) == Some(current.modified),
        Err(_) => false,
    }
}

/// The conditions of a PUT.
pub fn for_write(headers: &HeaderMap) -> Result<WriteCondition, BadCondition> {
    let parsed = |name: &HeaderName| match tags(headers, name) {
        None => Ok(None),
        Some(Some(tags)) => Ok(Some(tags)),
        Some(None) => Err(BadCondition(name.clone())),
    };
    // A date in seconds fits into milliseconds: the format ends with the year 9999.
    let millis = |seconds: i64| -> Millis { seconds * 1000 };
    Ok(WriteCondition {
        if_match: parsed(&IF_MATCH)?.map(|tags| tags.into_ours(false)),
        if_none_match: parsed(&IF_NONE_MATCH)?.map(|tags| tags.into_ours(true)),
        if_unmodified_since: date(headers, &IF_UNMODIFIED_SINCE).map(millis),
    })
}

/// `*` or a list of entity tags.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// Without the quotes.
    opaque: String,
}

impl Tags {
    fn match_strongly(&self, ours: &str) -> bool {
        match self {
            Tags::Any => true,
            Tags::List(tags) => tags.iter().any(|tag| !tag.weak && tag.opaque == ours),
        }
    }

    fn match_weakly(&self, ours: &str) -> bool {
        match self {
            Tags::Any => true,
            Tags::List(tags) => tags.iter().any(|tag| tag.opaque == ours),
        }
    }

    /// The tags that can be ours. `weak`: weak ones count, too.
    fn into_ours(self, weak: bool) -> EtagSet {
        let digest = |tag: Tag| {
            let digest: Digest = tag.opaque.parse().ok()?;
            // A tag is compared byte by byte, and ours are in lower case.
            (digest.to_string() == tag.opaque && (weak || !tag.weak)).then_some(digest)
        };
        match self {
            Tags::Any => EtagSet::Any,
            Tags::List(tags) => EtagSet::Tags(tags.into_iter().filter_map(digest).collect()),
        }
    }
}

/// `None`: no such header; `Some(None)`: malformed. Several headers of one name are one list.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Option<Tags>> {
    let mut values = headers.get_all(name).peekable();
    values.peek()?;
    let mut all = Vec::new();
    for value in values {
        match parse_tags(&String::from_utf8_lossy(value.as_bytes())) {
            Some(Tags::List(tags)) => all.extend(tags),
            Some(Tags::Any) => return Some(Some(Tags::Any)),
            None => return Some(None),
        }
    }
    Some(Some(Tags::List(all)))
}

fn parse_tags(text: &str) -> Option<Tags> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let (tag, after) = parse_tag(rest)?;
        tags.push(tag);
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Tags::List(tags))
}

fn parse_tag(text: &str) -> Option<(Tag, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
    // Visible characters and what is beyond ASCII; no space.
    if opaque.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return None;
    }
    let opaque = opaque.to_owned();
    Some((Tag { weak, opaque }, after))
}

/// Seconds since the epoch; `None` also for a date that is none, which then does not count.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The value of Last-Modified; `None` for a clock that no calendar of HTTP can show.
pub fn http_date(seconds: i64) -> Option<String> {
    /// The first second of the year 10000.
    const END: u64 = 253_402_300_800;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < END)?;
    Some(httpdate::fmt_http_date(
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "Mon, 01 Jan 2001 00:00:00 GMT";
    const AT: &str = "Fri, 13 Feb 2009 23:31:30 GMT";
    const NEW: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

    fn current() -> Validators {
        Validators {
            digest: Digest::of(b"file"),
            modified: 1_234_567_890,
        }
    }

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn reads_are_judged_in_the_order_of_the_rfc() {
        let tag = etag(&current().digest);
        let weak = format!("W/{tag}");
        let list = format!("\"other\" , W/\"x\",{tag}");
        let upper = tag.to_uppercase();
        use Verdict::{Failed, NotModified, Proceed};
        #[rustfmt::skip]
        let rows: &[(&[(&str, &str)], Verdict)] = &[
            (&[], Proceed),
            (&[("if-match", &tag)], Proceed),
            (&[("if-match", &list)], Proceed),
            (&[("if-match", "\"a\""), ("if-match", &tag)], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "\"other\"")], Failed),
            (&[("if-match", &weak)], Failed),
            (&[("if-match", &upper)], Failed),
            (&[("if-match", "\"")], Failed),
            (&[("if-match", "")], Failed),
            (&[("if-none-match", &tag)], NotModified),
            (&[("if-none-match", &weak)], NotModified),
            (&[("if-none-match", &list)], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"other\"")], Proceed),
            (&[("if-none-match", "W/")], Proceed),
            (&[("if-modified-since", AT)], NotModified),
            (&[("if-modified-since", NEW)], NotModified),
            (&[("if-modified-since", OLD)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (&[("if-unmodified-since", AT)], Proceed),
            (&[("if-unmodified-since", OLD)], Failed),
            (&[("if-unmodified-since", "yesterday")], Proceed),
            (&[("if-none-match", "\"other\""), ("if-modified-since", AT)], Proceed),
            (&[("if-none-match", &tag), ("if-modified-since", OLD)], NotModified),
            (&[("if-match", &tag), ("if-unmodified-since", OLD)], Proceed),
            (&[("if-match", "\"other\""), ("if-none-match", &tag)], Failed),
            (&[("if-match", &tag), ("if-none-match", &tag)], NotModified),
            (&[("if-unmodified-since", OLD), ("if-none-match", &tag)], Failed),
        ];
        for (rows, verdict) in rows {
            assert_eq!(judge_read(&headers(rows), current()), *verdict, "{rows:?}");
        }
    }

    #[test]
    fn a_range_counts_for_the_very_file_only() {
        let tag = etag(&current().digest);
        let weak = format!("W/{tag}");
        for (value, counts) in [
            (tag.as_str(), true),
            (AT, true),
            (&weak, false),
            ("\"other\"", false),
            (OLD, false),
            (NEW, false),
            (",,,", false),
        ] {
            assert_eq!(
                range_counts(&headers(&[("if-range", value)]), current()),
                counts,
                "{value}"
            );
        }
        assert!(range_counts(&HeaderMap::new(), current()));
    }

    #[test]
    fn writes_carry_what_can_be_ours() {
        let digest = current().digest;
        let value = format!("W/{}, \"x\", {}", etag(&Digest::of(b"weak")), etag(&digest));
        let condition = for_write(&headers(&[
            ("if-match", &value),
            ("if-none-match", &value),
            ("if-unmodified-since", AT),
        ]));
        let expected = WriteCondition {
            if_match: Some(EtagSet::Tags(vec![digest])),
            if_none_match: Some(EtagSet::Tags(vec![Digest::of(b"weak"), digest])),
            if_unmodified_since: Some(1_234_567_890_000),
        };
        assert_eq!(condition, Ok(expected));
        assert_eq!(for_write(&HeaderMap::new()), Ok(WriteCondition::default()));
        let any = for_write(&headers(&[("if-none-match", " * ")])).unwrap();
        assert_eq!(any.if_none_match, Some(EtagSet::Any));
        let dated = for_write(&headers(&[("if-unmodified-since", "yesterday")])).unwrap();
        assert_eq!(dated, WriteCondition::default());
    }

    #[test]
    fn writes_with_malformed_conditions_are_refused() {
        for value in ["", ",", "\"", "x", "\"a\" \"b\"", "*, \"a\"", "\"a b\"", "w/\"a\""] {
            for name in [IF_MATCH, IF_NONE_MATCH] {
                let refused = for_write(&headers(&[(name.as_str(), value)]));
                assert_eq!(refused, Err(BadCondition(name)), "{value}");
            }
        }
    }

    #[test]
    fn dates_are_shown_as_they_are_read() {
        assert_eq!(http_date(1_234_567_890).as_deref(), Some(AT));
        assert_eq!(parse_date(AT), Some(1_234_567_890));
        assert_eq!(http_date(-1), None);
        assert_eq!(http_date(i64::MAX), None);
    }

    proptest! {
        #[test]
        fn lists_round_trip(
            tags in proptest::collection::vec(("[!#-~]{0,8}", any::<bool>()), 1..6), comma in "[ \t]{0,2},[ \t,]{0,3}"
        ) {
            let written = |(opaque, weak): &(String, bool)| format!("{}\"{opaque}\"", if *weak { "W/" } else { "" });
            let text = tags.iter().map(written).collect::<Vec<_>>().join(&comma);
            let parsed = tags.into_iter().map(|(opaque, weak)| Tag { weak, opaque }).collect();
            prop_assert_eq!(parse_tags(&text), Some(Tags::List(parsed)));
        }

        #[test]
        fn any_text_is_judged(text in ".*", tags in "[W/\",* a-f]{0,20}") {
            for text in [text, tags] {
                let _ = parse_tags(&text);
                let _ = parse_date(&text);
            }
        }
    }
}
