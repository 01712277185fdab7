//! What the conditional headers of a request mean (RFC 9110 §13).

use std::time::UNIX_EPOCH;

use actix_web::http::header::HeaderMap;

#[cfg(test)]
use super::etags::etag;
use super::etags::{Tag, TagList};
use crate::chunk::Digest;
use crate::owner::{EtagSet, WriteCondition};

const IF_MATCH: &str = "If-Match";
const IF_NONE_MATCH: &str = "If-None-Match";
const IF_MODIFIED_SINCE: &str = "If-Modified-Since";
const IF_UNMODIFIED_SINCE: &str = "If-Unmodified-Since";
const IF_RANGE: &str = "If-Range";

/// What a request's conditions are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators {
    /// Of the file's bytes; it is what the `ETag` says.
    pub etag: Digest,
    /// `Last-Modified`, milliseconds since 1970. Only its whole seconds count, for no more are ever sent.
    pub modified_ms: i64,
}

/// How a GET or HEAD goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As if there were no conditions; then the `Range`, if it [applies](range_applies).
    Proceed,
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
}

/// A condition on a write that nobody can hold anything against; 400, for to ignore it might overwrite a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header} must be * or a list of entity tags in double quotes")]
pub struct BadCondition {
    /// The header.
    pub header: &'static str,
}

/// The conditions on a GET or HEAD of a file that is there, in the order of RFC 9110 §13.2.2.
///
/// A malformed list of tags matches no file; a malformed date does not count.
pub fn read(headers: &HeaderMap, validators: &Validators) -> Outcome {
    let may = match joined(headers, IF_MATCH) {
        Some(value) => TagList::parse(&value).is_some_and(|tags| tags.contains_strong(&validators.etag)),
        None => date(headers, IF_UNMODIFIED_SINCE).is_none_or(|since| validators.modified() <= since),
    };
    if !may {
        return Outcome::PreconditionFailed;
    }
    let has = match joined(headers, IF_NONE_MATCH) {
        Some(value) => TagList::parse(&value).is_some_and(|tags| tags.contains_weak(&validators.etag)),
        None => date(headers, IF_MODIFIED_SINCE).is_some_and(|since| validators.modified() <= since),
    };
    if has {
        Outcome::NotModified
    } else {
        Outcome::Proceed
    }
}

/// Whether the request's `Range` is for the file as it is now: `If-Range` is absent, its strong tag or its exact date.
pub fn range_applies(headers: &HeaderMap, validators: &Validators) -> bool {
    if !headers.contains_key(IF_RANGE) {
        return true;
    }
    only(headers, IF_RANGE).is_some_and(|value| match Tag::parse(&value) {
        Some(tag) => !tag.weak && tag.digest() == Some(validators.etag),
        None => seconds(&value) == Some(validators.modified()),
    })
}

/// The conditions on a write, for the owner's actor to hold against the file that is there then.
///
/// # Errors
/// When `If-Match` or `If-None-Match` is malformed. A malformed date does not count.
pub fn write_condition(headers: &HeaderMap) -> Result<WriteCondition, BadCondition> {
    Ok(WriteCondition {
        if_match: etag_set(headers, IF_MATCH, |tag| !tag.weak)?,
        if_none_match: etag_set(headers, IF_NONE_MATCH, |_| true)?,
        if_unmodified_since: date(headers, IF_UNMODIFIED_SINCE).map(|since| since.saturating_mul(1000)),
    })
}

/// The tags of a header that can be ours and that its comparison lets `count`.
fn etag_set(
    headers: &HeaderMap,
    header: &'static str,
    count: impl Fn(&Tag) -> bool,
) -> Result<Option<EtagSet>, BadCondition> {
    let Some(value) = joined(headers, header) else {
        return Ok(None);
    };
    match TagList::parse(&value).ok_or(BadCondition { header })? {
        TagList::Any => Ok(Some(EtagSet::Any)),
        TagList::Tags(tags) => {
            let ours = tags.into_iter().filter(count).filter_map(Tag::digest);
            Ok(Some(EtagSet::Tags(ours.collect())))
        }
    }
}

impl Validators {
    /// Whole seconds since 1970.
    fn modified(&self) -> i64 {
        self.modified_ms.div_euclid(1000)
    }
}

/// All lines of a header, as if they were one list. Bytes that are not UTF-8 become a letter that no tag of ours has.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// The header's value if it has one line; these headers have no meaning with several.
fn only(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut lines = headers.get_all(name);
    let line = lines.next()?.to_str().ok()?.trim();
    lines.next().is_none().then(|| line.to_owned())
}

/// A header's date in seconds since 1970.
fn date(headers: &HeaderMap, name: &str) -> Option<i64> {
    seconds(&only(headers, name)?)
}

fn seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::Outcome::*;
    use super::*;

    /// The file's second, and its neighbours.
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn validators() -> Validators {
        Validators {
            etag: Digest::of(b"a"),
            modified_ms: 784_111_777_999,
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn reads() {
        let (a, b) = (etag(&Digest::of(b"a")), etag(&Digest::of(b"b")));
        let (weak_a, both) = (format!("W/{a}"), format!("{b}, {a}"));
        let (a, b, weak_a, both) = (a.as_str(), b.as_str(), weak_a.as_str(), both.as_str());
        let table: &[(&[(&str, &str)], Outcome)] = &[
            (&[], Proceed),
            (&[(IF_MATCH, a)], Proceed),
            (&[(IF_MATCH, both)], Proceed),
            (&[(IF_MATCH, b), (IF_MATCH, a)], Proceed),
            (&[(IF_MATCH, "*")], Proceed),
            (&[(IF_MATCH, b)], PreconditionFailed),
            (&[(IF_MATCH, weak_a)], PreconditionFailed),
            (&[(IF_MATCH, "malformed")], PreconditionFailed),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], PreconditionFailed),
            (&[(IF_UNMODIFIED_SINCE, THEN)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, AFTER)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_MATCH, a), (IF_UNMODIFIED_SINCE, BEFORE)], Proceed),
            (&[(IF_NONE_MATCH, a)], NotModified),
            (&[(IF_NONE_MATCH, weak_a)], NotModified),
            (&[(IF_NONE_MATCH, both)], NotModified),
            (&[(IF_NONE_MATCH, b), (IF_NONE_MATCH, a)], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, b)], Proceed),
            (&[(IF_NONE_MATCH, "malformed")], Proceed),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Proceed),
            (&[(IF_MODIFIED_SINCE, THEN)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_MODIFIED_SINCE, THEN), (IF_MODIFIED_SINCE, THEN)], Proceed),
            (&[(IF_NONE_MATCH, b), (IF_MODIFIED_SINCE, AFTER)], Proceed),
            (&[(IF_MATCH, b), (IF_NONE_MATCH, a)], PreconditionFailed),
            (&[(IF_MATCH, a), (IF_NONE_MATCH, a)], NotModified),
            (
                &[(IF_UNMODIFIED_SINCE, THEN), (IF_MODIFIED_SINCE, THEN)],
                NotModified,
            ),
        ];
        for (lines, expected) in table {
            assert_eq!(read(&headers(lines), &validators()), *expected, "{lines:?}");
        }
    }

    #[test]
    fn all_three_forms_of_a_date_are_read() {
        for form in [THEN, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            let outcome = read(&headers(&[(IF_MODIFIED_SINCE, form)]), &validators());
            assert_eq!(outcome, NotModified, "{form}");
        }
    }

    #[test]
    fn ranges_apply_to_the_very_file_only() {
        let (a, b) = (etag(&Digest::of(b"a")), etag(&Digest::of(b"b")));
        let weak_a = format!("W/{a}");
        let table: &[(&[&str], bool)] = &[
            (&[], true),
            (&[&a], true),
            (&[&b], false),
            (&[&weak_a], false),
            (&["*"], false),
            (&[THEN], true),
            (&[BEFORE], false),
            (&[AFTER], false),
            (&["malformed"], false),
            (&[&a, &a], false),
        ];
        for (values, expected) in table {
            let lines: Vec<_> = values.iter().map(|value| (IF_RANGE, *value)).collect();
            assert_eq!(
                range_applies(&headers(&lines), &validators()),
                *expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn writes() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let list = format!("{}, W/{}, \"other\"", etag(&a), etag(&b));
        let condition = |lines: &[(&str, &str)]| write_condition(&headers(lines)).unwrap();

        assert_eq!(condition(&[]), WriteCondition::default());
        assert_eq!(
            condition(&[(IF_NONE_MATCH, "*")]).if_none_match,
            Some(EtagSet::Any)
        );
        assert_eq!(
            condition(&[(IF_MATCH, &list)]).if_match,
            Some(EtagSet::Tags(vec![a]))
        );
        assert_eq!(
            condition(&[(IF_NONE_MATCH, &list)]).if_none_match,
            Some(EtagSet::Tags(vec![a, b]))
        );
        assert_eq!(
            condition(&[(IF_MATCH, &etag(&b)), (IF_MATCH, &etag(&a))]).if_match,
            Some(EtagSet::Tags(vec![b, a]))
        );
        assert_eq!(
            condition(&[(IF_UNMODIFIED_SINCE, THEN)]).if_unmodified_since,
            Some(784_111_777_000)
        );
        assert_eq!(
            condition(&[(IF_UNMODIFIED_SINCE, "soon")]),
            WriteCondition::default()
        );
    }

    #[test]
    fn a_write_with_a_malformed_list_is_refused_by_name() {
        for header in [IF_MATCH, IF_NONE_MATCH] {
            for value in ["", "abc", "\"a\" \"b\"", "*, \"a\""] {
                let refused = write_condition(&headers(&[(header, value)]));
                assert_eq!(refused, Err(BadCondition { header }), "{value}");
            }
        }
        assert_eq!(
            BadCondition { header: IF_MATCH }.to_string(),
            "If-Match must be * or a list of entity tags in double quotes"
        );
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(
            name in prop::sample::select(
                &[IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE][..]
            ),
            value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
            ],
        ) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.append(name.parse().unwrap(), value);
            read(&headers, &validators());
            range_applies(&headers, &validators());
            if let Err(error) = write_condition(&headers) {
                prop_assert_eq!(error.header, name);
            }
        }

        #[test]
        fn the_validators_we_send_are_recognised(bytes: [u8; 32], modified_ms in 0..4_000_000_000_000_i64) {
            let validators = Validators { etag: bytes.into(), modified_ms };
            let tag = etag(&validators.etag);
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(modified_ms as u64));
            for (name, value) in [(IF_NONE_MATCH, &tag), (IF_MODIFIED_SINCE, &date)] {
                prop_assert_eq!(read(&headers(&[(name, value)]), &validators), NotModified);
            }
            for (name, value) in [(IF_MATCH, &tag), (IF_UNMODIFIED_SINCE, &date)] {
                prop_assert_eq!(read(&headers(&[(name, value)]), &validators), Proceed);
            }
            for value in [&tag, &date] {
                prop_assert!(range_applies(&headers(&[(IF_RANGE, value)]), &validators));
            }
        }
    }
}
